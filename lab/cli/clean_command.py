"""`lab clean`: what dead runs left behind."""

from __future__ import annotations

import click

from lab.errors import EXIT_ENVIRONMENT


@click.command("clean")
@click.option("--kept", is_flag=True, help="Labs that stand on purpose (`lab up`, `run --keep`) too.")
def command(kept: bool) -> int:
    """Remove the containers and networks of runs whose owner is dead. Living runs are never touched."""
    from lab.engine.clean import Owner, leftovers, sweep
    from lab.engine.private import find_engine
    from lab.site import load_site

    site = load_site()
    engine = find_engine(lambda text: click.echo(text, err=True), address=site.engine_address, start=False)
    owners = (Owner.DEAD, Owner.UNKNOWN, *((Owner.KEPT,) if kept else ()))
    swept = sweep(engine, owners=owners, progress=click.echo)
    for name in (*swept.containers, *swept.networks):
        click.echo(f"removed {name}")
    for failure in swept.failures:
        click.echo(f"could not be removed: {failure}", err=True)
    standing = leftovers(engine)
    for left in standing:
        click.echo(f"run {left.run} is {left.owner.value}: left alone")
    if not swept:
        click.echo("nothing to remove")
    return EXIT_ENVIRONMENT if swept.failures else 0
