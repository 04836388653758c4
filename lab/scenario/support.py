"""Parts of the format that this lab does not support yet: one table, checked by the loader.

The models, the schema and the documentation have all of them. To enable one, remove its line from
`NOT_YET`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from lab.scenario.base import Model
from lab.scenario.calls import Step
from lab.scenario.checks import CallCheck
from lab.scenario.compose.models import ServiceKeys
from lab.scenario.steps import Run

TRACE = "recording the socket calls of programs"
IPV6 = "IPv6"

#: What is refused as not yet supported.
NOT_YET = frozenset({TRACE, IPV6})


class Use(Struct, frozen=True):
    """A use of a feature: a key of some models, with such a value."""

    feature: str
    models: tuple[type[Model], ...]
    key: str
    when: Callable[[Any], bool] = lambda value: True


def _v6(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("[")


def _bare_v6(value: Any) -> bool:
    return isinstance(value, str) and value.count(":") >= 2


USES = (
    Use(TRACE, (Run, ServiceKeys), "trace", lambda value: value is True),
    Use(TRACE, (CallCheck,), "service"),
    Use(TRACE, (CallCheck,), "run"),
    Use(IPV6, (Step,), "family", lambda value: value == "ipv6"),
    Use(IPV6, (Model,), "to", _v6),
    Use(IPV6, (Model,), "from", _v6),
    Use(IPV6, (Step,), "address", _bare_v6),
)


@functools.cache
def _uses(model: type[Model], features: frozenset[str]) -> tuple[Use, ...]:
    """What keys of such a mapping may use of some features."""
    return tuple(use for use in USES if use.feature in features and issubclass(model, use.models))


def not_yet(model: type[Model], keys: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The keys of one mapping that use an unsupported feature, each with an error text."""
    for use in _uses(model, NOT_YET):
        if use.key in keys:
            value = keys[use.key]
            if use.when(value):
                shown = f"{use.key}: {value}" if isinstance(value, str) else use.key
                yield use.key, f"{shown} is not yet supported: {use.feature}"
