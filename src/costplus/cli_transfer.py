"""`costplus export …` and `costplus import …`: the commands; what they do is in `transfer`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from costplus.cli_options import EXIT_FAILED, as_json, load_settings, refusals, settings_options

EXPORTS = click.Choice(["usage", "ledger", "invoices", "customers", "balances"])
IMPORTS = click.Choice(["customers", "balances", "usage"])


@click.command("export")
@click.argument("kind", type=EXPORTS)
@click.argument("file")
@settings_options
@click.option("--customer", default="", help="Only this customer's.")
@click.option("--start", default="", help="From then on: a day, RFC 3339 or Unix seconds.")
@click.option("--end", default="", help="Before then.")
@as_json
def export_file(
    kind: Any,
    file: str,
    config: Path | None,
    data_dir: str | None,
    database: str | None,
    customer: str,
    start: str,
    end: str,
    as_json: bool,
) -> None:
    """Write usage, ledger, invoices, customers or balances as CSV to FILE (- for standard output)."""
    settings = load_settings(config, data_dir=data_dir, database=database)
    import asyncio

    from costplus.transfer import export

    with refusals():
        rows = asyncio.run(export(settings, kind, file, customer=customer, start=start, end=end))
    if file != "-":
        click.echo(
            json.dumps({"file": file, "kind": kind, "rows": rows}) if as_json else f"{file}: {rows} rows"
        )


@click.command("import")
@click.argument("kind", type=IMPORTS)
@click.argument("file")
@settings_options
@click.option("--dry-run", is_flag=True, help="Only show what would happen.")
@as_json
def import_file(
    kind: Any,
    file: str,
    config: Path | None,
    data_dir: str | None,
    database: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take customers, balances or usage from the CSV in FILE (- for standard input)."""
    settings = load_settings(config, data_dir=data_dir, database=database)
    import asyncio

    from costplus.transfer import report_text, summary, take_in

    def progress(rows: int) -> None:
        click.echo(f"\r{rows} rows", nl=False, err=True)

    shown = progress if sys.stderr.isatty() else None
    with refusals():
        outcome = asyncio.run(take_in(settings, kind, file, dry=dry_run, progress=shown))
    click.echo(json.dumps(summary(outcome)) if as_json else report_text(outcome))
    sys.exit(EXIT_FAILED if outcome.errors else 0)
