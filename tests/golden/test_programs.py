"""Compose files and scenarios with programs, each with one thing that is refused or noted, and what is said.

As `test_golden`, but as if the lab could do everything but what comes last. A file with `lab:` is a scenario,
any other a topology. `LAB_UPDATE_GOLDEN=1 pytest tests/golden` writes what is said now.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lab.scenario.load import load, noted
from lab.scenario.problems import ScenarioError

HERE = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[2]
FILES = sorted(HERE.glob("*.yml"))
UPDATE = os.environ.get("LAB_UPDATE_GOLDEN") == "1"


def said(path: Path) -> str:
    """The problems of a file, or its notes where it is valid; the project's root has no name of its own."""
    scenario = re.search(r"^lab:", path.read_text(encoding="utf-8"), re.MULTILINE)
    try:
        cases = load(path) if scenario else load(Path("given.scenario"), topology=path)
    except ScenarioError as problems:
        return f"{problems}\n".replace(str(ROOT), "<project>")
    return "".join(f"{line}\n" for line in ["valid", *noted(cases)])


def test_there_are_pairs() -> None:
    assert len(FILES) >= 60
    assert {path.stem for path in HERE.glob("*.txt")} == {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    text = said(Path(path.name))
    if UPDATE:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
    assert text == path.with_suffix(".txt").read_text(encoding="utf-8")
