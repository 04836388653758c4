"""The one place that prints: whatever is in a text, a terminal obeys none of it."""

from __future__ import annotations

import io

import click

from lab.harmless import printed


def say(text: object, *, err: bool = False, nl: bool = True, colour: bool = False) -> None:
    """Prints to stdout, or to stderr; with `colour` the colours in it are left."""
    click.echo(printed(str(text), colour=colour), err=err, nl=nl, color=colour)


def tell(text: str) -> None:
    """What goes on meanwhile: to stderr."""
    say(text, err=True)


def show(error: click.ClickException) -> None:
    """What click says of wrong arguments."""
    text = io.StringIO()
    error.show(text)
    say(text.getvalue(), err=True, nl=False)
