"""`lab schema`: the scenario format for editors."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.say import say
from lab.project import SCHEMA, write_schema
from lab.scenario.schema import schema_text


@click.command("schema")
@click.option(
    "--write", is_flag=True, help="Into PATH in place of stdout; an older schema there is replaced."
)
@click.argument("path", required=False, type=click.Path(path_type=Path))
def command(write: bool, path: Path | None) -> None:
    """Print the JSON Schema of the scenario format, for editors, or write it into a project.

    PATH goes with --write, and is schema/scenario-v1.json by default. A scenario leads an editor there by its
    first line: # yaml-language-server: $schema=../schema/scenario-v1.json
    """
    if write:
        target = path or SCHEMA
        write_schema(target)
        say(f"wrote {target}")
        return
    if path is not None:
        raise click.UsageError("PATH goes with --write")
    say(schema_text(), nl=False)
