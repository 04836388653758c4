"""The bytes of a socket option's value, in any form of a scenario or a record."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic_core import PydanticCustomError

from lab.scenario.base import problem, shown
from lab.scenario.expects import HexValue, Linger
from lab.scenario.quantities import parse_duration
from lab.socket_options import OPTIONS, TIMES, encode

#: A value in YAML or in a record.
Written = int | str | Linger | HexValue | Mapping[str, object]


def option_bytes(option: str, value: Written) -> bytes:
    """The value as the kernel takes it: `3s` and `3000` are the same TCP_USER_TIMEOUT.

    Raises `ValueError` with what the option takes, and pydantic's error if a time is wrong.
    """
    known = OPTIONS[option]
    if isinstance(value, Linger | HexValue):
        value = value.model_dump()
    if isinstance(value, str) and known.kind in TIMES:
        return encode(known, None, ns=parse_duration(value).ns)
    return encode(known, value)


def check_option(option: str, value: Written) -> None:
    """Raises pydantic's error if the option does not take the value."""
    try:
        option_bytes(option, value)
    except PydanticCustomError:
        raise
    except ValueError as error:
        given = "a mapping" if isinstance(value, Linger | HexValue) else shown(value)
        raise problem(f"{error}, not {given}") from None
