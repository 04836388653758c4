"""Data as the scenario describes it, made in chunks: 200 MB need not be held, nor cross the channel."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

CHUNK = 4 << 20  # a multiple of 4, see `_random`

Recipe = Any  #: a text, {text}, {hex}, {repeat, times} or {random, seed}


def length(recipe: Recipe) -> int:
    """How many bytes a recipe makes."""
    if isinstance(recipe, str):
        return len(recipe.encode())
    if "text" in recipe:
        return len(recipe["text"].encode())
    if "hex" in recipe:
        return len(bytes.fromhex(recipe["hex"]))
    if "repeat" in recipe:
        return len(recipe["repeat"].encode()) * int(recipe["times"])
    return int(recipe["random"])


def chunks(recipe: Recipe) -> Iterator[bytes]:
    """The bytes of a recipe, a few MiB at a time; nothing for no bytes."""
    if isinstance(recipe, str):
        recipe = {"text": recipe}
    if "text" in recipe or "hex" in recipe:
        whole = recipe["text"].encode() if "text" in recipe else bytes.fromhex(recipe["hex"])
        if whole:
            yield whole
    elif "repeat" in recipe:
        yield from _repeated(recipe["repeat"].encode(), int(recipe["times"]))
    else:
        yield from _random(int(recipe["random"]), int(recipe.get("seed", 0)))


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
    """randbytes() draws 32 bits at a time and cuts only the last draw, so pieces of 4·k bytes put together
    are the bytes of one call."""
    source = random.Random(seed)
    while count > 0:
        yield source.randbytes(min(count, CHUNK))
        count -= CHUNK
