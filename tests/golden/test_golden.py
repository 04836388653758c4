"""Pairs of files: a wrong scenario and what is said of it; and scenarios that load.

One test for each file. `LAB_UPDATE_GOLDEN=1 pytest tests/golden` writes what is said now; read the difference
before you keep it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.scenario.load import load
from lab.scenario.problems import ScenarioError
from tests.golden.documents import document, validator
from tests.golden.resolved import resolved

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad").glob("*.yml"))
GOOD = sorted((HERE / "good").glob("*.yml"))
UPDATE = os.environ.get("LAB_UPDATE_GOLDEN") == "1"

#: Wrong in a way that only the loader can see: names, sweeps, several files, or no YAML at all.
LOADER_ONLY = {
    *("billion-laughs", "duplicate-keys", "links-by-then", "links-impossible", "links-over-time", "sweep"),
    *("repeat-names", "repeat-too-many"),
    *("sweep-too-big", "topology-bad", "topology-missing", "topology-not-compose", "unsupported"),
}


def test_there_are_pairs() -> None:
    assert len(BAD) >= 30
    assert len(GOOD) >= 5


def test_the_schema_is_one() -> None:
    validator().check_schema(validator().schema)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    with pytest.raises(ScenarioError) as caught:
        load(path.relative_to(HERE))
    said = f"{caught.value}\n"
    assert caught.value.exit_code == 2
    assert said.count("\n") == len(caught.value.problems)
    expected = path.with_suffix(".txt")
    if UPDATE:
        expected.write_text(said, encoding="utf-8")
    assert said == expected.read_text(encoding="utf-8")


def test_no_text_without_its_file() -> None:
    assert {path.stem for path in (HERE / "bad").glob("*.txt")} == {path.stem for path in BAD}


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good(path: Path) -> None:
    """What the loader makes of it: parameters put in, hosts and services known, defaults filled in."""
    said = resolved(load(path), HERE / "good")
    expected = path.with_suffix(".resolved.yaml")
    if UPDATE:
        expected.write_text(said, encoding="utf-8")
    assert said == expected.read_text(encoding="utf-8")


def test_no_resolved_text_without_its_file() -> None:
    texts = {path.name.removesuffix(".resolved.yaml") for path in (HERE / "good").glob("*.resolved.yaml")}
    assert texts == {path.stem for path in GOOD}


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_by_the_schema(path: Path) -> None:
    validator().validate(document(path))


@pytest.mark.parametrize(
    "path", [p for p in BAD if p.stem not in LOADER_ONLY and document(p) is not None], ids=lambda p: p.stem
)
def test_bad_by_the_schema(path: Path) -> None:
    assert not validator().is_valid(document(path))
