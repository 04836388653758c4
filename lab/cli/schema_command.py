"""`lab schema`: the scenario format for editors."""

from __future__ import annotations

import click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of the scenario format, as it stands in schema/scenario-v1.json."""
    from lab.scenario.schema import schema_text

    click.echo(schema_text(), nl=False)
