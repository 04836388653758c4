"""Options that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from lab.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def _wanted(_ctx: click.Context, _param: click.Parameter, value: str) -> bool:
    if value == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return value == "always"


def colour(function: F) -> F:
    """`--color auto|always|never`, passed to the command as a bool. auto: on a terminal without NO_COLOR."""
    option = click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        callback=_wanted,
        help="auto: on a terminal, unless NO_COLOR is set.",
    )
    return option(function)


def parse_params(pairs: Iterable[str]) -> dict[str, str]:
    """`k=v` options as a mapping."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--param {pair}: give a parameter and its value, like --param delay=5ms")
        found[name] = value
    return found
