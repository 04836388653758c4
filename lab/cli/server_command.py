"""`lab server`: the article's server, by hand."""

from __future__ import annotations

import click

from lab.programs import server


@click.command("server", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """The article's server; `lab server --help` lists its arguments."""
    return server.main(arguments, prog="lab server")
