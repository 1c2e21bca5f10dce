"""The command line: `costplus COMMAND`. Stable for scripts; see docs/cli.md.

Exit codes: 0 done; 1 a check failed; 2 wrong usage or settings; 3 something needed is not available.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from costplus import __version__
from costplus.cli_books import audit
from costplus.cli_database import backup, migrate, restore
from costplus.cli_options import (
    EXIT_FAILED,
    EXIT_UNAVAILABLE,
    as_json,
    load_settings,
    refusals,
    say,
    settings_options,
)
from costplus.cli_prices import prices
from costplus.cli_transfer import export_file, import_file


@click.group()
@click.version_option(__version__, prog_name="costplus")
def main() -> None:
    """Bill your customers for LLM tokens at provider cost plus your markup."""


@main.command()
@settings_options
@click.option("--host", help="Address to listen on (default 127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (default 4242; 0 takes a free one).")
@click.option(
    "--role", type=click.Choice(["all", "gateway", "api", "worker"]), help="What this process does."
)
@as_json
def serve(
    config: Path | None,
    data_dir: str | None,
    database: str | None,
    host: str | None,
    port: int | None,
    role: str | None,
    as_json: bool,
) -> None:
    """Run the gateway, the API and the worker."""
    flags = {"data_dir": data_dir, "database": database, "host": host, "port": port, "role": role}
    settings = load_settings(config, **flags)
    import os

    from costplus.config import load
    from costplus.core.errors import BillingError
    from costplus.observe import configure
    from costplus.serve import run

    def ready(url: str, made_key: str | None) -> None:
        if made_key:
            say(
                {"event": "api_key", "secret": made_key},
                f"API key (shown this once): {made_key}",
                as_json=as_json,
            )
        say({"event": "ready", "url": url}, f"costplus ready on {url}", as_json=as_json)

    configure(settings.log_level)
    try:
        run(settings, on_ready=ready, load=lambda: load(flags=flags, environ=os.environ, file=config))
    except BillingError as error:
        click.echo(f"costplus: {error.sentence} [{error.code}]", err=True)
        sys.exit(EXIT_UNAVAILABLE)


@main.command("dev-provider")
@click.option("--port", type=int, default=0, help="Port to listen on (0 takes a free one).")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option(
    "--captures", type=click.Path(exists=True, path_type=Path), help="Recorded exchanges to replay."
)
@click.option("--latency-ms", type=click.IntRange(min=0), default=0, help="Wait before each answer.")
@click.option(
    "--error-rate", type=click.FloatRange(0, 1), default=0, help="Share of calls answered with 503."
)
@as_json
def dev_provider(
    port: int, host: str, captures: Path | None, latency_ms: int, error_rate: float, as_json: bool
) -> None:
    """Run a simulated provider: no key needed, nothing billed by anybody."""
    from costplus.devprovider.server import run

    def ready(url: str) -> None:
        say({"event": "ready", "url": url}, f"dev-provider ready on {url}", as_json=as_json)

    try:
        run(
            host=host,
            port=port,
            captures=captures,
            latency_s=latency_ms / 1000,
            error_rate=error_rate,
            on_ready=ready,
        )
    except OSError as error:
        click.echo(f"costplus: port {port} of {host} cannot be used: {error.strerror}.", err=True)
        sys.exit(EXIT_UNAVAILABLE)


@main.command()
@settings_options
@as_json
def doctor(config: Path | None, data_dir: str | None, database: str | None, as_json: bool) -> None:
    """Check the installation and say what to do."""
    settings = load_settings(config, data_dir=data_dir, database=database)
    from costplus.doctor import examine

    findings = examine(settings)
    for finding in findings:
        say(
            {"check": finding.check, "ok": finding.ok, "found": finding.found, "remedy": finding.remedy},
            f"{'ok  ' if finding.ok else 'FAIL'}  {finding.check}: {finding.found}"
            + (f"\n      → {finding.remedy}" if finding.remedy else ""),
            as_json=as_json,
        )
    sys.exit(0 if all(finding.ok for finding in findings) else EXIT_FAILED)


@main.command("admin-link")
@settings_options
@click.option("--url", help="The server's URL (default: the settings' public_url or host and port).")
@as_json
def admin_link(
    config: Path | None, data_dir: str | None, database: str | None, url: str | None, as_json: bool
) -> None:
    """Print a link that opens the admin pages once, within 15 minutes."""
    settings = load_settings(config, data_dir=data_dir, database=database)
    from costplus.bootstrap import admin_url

    link = admin_url(settings, base_url=(url or settings.url).rstrip("/"))
    say({"url": link}, link, as_json=as_json)


@main.command()
@click.option("--data-dir", default=".demo", help="Where the demo keeps its files; emptied first.")
@click.option("--port", type=int, default=4242, help="Port of the gateway (0 takes a free one).")
@click.option("--calls", type=int, default=12, help="How many live calls to show.")
@click.option("--once", is_flag=True, help="End after the calls instead of serving on.")
@as_json
def demo(data_dir: str, port: int, calls: int, once: bool, as_json: bool) -> None:
    """Set everything up with a simulated provider and show live calls being billed."""
    from costplus.demo import run

    sys.exit(run(Path(data_dir), port=port, calls=calls, once=once, as_json=as_json))


@main.command()
@settings_options
@click.option(
    "--start", help="First instant: a day, RFC 3339, Unix seconds (default: 30 days before the end)."
)
@click.option("--end", help="The instant that ends the window (default now).")
@click.option("--customer", help="Only this customer's usage.")
@click.option("--markup", metavar="PERCENT", help="Another default markup over cost.")
@click.option("--margin", metavar="PERCENT", help="Another default margin of the price.")
@click.option(
    "--model-markup",
    "model_markups",
    multiple=True,
    metavar="NAME=PERCENT",
    help="Another markup of a provider or a provider/model; repeatable.",
)
@click.option("--card", metavar="ID", help="Another rate card, or one of its versions, for everybody.")
@click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="PROVIDER/MODEL:LEAF=USD",
    help="Another cost per million units; repeatable.",
)
@click.option(
    "--price-factor",
    "factors",
    multiple=True,
    metavar="PROVIDER/MODEL=FACTOR",
    help="Multiply a model's costs; repeatable.",
)
@click.option("--pass-on", is_flag=True, help="Sell by the changed costs too, whatever price a card knew.")
@as_json
def simulate(
    config: Path | None, data_dir: str | None, database: str | None, as_json: bool, **wanted: Any
) -> None:
    """Show what past usage would have brought under other terms."""
    settings = load_settings(config, data_dir=data_dir, database=database)
    import asyncio

    from costplus.simulate import Wanted, report_text, run
    from costplus.web.objects.simulation import simulation_object

    def progress(done: int, customers: int) -> None:
        click.echo(f"\r{done} of {customers} customers", nl=done == customers, err=True)

    shown = progress if sys.stderr.isatty() else None
    with refusals():
        given = {name: value for name, value in wanted.items() if value is not None}
        outcome = asyncio.run(run(settings, Wanted(**given), progress=shown))
    if as_json:
        livemode = settings.secret_key.startswith("sk_live_")
        click.echo(json.dumps(simulation_object(outcome.made, currency=outcome.currency, livemode=livemode)))
    else:
        click.echo(report_text(outcome))


@main.command()
@click.argument("model")
@settings_options
@click.option("--provider", help="Whose price (default: as MODEL says, provider/model).")
@click.option("--at", help="When: a day, RFC 3339 or Unix seconds (default now).")
@click.option(
    "--usage", type=click.File("rb"), help="A provider's answer or usage block, or token types; - for stdin."
)
@click.option("--wire", help="The dialect of the usage block, such as openai_chat or anthropic_messages.")
@click.option("--card", metavar="ID", help="The rate card, or one of its versions.")
@click.option("--customer", help="The customer whose terms count.")
@as_json
def match(
    config: Path | None,
    data_dir: str | None,
    database: str | None,
    usage: Any,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Show which price MODEL leads to, why, and what usage would be charged."""
    settings = load_settings(config, data_dir=data_dir, database=database)
    import asyncio

    from costplus.match import Wanted, report_text, run
    from costplus.web.objects.simulation import price_match_object

    with refusals():
        given = {name: value for name, value in wanted.items() if value is not None}
        asked = Wanted(**given, usage=usage.read() if usage else b"")
        found, currency = asyncio.run(run(settings, asked))
    livemode = settings.secret_key.startswith("sk_live_")
    if as_json:
        click.echo(json.dumps(price_match_object(found, currency=currency, livemode=livemode)))
    else:
        click.echo(report_text(found, currency))
    sys.exit(EXIT_FAILED if found.reason else 0)


main.add_command(audit)
main.add_command(prices)
for command in (migrate, backup, restore, export_file, import_file):
    main.add_command(command)


if __name__ == "__main__":
    main()
