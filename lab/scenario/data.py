"""Bytes to send and bytes to expect, as a scenario writes them."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Self

from pydantic import PlainValidator, WithJsonSchema

from lab.scenario.base import AtLeastOne, AtMostOne, Model, Needs, Opt, Rule, problem, shown
from lab.scenario.quantities import UNLIMITED, Bytes, Name, Text, number
from lab.scenario.ranges import Length, Range, ShortOr, Written

_LARGEST = 1 << 30  #: 1 GiB: more would not fit into a small machine's memory beside the lab
_AT_ONCE = 1 << 20  #: of random bytes: whole words of 32 bits, so the pieces equal the bytes of one call
_Times = Annotated[int, number(0, _LARGEST, "times")]
_Seed = Annotated[int, number(-UNLIMITED, UNLIMITED, "seed")]


def _hex(value: object) -> bytes:
    text = value if isinstance(value, str) else str(value)
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise problem(f'{shown(value)} is not hex: pairs of the digits 0-9 a-f, like "00ff"') from None


_HexBytes = Annotated[bytes, PlainValidator(_hex), WithJsonSchema({"type": ["string", "integer"]})]


def _sha256(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{64}", value):
        return value.lower()
    raise problem(f"{shown(value)} is not a SHA-256: 64 hex digits")


_Sha256 = Annotated[
    str, PlainValidator(_sha256), WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"})
]


_TOGETHER: tuple[Rule, ...] = (
    Needs("repeat", ("times",)),
    Needs("times", ("repeat",)),
    Needs("seed", ("random",)),
)


class DataForm(Model):
    """`{hex: "00ff"}`, `{repeat: "x", times: 1000}` or `{random: 1MB, seed: 7}`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        AtLeastOne(("hex", "repeat", "random"), "or write the text itself"),
        AtMostOne(("hex", "repeat", "random")),
        *_TOGETHER,
    )
    hex: Opt[_HexBytes] = None
    repeat: Opt[Text] = None
    times: Opt[_Times] = None
    random: Opt[Bytes] = None
    seed: _Seed = 0


class DataExpectForm(DataForm):
    """The other forms of expected data: `{sha256: …}`, `{same_as: step}` or `{length: n}`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        AtLeastOne(("hex", "repeat", "random", "sha256", "same_as", "length"), "or write the text itself"),
        AtMostOne(("hex", "repeat", "random", "sha256", "same_as")),
        *_TOGETHER,
    )
    sha256: Opt[_Sha256] = None
    same_as: Opt[Name] = None
    length: Opt[Length] = None


bytes_ = bytes  #: for where a method hides the name


class Data(Written, frozen=True):
    """Bytes as a recipe: `unit` repeated `times`, or `random_length` bytes of `random.Random(seed)`."""

    forms = ShortOr(DataForm, Text)

    unit: bytes = b""
    times: int = 1
    random_length: int | None = None
    seed: int = 0
    hex: bool = False  #: written as hex, so shown as hex

    @property
    def length(self) -> int:
        return self.random_length if self.random_length is not None else len(self.unit) * self.times

    def pieces(self) -> Iterator[bytes_]:
        """All bytes, made anew, a piece at a time: they may not fit into memory."""
        if self.random_length is not None:
            source, whole, rest = random.Random(self.seed), *divmod(self.random_length, _AT_ONCE)
            yield from (source.randbytes(count) for count in itertools.chain([_AT_ONCE] * whole, [rest]))
            return
        together = max(1, _AT_ONCE // max(1, len(self.unit)))
        piece, (whole, rest) = self.unit * min(together, self.times), divmod(self.times, together)
        yield from itertools.repeat(piece, whole)
        yield self.unit * rest

    def begin(self, most: int) -> bytes_:
        """Its first bytes, at most `most`."""
        head = bytearray()
        for piece in self.pieces():
            head += piece[: most - len(head)]
            if len(head) >= most:
                break
        return bytes_(head)

    def bytes(self) -> bytes_:
        """All bytes, made anew."""
        return b"".join(self.pieces())

    def sha256(self) -> str:
        return _sha256_of(self)

    def recipe(self) -> dict[str, Any]:
        """JSON for the agent, which makes the bytes itself: `{"hex"}`, `{"hex", "times"}` or
        `{"random", "seed"}`; `{"text"}` where the bytes are UTF-8."""
        if self.random_length is not None:
            return {"random": self.random_length, "seed": self.seed}
        try:
            recipe: dict[str, Any] = {"text": self.unit.decode("utf-8")}
        except UnicodeDecodeError:
            recipe = {"hex": self.unit.hex()}
        if self.times == 1:
            return recipe
        return {"repeat": recipe["text"], "times": self.times}

    def __str__(self) -> str:
        if self.random_length is not None:
            return f"{self.random_length} random bytes (seed {self.seed})"
        unit = f"hex {self.unit.hex()}" if self.hex else repr(self.unit.decode("utf-8", "backslashreplace"))
        if len(unit) > 60:
            unit = f"{unit[:56]}… ({len(self.unit)} bytes)"
        return unit if self.times == 1 else f"{unit} × {self.times}"

    @classmethod
    def of_form(cls, form: DataForm | str) -> Self:
        if isinstance(form, str):
            return cls(form.encode("utf-8", "surrogatepass"))
        if form.random is not None:
            data = cls(random_length=form.random.bytes, seed=form.seed)
        elif form.repeat is not None:
            data = cls(form.repeat.encode("utf-8", "surrogatepass"), form.times or 0)
        else:
            data = cls(form.hex or b"", hex=True)
        if data.length > _LARGEST:
            raise problem(f"{data.length} bytes of data; at most 1GiB is allowed")
        return data


@lru_cache(64)
def _sha256_of(data: Data) -> str:
    digest = hashlib.sha256()
    for piece in data.pieces():
        digest.update(piece)
    return digest.hexdigest()


class DataExpect(Written, frozen=True):
    """What received bytes must be: exactly `data`, with this `sha256`, the same as step `same_as`'s, of this
    `length`. None is not checked."""

    forms = ShortOr(DataExpectForm, Text)

    data: Data | None = None
    sha256: str | None = None
    same_as: str | None = None
    length: Range | None = None

    def __str__(self) -> str:
        parts = [
            *([str(self.data)] if self.data is not None else []),
            *([f"sha256 {self.sha256}"] if self.sha256 is not None else []),
            *([f"the same as {self.same_as}"] if self.same_as is not None else []),
            *([f"{self.length} bytes"] if self.length is not None else []),
        ]
        return ", ".join(parts)

    @classmethod
    def of_form(cls, form: DataExpectForm | str) -> Self:
        if isinstance(form, str):
            return cls(Data.of_form(form))
        given = (form.hex, form.repeat, form.random)
        data = Data.of_form(form) if any(part is not None for part in given) else None
        return cls(data, form.sha256, form.same_as, form.length)
