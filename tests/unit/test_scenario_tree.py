"""YAML to a tree: the scalars of the format, places, merges, and what hostile files cannot do."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.scenario import tree
from lab.scenario.locate import all_places
from lab.scenario.params import plain_data


def data(text: str) -> Any:
    root, problems = tree.parse(text, "f")
    assert not problems
    return plain_data(root) if root is not None else None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("", None),
        ("0", 0),
        ("5", 5),
        ("-5", -5),
        ("0.5", Decimal("0.5")),
        ("-1.50", Decimal("-1.50")),
        *(
            (text, text)
            for text in ("no", "yes", "on", "off", "y", "True", "NULL", "~", "22:22", "012", "-0")
        ),
        *((text, text) for text in ("1_000", "0x10", "0o17", "1e3", ".5", "5.", "+5", "00.5", "2024-01-01")),
        *((text, text) for text in (".inf", ".nan", "=", "9" * 60)),
    ],
)
def test_plain_scalars(text: str, value: object) -> None:
    found = data(f"key: {text}\n")["key"]
    assert (type(found), found) == (type(value), value)


def test_quoted_is_text() -> None:
    assert data("{a: '5', b: \"true\", c: ''}") == {"a": "5", "b": "true", "c": ""}
    assert data("a: |\n  5\n") == {"a": "5\n"}
    assert data("a: !!str 5\n") == {"a": "5"}


def test_keys_are_text() -> None:
    assert data("{on: 1, 5: 2, true: 3, null: 4}") == {"on": 1, "5": 2, "true": 3, "null": 4}


def test_places() -> None:
    root, _ = tree.parse("a:\n  - {b: 5,\n     ä: [x, y]}\n", "f")
    assert root is not None
    places = {path: (place.line, place.column) for path, place in all_places(root).items()}
    assert places["a"] == (2, 3)
    assert places["a[0].b"] == (2, 9)
    assert places["a[0].ä"] == (3, 9)
    assert places["a[0].ä[1]"] == (3, 13)


def test_both_parsers_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """libyaml is fast, PyYAML's own parser words the errors: values and places are the same."""
    files = sorted(Path(__file__).parents[1].glob("golden/*/*.yml"))
    assert files
    for path in files:
        try:
            text = tree.read_text(path, "f")
            fast = tree.parse(text, "f")
        except tree.Unreadable:
            continue
        with monkeypatch.context() as patch:
            patch.setattr(tree, "_FAST", yaml.SafeLoader)
            slow = tree.parse(text, "f")
        assert fast[1] == slow[1]
        assert (fast[0] is None) == (slow[0] is None)
        if fast[0] is not None and slow[0] is not None:
            assert plain_data(fast[0]) == plain_data(slow[0])
            assert all_places(fast[0]) == all_places(slow[0])


def test_merge_keeps_own_keys() -> None:
    text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 3}\nz: {<<: [*x, *y], a: 0}\n"
    assert data(text)["z"] == {"a": 0, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [*a]", "f:1:8: alias *a is inside its own anchor"),
        ("a: &a {b: *a}", "f:1:11: alias *a is inside its own anchor"),
        ("[" * 100_000, "f:1:61: nested deeper than 60 levels"),
        ("{a: " * 61, "f:1:241: nested deeper than 60 levels"),
        ("- " * 5_000, "f:1:121: nested deeper than 60 levels"),
    ],
)
def test_hostile(text: str, said: str) -> None:
    with pytest.raises(tree.Unreadable) as caught:
        tree.parse(text, "f")
    assert str(caught.value) == said


def test_laughs_are_bounded() -> None:
    lines = ["a0: &a0 x"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 40)]
    with pytest.raises(tree.Unreadable, match="more than 500,000 values, with aliases expanded"):
        tree.parse("\n".join(lines), "f")


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.yml"
    path.write_bytes(b"x" * (tree.MAX_BYTES + 1))
    with pytest.raises(tree.Unreadable, match="at most"):
        tree.read_text(path, "large.yml")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(tree.Unreadable, match=r"^none\.yml: no such file$"):
        tree.read_text(tmp_path / "none.yml", "none.yml")
    with pytest.raises(tree.Unreadable, match=r"^\.: a folder, not a file$"):
        tree.read_text(tmp_path, ".")


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "bom.yml"
    path.write_bytes(b"\xef\xbb\xbflab: 1\r\nname: x\r\n")
    assert data(tree.read_text(path, "bom.yml")) == {"lab": 1, "name": "x"}
