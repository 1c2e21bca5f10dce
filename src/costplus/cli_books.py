"""`costplus audit`: the command that proves the books."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from costplus.cli_options import EXIT_FAILED, as_json, load_settings, refusals, say, settings_options


@click.command()
@settings_options
@click.option("--customer", default="", help="Only this customer, and the bucket of the ledger it is in.")
@as_json
def audit(
    config: Path | None, data_dir: str | None, database: str | None, customer: str, as_json: bool
) -> None:
    """Prove every balance, charge and invoice from what it was made of; name whatever differs."""
    settings = load_settings(config, data_dir=data_dir, database=database)
    import asyncio

    from costplus.audit import run
    from costplus.core.ids import BUCKETS

    def progress(done: int) -> None:
        click.echo(f"\r{done} of {BUCKETS} buckets", nl=done == BUCKETS, err=True)

    shown = progress if sys.stderr.isatty() and not customer else None
    with refusals():
        made = asyncio.run(run(settings, customer=customer, progress=shown))
    for finding in made.findings:
        fields = {"kind": finding.kind, "subject": finding.subject, "wrong": finding.wrong}
        say(fields, finding.sentence, as_json=as_json)
    count = len(made.findings)
    summary = {"customers": made.customers, "charges": made.charges, "findings": count}
    verdict = f"{count} do not agree" if count else "everything agrees"
    say(summary, f"{made.customers} customers, {made.charges} charges: {verdict}", as_json=as_json)
    sys.exit(EXIT_FAILED if count else 0)
