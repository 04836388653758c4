"""Untrusted JSON: its numbers are held to 64 bits.

Python reads integers of any length and floats that are not finite; code that computes with them then fails
far from where they came in. Times, sizes and counts have 64 bits.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

_DIGITS = 20  #: of the largest unsigned 64-bit integer: TCP_INFO has it for "no limit"
#: Finds what may be larger than that: only then is each number checked.
_SUSPECT = re.compile(r"-[0-9]{19}|[0-9]{20}|[eE]\+?[0-9]{2}|Infinity|NaN")


def read_json(text: str) -> Any:
    """As `json.loads`; raises `ValueError` also for a number beyond 64 bits or not finite."""
    if _SUSPECT.search(text):
        return json.loads(text, parse_int=_integer, parse_float=_float, parse_constant=_refuse)
    return json.loads(text)


def _integer(text: str) -> int:
    if len(text) > _DIGITS or not -(1 << 63) <= (number := int(text)) < 1 << 64:
        _refuse(text)
    return number


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or abs(number) >= 1 << 64:
        _refuse(text)
    return number


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"the number {text[:30]} is beyond 64 bits")
