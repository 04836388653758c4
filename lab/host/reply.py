"""An agent's reply, read with its types: a value of another type is reported where it came in.

A program on a host may have taken the agent over. What it sends goes into records that everything else
computes with.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from lab.errors import AgentError
from lab.evidence.model import Endpoint

T = TypeVar("T")

_TEXT = 1 << 20  #: characters of a name, an error, a note: nobody sends more
_SHOWN = 100  #: characters shown of what is wrong


class Nonsense(ValueError):
    """A reply that is not valid: `str` says which field, and what it is."""


@contextmanager
def sensible(who: str) -> Iterator[None]:
    """`AgentError` in place of `Nonsense`."""
    try:
        yield
    except Nonsense as error:
        raise AgentError(f"{who}: the agent's reply makes no sense: {error}") from error


class Reply:
    """One object of a reply. Every method takes a key; `Nonsense` where its value is not of that kind."""

    def __init__(self, raw: Any, what: str = "the reply") -> None:
        if not isinstance(raw, Mapping):
            raise Nonsense(f"{what} is {_shown(raw)}, not an object")
        self._raw = raw
        self._what = what

    def integer(self, key: str) -> int:
        value = self._raw.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise self._wrong(key, "a whole number")

    def text(self, key: str, most: int = _TEXT) -> str:
        value = self._raw.get(key)
        if isinstance(value, str) and len(value) <= most:
            return value
        raise self._wrong(key, f"a text of at most {most:,} characters")

    def long_text(self, key: str) -> str:
        """Of any length: the line that it came in is bounded."""
        return self.text(key, len(self._raw.get(key) or ""))

    def flag(self, key: str) -> bool:
        """False where it is not there."""
        value = self._raw.get(key, False)
        if isinstance(value, bool):
            return value
        raise self._wrong(key, "true or false")

    def base64(self, key: str) -> bytes:
        try:
            return base64.b64decode(self.long_text(key), validate=True)
        except binascii.Error:
            raise self._wrong(key, "bytes in base64") from None

    def endpoint(self, key: str) -> Endpoint:
        match self._raw.get(key):
            case [str() as address, int() as port] if len(address) < 100 and 0 <= port < 65_536:
                return Endpoint(address, int(port))
        raise self._wrong(key, "an address: [text, port]")

    def one_of(self, key: str, *words: T) -> T:
        value = self._raw.get(key)
        for word in words:
            if value == word and isinstance(value, type(word)):
                return word
        raise self._wrong(key, f"one of {', '.join(map(str, words))}")

    def optional(self, read: Callable[[str], T], key: str) -> T | None:
        """None where it is null or not there."""
        return None if self._raw.get(key) is None else read(key)

    def json(self, key: str) -> Any:
        """The value unchanged: it is only shown and compared."""
        return self._raw.get(key)

    def object(self, key: str) -> Reply:
        return Reply(self._raw.get(key), key)

    def texts(self, key: str) -> tuple[str, ...]:
        """Empty where it is not there."""
        return tuple(Reply({key: one}, self._what).text(key) for one in self._list(key, ()))

    def by_name(self, key: str, read: Callable[[Reply, str], T]) -> dict[str, T]:
        """An object whose values are all of one kind: `by_name("offloads", Reply.flag)`."""
        inner = self.object(key)
        return {str(name): read(inner, name) for name in inner._raw}

    def plain_objects(self, key: str) -> tuple[Mapping[str, Any], ...]:
        return tuple(Reply(one, key)._raw for one in self._list(key))

    def _list(self, key: str, default: Any = None) -> Any:
        value = self._raw.get(key, default)
        if isinstance(value, list | tuple):
            return value
        raise self._wrong(key, "a list")

    def _wrong(self, key: str, what: str) -> Nonsense:
        where = key if self._what == "the reply" else f"{self._what}.{key}"
        return Nonsense(f"{where} is {_shown(self._raw.get(key))}, not {what}")


def _shown(value: Any) -> str:
    if isinstance(value, list | dict | str) and len(value) > _SHOWN:
        return f"a long {type(value).__name__}"
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
