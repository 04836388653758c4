"""JSON of others: numbers that a machine has, and no others."""

from __future__ import annotations

import pytest

from lab.numbers import read_json


@pytest.mark.parametrize("text", ["0", "-1", str((1 << 64) - 1), str(-(1 << 63)), "1.5", "1e9", "-2.5E-3"])
def test_what_a_machine_has_is_read_as_json_has_it(text: str) -> None:
    assert read_json(f'{{"a": [{text}]}}')["a"] == [float(text) if set(text) & set(".eE") else int(text)]


@pytest.mark.parametrize(
    "text",
    [
        str(1 << 64),
        str(-(1 << 63) - 1),
        "1" * 5000,
        "1e999",
        "-1e999",
        "1e20",
        "-1E+300",
        "NaN",
        "Infinity",
        "-Infinity",
    ],
)
def test_what_it_has_not_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="beyond 64 bits"):
        read_json(f'{{"a": [{text}]}}')
