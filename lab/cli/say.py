"""The one place that prints. No control character of a text reaches the terminal."""

from __future__ import annotations

import io

import click

from lab.harmless import printed


def say(text: object, *, err: bool = False, nl: bool = True, colour: bool = False) -> None:
    """Prints to stdout or stderr; with `colour`, the text's own colours stay."""
    click.echo(printed(str(text), colour=colour), err=err, nl=nl, color=colour)


def tell(text: str) -> None:
    """Prints progress and errors, to stderr."""
    say(text, err=True)


def show(error: click.ClickException) -> None:
    """Prints click's error about wrong arguments."""
    text = io.StringIO()
    error.show(text)
    say(text.getvalue(), err=True, nl=False)
