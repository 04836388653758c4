"""Hostile input: the cases of the corpus, and some that are made at random; each in a process of its own.

`LAB_FUZZ_SECONDS=600 pytest tests/process/test_fuzz.py` makes them for ten minutes a target, each time from
another seed. What it finds goes to `tests/data/hostile/TARGET`, once it is mended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.__main__ import TARGETS
from tests.fuzz.harness import CORPUS, MEMORY

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("LAB_FUZZ_SECONDS", "0"))
#: Cases of each target where no time is given: two to four seconds.
COUNT = {"loader": 120, "compose": 150, "runs": 20, "channel": 100, "agent": 6}


def told(target: str, *more: str, limit: float) -> dict[str, Any]:
    """What a process that feeds a target says at its end."""
    command = [sys.executable, "-m", "tests.fuzz", target, *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
    assert done.returncode in (0, 1), done.stderr
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_once_found(target: str) -> None:
    stored = len(list((CORPUS / target).iterdir()))
    assert stored > 0
    facts = told(target, "--corpus", limit=60 + 20 * stored)
    assert facts["found"] == {}
    assert facts["cases"] == stored
    assert facts["peak"] < MEMORY


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_made_at_random(target: str, tmp_path: Path) -> None:
    size = (
        ["--seconds", str(SECONDS), "--seed", str(time.time_ns())]
        if SECONDS
        else ["--count", str(COUNT[target])]
    )
    facts = told(target, *size, "--save", str(tmp_path), limit=SECONDS + 300)
    assert facts["found"] == {}, f"the cases are in {tmp_path}"
    assert facts["cases"] > 0
    assert facts["peak"] < MEMORY
