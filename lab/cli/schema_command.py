"""`lab schema`: the scenario format for editors."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.say import say


@click.command("schema")
@click.option(
    "--write", is_flag=True, help="Write to PATH instead of stdout; an older schema there is replaced."
)
@click.argument("path", required=False, type=click.Path(path_type=Path))
def command(write: bool, path: Path | None) -> None:
    """Print the JSON Schema of the scenario format, for editors, or write it into a project.

    PATH needs --write; the default is schema/scenario-v1.json. The first line of a scenario tells an editor
    where it is: # yaml-language-server: $schema=../schema/scenario-v1.json
    """
    if write:
        from lab.project import SCHEMA, write_schema

        target = path or SCHEMA
        write_schema(target)
        say(f"wrote {target}")
        return
    if path is not None:
        raise click.UsageError("PATH needs --write")
    from lab.scenario.schema import schema_text

    say(schema_text(), nl=False)
