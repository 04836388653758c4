"""`lab engine`: the lab's own Docker engine."""

from __future__ import annotations

import click

from lab.cli.say import say, tell


@click.group("engine")
def command() -> None:
    """The lab's own Docker engine, for machines where none runs."""


@command.command("up")
def up() -> None:
    """Start it, unless an engine already answers; return when it is ready."""
    from lab.engine.private import find_engine
    from lab.site import load_site

    engine = find_engine(tell, address=load_site().engine_address)
    info = engine.info()
    say(f"{info.name} {info.version} answers at {info.address}")


@command.command("down")
def down() -> None:
    """Stop it, with its containers. Its images stay."""
    from lab.engine.private import PrivateEngine

    say("stopped" if PrivateEngine().down() else "it was not running")


@command.command("status")
def status() -> int:
    """Say whether it is running; exit status 0 if it is, 1 if not."""
    from lab.engine.private import PrivateEngine

    own = PrivateEngine().status()
    if own.running:
        say(f"running, pid {own.pid}, at {own.address}; log in {own.log}")
        return 0
    say(f"not running; its folder is {own.folder}")
    return 1
