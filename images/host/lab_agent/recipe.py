"""Data as the scenario describes it, made in chunks: 200 MB need not fit in memory or cross the channel."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

CHUNK = 4 << 20  # a multiple of 4, see `_random`

Recipe = Any  #: a text, {text}, {hex} or {repeat}, each with or without {times}; or {random, seed}


def length(recipe: Recipe) -> int:
    """The number of bytes that a recipe makes."""
    if not isinstance(recipe, str) and "random" in recipe:
        return int(recipe["random"])
    unit, times = _unit(recipe)
    return len(unit) * times


def chunks(recipe: Recipe) -> Iterator[bytes]:
    """The bytes of a recipe, a few MiB at a time; no chunk if it has none."""
    if not isinstance(recipe, str) and "random" in recipe:
        yield from _random(int(recipe["random"]), int(recipe.get("seed", 0)))
    else:
        yield from _repeated(*_unit(recipe))


def _unit(recipe: Recipe) -> tuple[bytes, int]:
    if isinstance(recipe, str):
        return recipe.encode(), 1
    times = int(recipe.get("times", 1))
    if "hex" in recipe:
        return bytes.fromhex(recipe["hex"]), times
    return str(recipe.get("text", recipe.get("repeat"))).encode(), times


def _repeated(unit: bytes, times: int) -> Iterator[bytes]:
    if not unit:
        return
    at_once = max(1, CHUNK // len(unit))
    block = unit * min(at_once, times)
    while times >= at_once:
        yield block
        times -= at_once
    if times:
        yield unit * times


def _random(count: int, seed: int) -> Iterator[bytes]:
    """Random bytes in chunks. randbytes() draws 32 bits at a time and cuts only the last draw, so chunks of
    4·k bytes together equal the bytes of one call."""
    source = random.Random(seed)
    while count > 0:
        yield source.randbytes(min(count, CHUNK))
        count -= CHUNK
