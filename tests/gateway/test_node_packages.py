"""The Node packages of tests: a registry out of reach is a reason to skip, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from node_packages import ABSENT, Node, OutOfReach, node_program, project

pytestmark = pytest.mark.e2e

NOWHERE = "http://127.0.0.1:9"  # The port of `discard`, where nobody listens.


@pytest.fixture
def node() -> Node:
    found = node_program()
    if found is None:
        pytest.skip(ABSENT)
    return found


def write_project(folder: Path, packages: dict[str, object]) -> Path:
    names = {path.removeprefix("node_modules/"): "1.0.0" for path in packages}
    root = {"name": "p", "dependencies": names}
    lock = {"name": "p", "lockfileVersion": 3, "requires": True, "packages": {"": root, **packages}}
    folder.mkdir()
    (folder / "package.json").write_text(json.dumps(root))
    (folder / "package-lock.json").write_text(json.dumps(lock))
    return folder


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Point npm at a registry that is not there, with nothing remembered."""
    monkeypatch.setenv("npm_config_registry", NOWHERE)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))


@pytest.mark.usefixtures("unreachable")
def test_a_registry_out_of_reach_is_a_reason(node: Node, tmp_path: Path) -> None:
    lost = {"version": "1.0.0", "integrity": "sha512-" + "A" * 86 + "=="}
    source = write_project(tmp_path / "source", {"node_modules/lost": lost})
    with pytest.raises(OutOfReach, match="ECONNREFUSED"):
        project(node, source, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


@pytest.mark.usefixtures("unreachable")
def test_a_script_is_run_with_the_environment_given_and_its_json_returned(node: Node, tmp_path: Path) -> None:
    source = write_project(tmp_path / "source", {})
    (source / "say.mjs").write_text("console.log(JSON.stringify({ said: process.env.SAY }))")
    made = project(node, source, tmp_path / "cache")
    assert made.run("say.mjs", {"SAY": "hello"}) == {"said": "hello"}
