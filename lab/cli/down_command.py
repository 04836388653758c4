"""`lab down`: the end of a running lab."""

from __future__ import annotations

import click

from lab.cli.say import say, tell


@click.command("down")
@click.argument("run", required=False)
@click.option("--all", "everything", is_flag=True, help="Every lab that is running.")
def command(run: str | None, everything: bool) -> None:
    """Take down the lab of RUN, or the only one that is running."""
    from lab.engine.clean import Owner, sweep
    from lab.engine.private import find_engine
    from lab.errors import EngineError
    from lab.runner.standing import choose, standing
    from lab.site import load_site

    engine = find_engine(tell, address=load_site().engine_address, start=False)
    labs = standing(engine) if everything else [choose(engine, run)]
    for lab in labs:
        swept = sweep(engine, owners=(Owner.KEPT,), run=lab.run)
        if swept.failures:
            raise EngineError("; ".join(swept.failures), hint="`lab clean --kept` tries again")
        say(f"run {lab.run} is down")
    if not labs:
        say("no lab is running")
