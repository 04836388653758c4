"""`lab up`: the hosts of a scenario, without its steps."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.options import parse_params
from lab.cli.progress import Progress
from lab.cli.say import say


@click.command("up")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-k", "keyword", metavar="TEXT", help="Of several cases, the one whose name contains TEXT.")
@click.option("--param", "params", multiple=True, metavar="K=V", help="The value of a parameter.")
@click.option("--wire", type=click.Choice(["auto", "kernel", "uml"]), help="Instead of lab.yml's.")
def command(path: Path, keyword: str | None, params: tuple[str, ...], wire: str | None) -> None:
    """Bring up the hosts of a scenario with their links, and leave them running. Its steps are not run."""
    from lab.runner.invocation import bring_up
    from lab.runner.selection import Selection
    from lab.site import load_site

    cases = Selection((path,), keyword, (), parse_params(params)).cases(load_site().policy)
    if len(cases) > 1:
        from lab.errors import UsageError

        names = ", ".join(case.name for case in cases)
        raise UsageError(f"{path}: {len(cases)} cases: select one with -k or --param: {names}")
    progress = Progress()
    text = bring_up(cases[0], wire=wire, listener=progress)
    progress.clear()
    say(text, nl=False)
