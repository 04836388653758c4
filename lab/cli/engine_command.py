"""`lab engine`: the lab's own Docker engine."""

from __future__ import annotations

import click


@click.group("engine")
def command() -> None:
    """The lab's own Docker engine, for machines where none runs."""


@command.command("up")
def up() -> None:
    """Start it, unless an engine answers already; returns when it is ready."""
    from lab.engine.private import find_engine
    from lab.site import load_site

    engine = find_engine(lambda text: click.echo(text, err=True), address=load_site().engine_address)
    info = engine.info()
    click.echo(f"{info.name} {info.version} answers at {info.address}")


@command.command("down")
def down() -> None:
    """End it, with the containers on it. Its images stay."""
    from lab.engine.private import PrivateEngine

    click.echo("ended" if PrivateEngine().down() else "it did not run")


@command.command("status")
def status() -> int:
    """Say whether it runs; exit status 0 where it does, 1 where not."""
    from lab.engine.private import PrivateEngine

    own = PrivateEngine().status()
    if own.running:
        click.echo(f"running, pid {own.pid}, at {own.address}; log in {own.log}")
        return 0
    click.echo(f"not running; its folder is {own.folder}")
    return 1
