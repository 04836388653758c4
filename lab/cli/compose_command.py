"""`lab compose`: a scenario's hosts as a Compose file."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.options import parse_params
from lab.cli.say import say


@click.command("compose")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--param", "params", multiple=True, metavar="K=V", help="The value of a parameter.")
def command(path: Path, params: tuple[str, ...]) -> None:
    """Print the hosts, programs and wire of a scenario's first case as a Compose file."""
    from lab.runner.compose import compose_text
    from lab.scenario.load import load
    from lab.site import load_site

    cases = load(path, params=parse_params(params), policy=load_site().policy)
    say(compose_text(cases[0].scenario), nl=False)
