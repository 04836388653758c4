"""Data made in chunks is the data that a scenario describes."""

from __future__ import annotations

import random

import pytest

from images.host.lab_agent import recipe


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("äb", "äb".encode()),
        ({"text": ""}, b""),
        ({"hex": "00ff"}, b"\x00\xff"),
        ({"hex": "00ff", "times": 3}, b"\x00\xff" * 3),
        ({"repeat": "xyz", "times": 3_000_000}, b"xyz" * 3_000_000),
        ({"repeat": "", "times": 9}, b""),
        ({"repeat": "x", "times": 0}, b""),
        ({"random": 0, "seed": 1}, b""),
    ],
    ids=lambda value: str(value)[:40] if not isinstance(value, bytes) else "",
)
def test_chunks_join_to_the_whole(what: object, expected: bytes) -> None:
    joins(what, expected)


@pytest.mark.parametrize("n", [1, 5, recipe.CHUNK - 1, recipe.CHUNK, recipe.CHUNK + 3, 2 * recipe.CHUNK + 1])
def test_random_chunks_join_to_the_whole(n: int) -> None:
    joins({"random": n, "seed": 7}, random.Random(7).randbytes(n))


def joins(what: object, expected: bytes) -> None:
    chunks = list(recipe.chunks(what))
    assert b"".join(chunks) == expected
    assert recipe.length(what) == len(expected)
    assert all(0 < len(chunk) <= recipe.CHUNK for chunk in chunks)
