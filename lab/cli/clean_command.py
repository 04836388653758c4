"""`lab clean`: what dead runs left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lab.cli.say import say, tell
from lab.errors import EXIT_ENVIRONMENT, EXIT_FAIL

if TYPE_CHECKING:
    from lab.engine.clean import Leftover


@click.command("clean")
@click.option("--kept", is_flag=True, help="Also labs kept on purpose (`lab up`, `run --keep`).")
@click.option(
    "--check", is_flag=True, help="Remove nothing; exit status 1 if a run that is over left anything."
)
def command(kept: bool, check: bool) -> int:
    """Remove containers, networks and volumes of runs whose process is dead. A live run is never touched."""
    from lab.engine.clean import Owner, leftovers, sweep
    from lab.engine.private import find_engine
    from lab.site import load_site

    if check and kept:
        raise click.UsageError("--check excludes --kept: it removes nothing, and lists kept labs anyway")
    site = load_site()
    engine = find_engine(tell, address=site.engine_address, start=False)
    if check:
        return _check([left for left in leftovers(engine) if left.owner is not Owner.ALIVE])
    owners = (Owner.DEAD, Owner.UNKNOWN, *((Owner.KEPT,) if kept else ()))
    swept = sweep(engine, owners=owners, progress=say)
    for name in (*swept.containers, *swept.networks, *swept.volumes):
        say(f"removed {name}")
    for failure in swept.failures:
        say(f"could not be removed: {failure}", err=True)
    standing = leftovers(engine)
    for left in standing:
        say(f"run {left.run} is {left.owner.value}: left alone")
    if not swept:
        say("nothing to remove")
    return EXIT_ENVIRONMENT if swept.failures else 0


def _check(over: list[Leftover]) -> int:
    """Lists what runs that are over have left, including labs kept on purpose."""
    for left in over:
        names = ", ".join((*left.containers.values(), *left.networks.values(), *left.volumes))
        say(f"left by run {left.run} ({left.owner.value}): {names}")
    if not over:
        say("nothing was left behind")
        return 0
    say(f"{len(over)} run{'s' * (len(over) != 1)} left something behind")
    return EXIT_FAIL
