"""Files of variables: `.env` and `env_file`, as Compose reads them."""

from __future__ import annotations

import re
from collections.abc import Callable

from lab.scenario.compose.interpolate import MAX_FILLED, interpolate

_LINE = re.compile(r"(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?P<sign>[=:]?)[ \t]*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


class BadLine(Exception):
    """A line that does not belong in a file of variables."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def parse(text: str, lookup: Callable[[str], str | None], *, raw: bool = False) -> dict[str, str]:
    """The variables of a file. `lookup` gives those from outside, which come first in `${X}`.

    `raw` takes every value as it is written. Raises `BadLine` and `interpolate.BadTemplate`.
    """
    text = text.replace("\r\n", "\n")
    values: dict[str, str] = {}

    def known(name: str) -> str | None:
        outer = lookup(name)
        return values.get(name) if outer is None else outer

    position = length = 0
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        line = text[position:end].strip()
        if not line or line.startswith("#"):
            position = end + 1
            continue
        number = text.count("\n", 0, position) + 1
        start = position + len(text[position:end]) - len(text[position:end].lstrip())
        match = _LINE.match(text, start, end)
        if match is None:
            raise BadLine(number, f"{line[:40]!r} is not NAME=value")
        name = match["name"]
        if not match["sign"]:
            if match.end() < end and text[match.end() : end].strip():
                raise BadLine(number, f"{line[:40]!r} is not NAME=value")
            if (outer := lookup(name)) is not None:
                values[name] = outer
            position = end + 1
        elif raw:
            values[name] = text[start:end].partition("=")[2]
            position = end + 1
        else:
            values[name], position = _value(text, match.end(), end, number, known)
            length += len(values[name])
            if length > MAX_FILLED:
                raise BadLine(number, f"with its values the file is longer than {MAX_FILLED} characters")
    return values


def _value(
    text: str, start: int, end: int, number: int, known: Callable[[str], str | None]
) -> tuple[str, int]:
    quote = text[start : start + 1]
    if quote not in ("'", '"'):
        value = re.split(r"(?:^|[ \t])#", text[start:end], maxsplit=1)[0].strip()
        return interpolate(value, known, lambda name: None), end + 1
    closing = start + 1
    while closing < len(text) and text[closing] != quote:
        closing += 2 if text[closing] == "\\" else 1
    if closing >= len(text):
        raise BadLine(number, f"the quote {quote} is not closed")
    after = text.find("\n", closing)
    after = len(text) if after < 0 else after
    inside = text[start + 1 : closing]
    if quote == "'":
        return inside.replace("\\'", "'"), after + 1
    plain = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), inside, flags=re.DOTALL)
    return interpolate(plain, known, lambda name: None), after + 1
