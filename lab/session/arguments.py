"""The arguments of a socket call as the agent takes them: plain JSON from a step's typed fields."""

from __future__ import annotations

from lab.evidence.model import Json
from lab.scenario.base import Model
from lab.scenario.calls import Call, Setsockopt
from lab.scenario.data import Data
from lab.scenario.values import Address
from lab.units import Duration, Size

_NOT_ARGUMENTS = {"do", "id_", "at", "process", "timeout", "background", "expect"}


def arguments(call: Call) -> dict[str, Json]:
    """The keys of a step, except those that every call has; addresses as [host, port], sizes in bytes, times
    in ns, data as its recipe. A missing key is left out, except `value`, where null means "none"."""
    found: dict[str, Json] = {}
    for name in type(call).model_fields:
        if name in _NOT_ARGUMENTS:
            continue
        value = getattr(call, name)
        if name == "address" and value == "any":
            continue  # the agent's default, for the family at hand
        if isinstance(call, Setsockopt) and name == "value":
            found[name] = call.setting
        elif value is not None or name == "value":
            found[name.rstrip("_")] = _plain(value)
    return found


def _plain(value: object) -> Json:
    match value:
        case Address():
            return [value.host, value.port]
        case Data():
            return value.recipe()
        case Size():
            return value.bytes
        case Duration():
            return value.ns
        case Model():
            return value.model_dump()
        case _:
            return value
