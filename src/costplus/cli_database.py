"""The commands for the database's upkeep: migrate, backup, restore."""

from __future__ import annotations

from pathlib import Path

import click

from costplus.cli_options import as_json, load_settings, refusals, say, settings_options


@click.command()
@settings_options
@as_json
def migrate(config: Path | None, data_dir: str | None, database: str | None, as_json: bool) -> None:
    """Bring the database's schema up to date, as every start does."""
    settings = load_settings(config, data_dir=data_dir, database=database)
    from costplus import upkeep

    with refusals():
        before, after = upkeep.migrate(settings)
    done = f"is at schema {after} already" if before == after else f"went from schema {before} to {after}"
    say({"before": before, "after": after}, f"The database {done}.", as_json=as_json)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@settings_options
@as_json
def backup(
    file: Path, config: Path | None, data_dir: str | None, database: str | None, as_json: bool
) -> None:
    """Write the database, as it is at this instant, to FILE; everything may run meanwhile."""
    settings = load_settings(config, data_dir=data_dir, database=database)
    from costplus import upkeep

    with refusals():
        kept = upkeep.back_up(settings, file)
    say(
        {"file": str(kept.file), "size_bytes": kept.size_bytes, "schema": kept.schema},
        f"{kept.file}: {kept.size_bytes} bytes, schema {kept.schema}.",
        as_json=as_json,
    )


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@settings_options
@click.option("--force", is_flag=True, help="Replace what the database holds.")
@as_json
def restore(
    file: Path, config: Path | None, data_dir: str | None, database: str | None, force: bool, as_json: bool
) -> None:
    """Put a backup in the database's place; no process may use it meanwhile."""
    settings = load_settings(config, data_dir=data_dir, database=database)
    from costplus import upkeep

    with refusals():
        kept = upkeep.restore(settings, file, force=force)
    say(
        {"file": str(kept.file), "size_bytes": kept.size_bytes, "schema": kept.schema},
        f"Restored {kept.file}: {kept.size_bytes} bytes, schema {kept.schema}.",
        as_json=as_json,
    )
