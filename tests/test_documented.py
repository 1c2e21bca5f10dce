"""Every public name has its place in docs/: error codes, commands, settings and webhook events.

Rule 1: the names are read from the code, so a new one fails here until its page mentions it.
Rule 2: a page or a list of names that is missing fails: nothing may pass by being absent.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
import runpy
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import msgspec
import pytest

from costplus.catalog.change import REASON_TEXT
from costplus.config import PREFIX, Settings

ROOT = Path(__file__).resolve().parent.parent
EVENT_TYPE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")


@functools.cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax tree of every module of the package by its dotted name."""
    files = sorted((ROOT / "src").rglob("*.py"))
    return {
        ".".join(file.relative_to(ROOT / "src").with_suffix("").parts): ast.parse(file.read_text("utf-8"))
        for file in files
    }


def last_name(node: ast.expr) -> str:
    """Return `c` for the expression `a.b.c` and for `c`, else an empty text."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def undocumented(names: Iterable[str], *, page: str) -> list[str]:
    """Return the names that docs/`page` does not mention."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    return sorted(name for name in names if not re.search(rf"(?<![\w.]){re.escape(name)}(?!\.?\w)", text))


def error_codes() -> dict[str, str]:
    """Return every permanent code below `BillingError` with the class that carries it."""
    classes = [node for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    errors, count = {"BillingError"}, 0
    while count != len(errors):  # A pass adds the children of what is known; stop when one adds nothing.
        count = len(errors)
        errors |= {node.name for node in classes for base in node.bases if last_name(base) in errors}
    return {
        node.value.value: owner.name
        for owner in classes
        if owner.name in errors - {"BillingError"}
        for node in owner.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if last_name(target) == "code" and isinstance(node.value.value, str)
    }


def test_every_error_code_is_documented() -> None:
    codes = error_codes()
    assert "amount_invalid" in codes
    missing = undocumented(codes, page="errors.md")
    assert not missing, f"docs/errors.md lacks {[f'{code} ({codes[code]})' for code in missing]}"


def commands_of(group: click.Command, *, path: str) -> Iterator[str]:
    if not isinstance(group, click.Group):
        yield path
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        yield from commands_of(command, path=f"{path} {name}")


def test_every_command_is_documented() -> None:
    cli = importlib.import_module("costplus.cli")
    groups = [value for value in vars(cli).values() if isinstance(value, click.Group)]
    assert groups
    largest = max(groups, key=lambda group: len(list(commands_of(group, path=""))))
    missing = undocumented(commands_of(largest, path="costplus"), page="cli.md")
    assert not missing, f"docs/cli.md lacks {missing}"


def test_every_option_of_the_price_commands_is_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text("utf-8").partition("## `costplus prices`")[2]
    commands = importlib.import_module("costplus.cli_prices").prices.commands.values()
    shared = {"--json", "--config", "--data-dir", "--database"}
    names = {name for command in commands for param in command.params for name in param.opts}
    missing = sorted(name for name in names - shared if name.startswith("--") and f"`{name}" not in text)
    assert not missing, f"docs/cli.md lacks {missing}"


def test_every_reason_of_a_decision_is_documented_with_its_sentence() -> None:
    text = (ROOT / "docs" / "prices.md").read_text("utf-8")
    missing = [word for word, said in REASON_TEXT.items() if f"| `{word}` | {said} |" not in text]
    assert REASON_TEXT and not missing, f"docs/prices.md lacks {missing}"


def settings_of(kind: type, *, prefix: str) -> Iterator[str]:
    """Yield the name in the environment of every setting; `<NAME>` stands for a provider's own."""
    for setting in msgspec.structs.fields(kind):
        name = f"{prefix}{setting.name.upper()}"
        inner = [setting.type, *typing.get_args(setting.type)]
        nested = [part for part in inner if isinstance(part, type) and issubclass(part, msgspec.Struct)]
        if not nested or typing.get_origin(setting.type) is tuple:  # A list of tables is one setting: JSON.
            yield name
            continue
        for part in nested:
            owner = f"{name}__" if part is setting.type else f"{name}__<NAME>__"
            yield from settings_of(part, prefix=owner)


def test_every_setting_is_documented() -> None:
    names = [*settings_of(Settings, prefix=PREFIX), "COSTPLUS_CONFIG", "COSTPLUS_DATABASE_URL"]
    assert "COSTPLUS_PROVIDERS__<NAME>__API_KEY" in names
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    missing = [name for name in names if f"`{name}`" not in text]
    assert not missing, f"docs/settings.md lacks {missing}"


def test_every_webhook_event_is_documented() -> None:
    names = {
        constant.value
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if last_name(target) == "EVENT_TYPES"
        for constant in ast.walk(node.value)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
        if EVENT_TYPE.fullmatch(constant.value)
    }
    assert "billing.alert.triggered" in names
    missing = undocumented(names, page="events.md")
    assert not missing, f"docs/events.md lacks {missing}"


@pytest.mark.parametrize(
    ("script", "name"), [("write_error_reference", "errors"), ("write_api_reference", "api")]
)
def test_generated_pages_are_what_the_code_says(script: str, name: str) -> None:
    written = runpy.run_path(str(ROOT / "scripts" / f"{script}.py"))["page"]()
    current = (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    assert written == current, f"run `make docs`: docs/{name}.md is older than the code"
