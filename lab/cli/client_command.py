"""`lab client`: the article's client, by hand."""

from __future__ import annotations

import click

from lab.programs import client


@click.command("client", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """The article's client; `lab client --help` lists its arguments."""
    return client.main(arguments, prog="lab client")
