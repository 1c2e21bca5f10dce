"""The peers: LiteLLM's proxy and Portkey's gateway, installed into environments of their own and started.

Rule 1: versions are pinned in `bench/peers/`, and nothing of them reaches our own environment.
Rule 2: each is set up as fast as it reasonably goes: one worker, no database, no logs, one provider.
Rule 3: a peer that cannot be installed or started is said and left out.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from machine import BenchFailed, Running, free_port, start_silent
from provider import MODEL
from targets import HERE, PATH, Load, Target, bearer, environment

PINS = HERE / "peers"
INSTALLED = HERE.parent / "build" / "peers"
INSTALL_TIMEOUT_S = 900

LITELLM_LOADS = {"JSON": Load(8, 20), "SSE": Load(8, 5)}
PORTKEY_LOADS = {"JSON": Load(16, 100), "SSE": Load(32, 20)}


STREAMS_HELD = 50


class PeerMissing(Exception):
    """A peer cannot be measured here, with the reason."""


def start_litellm(folder: Path, provider: Running) -> Target:
    """Start LiteLLM's proxy with one worker and one model."""
    home = INSTALLED / "litellm"
    if not _is_installed(home, PINS / "litellm.lock"):
        _install(
            home,
            PINS / "litellm.lock",
            [sys.executable, "-m", "venv", str(home)],
            [
                *(str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"),
                *("--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"),
                *("-r", str(PINS / "litellm.lock")),
            ],
        )
    folder.mkdir()
    model = {"model": f"openai/{MODEL}", "api_base": f"{provider.url}/v1", "api_key": "litellm"}
    config = folder / "config.yaml"  # JSON is YAML.
    config.write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": model}]}))
    port = free_port()
    key = "sk-" + secrets.token_urlsafe(24)
    command = [str(home / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    running = start_silent(
        "LiteLLM",
        [*command, "--port", str(port), "--num_workers", "1", "--telemetry", "False"],
        port=port,
        is_ready="/health/liveliness",
        log=folder / "log",
        env=environment(
            LITELLM_MASTER_KEY=key,
            LITELLM_LOG="ERROR",
            LITELLM_MODE="PRODUCTION",
            LITELLM_LOCAL_MODEL_COST_MAP="True",  # It would be fetched at the start.
        ),
    )
    return _peer("LiteLLM", running, [bearer(key)], LITELLM_LOADS)


def start_portkey(folder: Path, provider: Running) -> Target:
    """Start Portkey's gateway; the provider is named in each call's headers."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise PeerMissing("Portkey's gateway needs node and npm.")
    home = INSTALLED / "portkey"
    if not _is_installed(home, PINS / "package-lock.json"):
        home.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PINS / name, home / name)
        command = [npm, "ci", "--prefix", str(home), "--ignore-scripts", "--no-audit", "--no-fund"]
        _install(home, PINS / "package-lock.json", command)
    folder.mkdir()
    port = free_port()
    program = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    running = start_silent(
        "Portkey",
        [node, str(program), f"--port={port}", "--headless"],
        port=port,
        is_ready="/",
        log=folder / "log",
        env=environment(NODE_ENV="production"),
    )
    headers = [
        bearer("portkey"),
        "x-portkey-provider: openai",
        f"x-portkey-custom-host: {provider.url}/v1",
    ]
    return _peer("Portkey", running, headers, PORTKEY_LOADS)


def _peer(name: str, running: Running, headers: list[str], loads: Mapping[str, Load]) -> Target:
    return Target(
        name,
        [running.url + PATH],
        headers,
        name.lower(),
        loads,
        running,
        is_peer=True,
        streams_held=STREAMS_HELD,
    )


def versions() -> Iterator[str]:
    """Yield the pinned version of each peer."""
    pins = (PINS / "litellm.in").read_text().splitlines()
    yield next(line.replace("[proxy]==", " ") for line in pins if line.startswith("litellm"))
    wanted = json.loads((PINS / "package.json").read_text())["dependencies"]
    yield from (f"{name} {version}" for name, version in wanted.items())


def _stamp(home: Path) -> Path:
    return home / ".installed"


def _is_installed(home: Path, lock: Path) -> bool:
    stamp = _stamp(home)
    return stamp.exists() and stamp.read_text() == _digest(lock)


def _digest(lock: Path) -> str:
    return sha256(lock.read_bytes()).hexdigest()


def _install(home: Path, lock: Path, *commands: Sequence[str]) -> None:
    sys.stdout.write(f"Installing {home.name} into {home.relative_to(HERE.parent)}, once …\n")
    sys.stdout.flush()
    try:
        for command in commands:
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                env=environment(),
                timeout=INSTALL_TIMEOUT_S,
            )
    except subprocess.CalledProcessError as failure:
        said = (failure.stderr or failure.stdout).strip().splitlines()[-3:]
        raise PeerMissing(f"{home.name} could not be installed: {' / '.join(said)}") from failure
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise PeerMissing(f"{home.name} could not be installed: {failure}") from failure
    _stamp(home).write_text(_digest(lock))


def start_peer(name: str, folder: Path, provider: Running) -> Target:
    """Install and start one of the peers, or raise `PeerMissing`."""
    starts = {"LiteLLM": start_litellm, "Portkey": start_portkey}
    try:
        return starts[name](folder, provider)
    except BenchFailed as failure:
        raise PeerMissing(str(failure)) from failure
