"""`costplus prices …`: the commands; what they do is in `prices`, how it reads in `prices_text`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any, Literal

import click

from costplus.cli_options import as_json, load_settings, refusals, settings_options

note_option = click.option("--note", default="", help="Why; kept with the decision.")


@click.group()
def prices() -> None:
    """Look at model prices, synchronise them, and decide what changes."""


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of settings and `--json`."""
    return settings_options(as_json(command))


def _settings(given: dict[str, Any]) -> Any:
    """Take the options of settings out of what a command was given, and return the settings."""
    names = ("config", "data_dir", "database")
    return load_settings(given.pop(names[0]), **{name: given.pop(name) for name in names[1:]})


def _view(settings: Any) -> Any:
    from costplus.web.objects.wire import View

    return View(livemode=settings.secret_key.startswith("sk_live_"))


def _print(objects: Iterable[dict[str, Any]], text: str, *, as_json: bool) -> None:
    """Print objects, one a line, for programs, or the text for people."""
    if as_json:
        for shown in objects:
            click.echo(json.dumps(shown))
    else:
        click.echo(text)


def _changed(settings: Any, changes: Iterable[Any], *, as_json: bool, full: bool = False) -> None:
    """Print changes."""
    from costplus.prices_text import change_line, diff_text
    from costplus.web.objects.price_objects import price_change_detail

    listed = list(changes)
    view = _view(settings)
    objects = [price_change_detail(judged.change, judged.moves, None, view) for judged in listed]
    text = diff_text(listed) if full else "\n".join(map(change_line, listed))
    _print(objects, text, as_json=as_json)


@prices.command()
@_common
@click.option("--accept", multiple=True, metavar="SOURCE", help="Believe this source as a whole; repeatable.")
def sync(accept: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Ask the followed price lists now, and keep what follows."""
    settings = _settings(given)
    from costplus.prices import NoSourceReached
    from costplus.prices import sync as run
    from costplus.prices_text import source_line, sync_lines
    from costplus.web.objects.price_objects import freshness_object, price_change_detail

    with refusals():
        synced = asyncio.run(run(settings, accept=accept))
        report, view = synced.report, _view(settings)
        for source in report.sources:
            if source.outcome not in ("new", "unchanged"):
                click.echo(f"costplus: {source_line(source)}", err=True)
        outcomes = [
            {
                "event": "source",
                "source": source.source,
                "outcome": source.outcome,
                "revision": source.revision or None,
                "models": source.models,
                "why": source.why or None,
            }
            for source in report.sources
        ]
        changes = [
            {"event": "change", "change": price_change_detail(judged.change, judged.moves, None, view)}
            for judged in synced.changes
        ]
        end = {
            "event": "synchronised",
            "withdrawn": report.withdrawn,
            "freshness": freshness_object(synced.freshness, view),
        }
        _print([*outcomes, *changes, end], "\n".join(sync_lines(synced)), as_json=as_json)
        if not synced.reached:
            raise NoSourceReached("No price list could be reached.")


@prices.command()
@_common
@click.option("--provider", default="", help="Only this provider's.")
@click.option("--model", default="", help="Only this model's.")
def diff(provider: str, model: str, as_json: bool, **given: Any) -> None:
    """Show the open changes: what would move, who says so, why it waits."""
    settings = _settings(given)
    from costplus.prices import diff as run

    with refusals():
        found = asyncio.run(run(settings, provider=provider, model=model))
    _changed(settings, found, as_json=as_json, full=True)


@prices.command()
@click.argument("name", metavar="PROVIDER/MODEL")
@_common
@click.option("--at", default="", help="When: a day, RFC 3339 or Unix seconds (default now).")
def show(name: str, at: str, as_json: bool, **given: Any) -> None:
    """Show a model's price by leaf, where it comes from and how old that is."""
    settings = _settings(given)
    from costplus.prices import show as run
    from costplus.prices_text import show_text
    from costplus.web.objects.price_objects import model_prices_object

    with refusals():
        found = asyncio.run(run(settings, name, at=at))
    _print([model_prices_object(found, _view(settings))], show_text(found), as_json=as_json)


@prices.command()
@click.argument("name", metavar="PROVIDER/MODEL")
@_common
def history(name: str, as_json: bool, **given: Any) -> None:
    """Show every version of a model's price, and everything that was decided about it."""
    settings = _settings(given)
    from costplus.prices import history as run
    from costplus.prices_text import history_text
    from costplus.web.objects.price_objects import price_change_detail, price_version_object

    with refusals():
        found = asyncio.run(run(settings, name))
    view = _view(settings)
    versions = [price_version_object(version) for version in found.prices.versions]
    changes = [price_change_detail(judged.change, judged.moves, None, view) for judged in found.changes]
    _print([*versions, *changes], history_text(found), as_json=as_json)


@prices.command()
@_common
def sources(as_json: bool, **given: Any) -> None:
    """List the price lists, followed or not, with what they said last."""
    settings = _settings(given)
    from costplus.prices import sources as run
    from costplus.prices_text import sources_text
    from costplus.web.objects.price_objects import price_source_object

    with refusals():
        found = asyncio.run(run(settings))
    view = _view(settings)
    objects = [price_source_object(source, view) for source in found]
    _print(objects, sources_text(found), as_json=as_json)


@prices.command()
@click.argument("name", metavar="PROVIDER/MODEL")
@click.argument("amounts", nargs=-1, required=True, metavar="LEAF=USD_PER_MTOK...")
@_common
@click.option("--from", "since", default="", help="First instant (default now).")
@click.option("--until", default="", help="The instant that ends it (default: none).")
@click.option("--new-model", "is_new", is_flag=True, help="The model may be one that has no price yet.")
@note_option
def override(name: str, amounts: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Set your own price of a model; it wins over every source until it ends or is undone."""
    own = {key: given.pop(key) for key in ("since", "until", "is_new", "note")}
    settings = _settings(given)
    from costplus.prices import override as run

    with refusals():
        done = asyncio.run(run(settings, name, amounts, **own))
    _changed(settings, [done], as_json=as_json)


def _decided(
    decision: Literal["approve", "reject", "undo"],
    ids: tuple[str, ...],
    note: str,
    *,
    as_json: bool,
    given: dict[str, Any],
) -> None:
    """Decide about changes and print them."""
    settings = _settings(given)
    from costplus.prices import decide

    with refusals():
        done = asyncio.run(decide(settings, decision, ids, note=note))
    _changed(settings, done, as_json=as_json)


@prices.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@_common
@note_option
def approve(ids: tuple[str, ...], note: str, as_json: bool, **given: Any) -> None:
    """Apply open changes: all of them, or none where one cannot be."""
    _decided("approve", ids, note, as_json=as_json, given=given)


@prices.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@_common
@note_option
def reject(ids: tuple[str, ...], note: str, as_json: bool, **given: Any) -> None:
    """Refuse open changes: the same proposals are not made again."""
    _decided("reject", ids, note, as_json=as_json, given=given)


@prices.command()
@click.argument("id", metavar="ID")
@_common
@note_option
def undo(id: str, note: str, as_json: bool, **given: Any) -> None:
    """Take an applied change back from now on; an override ends."""
    _decided("undo", (id,), note, as_json=as_json, given=given)


@prices.command()
@click.argument("name", metavar="PROVIDER/MODEL")
@click.argument("target")
@_common
@click.option("--since", default="", help="From when on (default now).")
@note_option
def redirect(name: str, target: str, since: str, note: str, as_json: bool, **given: Any) -> None:
    """Price a model as TARGET, another one of its provider."""
    settings = _settings(given)
    from costplus.prices import redirect as run

    with refusals():
        done = asyncio.run(run(settings, name, target, since=since, note=note))
    _changed(settings, [done], as_json=as_json)


@prices.command()
@click.argument("name", metavar="PROVIDER/NAME")
@click.argument("target", required=False)
@_common
@click.option("--remove", is_flag=True, help="Take the name back.")
def alias(name: str, target: str | None, remove: bool, as_json: bool, **given: Any) -> None:
    """Declare that a name, such as a deployment's, means the model TARGET of the same provider."""
    settings = _settings(given)
    from costplus.prices import alias as declare
    from costplus.prices import remove_alias
    from costplus.web.objects.price_objects import model_alias_object

    if remove is (target is not None):
        raise click.UsageError("Name a TARGET, or give --remove.")
    with refusals():
        made = asyncio.run(remove_alias(settings, name) if remove else declare(settings, name, target or ""))
    does = "no longer means" if remove else "means"
    text = f"{made.provider}/{made.name} {does} {made.provider}/{made.target}"
    _print([model_alias_object(made, _view(settings)) | {"deleted": remove}], text, as_json=as_json)
