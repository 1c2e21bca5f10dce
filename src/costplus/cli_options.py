"""What every command shares: its options, its settings, how it prints and how it ends."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 3


def as_json(command: F) -> F:
    """Give a command the option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")(command)


def settings_options(command: F) -> F:
    """Give a command the options that say where the installation is."""
    for option in (
        click.option(
            "--database", help="sqlite:///PATH, postgresql://…, or memory: for a trial without a file."
        ),
        click.option("--data-dir", help="Where the database, the journal and made keys live."),
        click.option("--config", type=click.Path(path_type=Path), help="A TOML file of settings."),
    ):
        command = option(command)
    return command


def say(fields: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print a result for people, or for programs."""
    click.echo(json.dumps(fields) if as_json else text)


def load_settings(config: Path | None, **flags: Any) -> Any:
    """Return the settings, or end with what is wrong about them."""
    from costplus.config import load
    from costplus.core.errors import BillingError

    try:
        return load(flags=flags, environ=os.environ, file=config)
    except BillingError as error:
        click.echo(f"costplus: {error.sentence} [{error.code}]", err=True)
        sys.exit(EXIT_USAGE)


@contextmanager
def refusals() -> Iterator[None]:
    """End with an expected refusal's sentence: what is not available is 3, what cannot be asked 2."""
    from costplus.core.errors import BillingError, Unavailable

    try:
        yield
    except BillingError as error:
        click.echo(f"costplus: {error.sentence} [{error.code}]", err=True)
        sys.exit(EXIT_UNAVAILABLE if isinstance(error, Unavailable) else EXIT_USAGE)
