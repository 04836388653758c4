"""Files that are wrong at random: never a traceback, and always a place in the file."""

from __future__ import annotations

import functools
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from lab.scenario.load import load
from lab.scenario.problems import Problem, ScenarioError
from tests.golden.documents import document

GOOD = Path(__file__).parents[1] / "golden" / "good" / "everything.yml"
JUNK: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        5,
        1e30,
        "",
        "x",
        "5ms",
        "1rtt",
        "${delay}",
        "${nope}",
        "${",
        "client",
        "a:b:c",
        "[::1]:5",
    ),
    *(
        [],
        [[]],
        [None],
        {},
        {"x": 1},
        {"min": 1},
        {"hex": []},
        {"": ""},
        {"do": "close"},
        "\u2028\n\x85",
        "é" * 300,
    ),
)


def spots(node: Any) -> list[tuple[Any, Any]]:
    """Every place of a document that can be replaced: a container and a key of it."""
    found: list[tuple[Any, Any]] = []

    def walk(one: Any) -> None:
        if isinstance(one, (dict, list)):
            keys = list(one) if isinstance(one, dict) else range(len(one))
            found.extend([(one, key) for key in keys])
            for key in keys:
                walk(one[key])

    walk(node)
    return found


@functools.cache
def good() -> str:
    return json.dumps(document(GOOD))


@pytest.mark.parametrize("seed", range(25))
def test_mutants(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    content = json.loads(good())
    shutil.copy(GOOD.parent / content["topology"], tmp_path / "hosts.yml")
    content["topology"] = "hosts.yml"
    for _ in range(dice.choice((1, 2, 5, 20))):
        holder, key = dice.choice(spots(content))
        if isinstance(holder, dict) and dice.random() < 0.3:
            holder[dice.choice(("x", "on", "at", "expect", "", "<x>", "do"))] = holder.pop(key)
        elif dice.random() < 0.1:
            del holder[key]
        else:
            holder[key] = dice.choice(JUNK)
    path = tmp_path / "mutant.yml"
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    lines = path.read_text(encoding="utf-8").split("\n")
    for problem in problems(path):
        assert problem.text
        assert len(str(problem).splitlines()) == 1
        assert 1 <= problem.place.line <= len(lines), problem
        assert 1 <= problem.place.column <= len(lines[problem.place.line - 1]) + 1, problem


def problems(path: Path) -> tuple[Problem, ...]:
    try:
        load(path)
    except ScenarioError as error:
        return error.problems
    return ()  # what was changed made no difference
