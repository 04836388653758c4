"""Scenarios and Compose files: through the loader, and through what is made of the cases that load."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lab.runner.compose import compose_text
from lab.scenario import tree
from lab.scenario.load import ANYTHING, load, noted
from lab.scenario.params import plain_data
from lab.scenario.problems import ScenarioError
from tests.fuzz.harness import Files, Target
from tests.fuzz.trees import mutated, yaml_text

ROOT = Path(__file__).parents[2]
SCENARIO = "s.yml"
SOURCES = (
    *sorted((ROOT / "scenarios").rglob("*.yml")),
    *sorted((ROOT / "tests/golden/good").glob("*.yml")),
    *sorted((ROOT / "tests/golden/bad").glob("*.yml")),
    *sorted((ROOT / "examples").glob("*.yml")),
)
TOPOLOGIES = (
    *sorted((ROOT / "compose").glob("*.yml")),
    *sorted((ROOT / "tests/golden/compose").glob("*.yml")),
    ROOT / "examples/shop/compose.yml",
)

ENVIRONMENTS = (
    *("A=${A}\n", "A='x\n", "\0=1\n", "A=\x1b[2J\nB=$A$A$A", "=\n", "export A B\n", "A: 1", "A=\u2028B=1"),
    *("A=" + "$A" * 999, "A=${A:-${A:-${A:-x}}}", "A=\x85", '"A"=1', "A=1\rB=2"),
)


def trees(paths: tuple[Path, ...]) -> Iterator[Any]:
    for path in paths:
        if path.stat().st_size > 20_000:
            continue
        try:
            root, _ = tree.parse(path.read_text(encoding="utf-8", errors="replace"), path.name)
        except tree.Unreadable:
            continue
        if isinstance(root, tree.Mapping):
            yield json.loads(json.dumps(plain_data(root), default=str))


@cache
def scenarios() -> list[Any]:
    return list(trees(SOURCES))


@cache
def topologies() -> list[Any]:
    return list(trees(TOPOLOGIES))


def _text(tree: Any, dice: random.Random) -> bytes:
    return yaml_text(tree, dice).encode("utf-8", "surrogatepass")


def make_scenario(dice: random.Random) -> Files:
    scenario = mutated(dice.choice(scenarios()), dice, scenarios())
    if isinstance(scenario, dict) and "topology" in scenario:
        scenario["topology"] = "t.yml"
    topology = json.dumps(dice.choice(topologies()))
    return {SCENARIO: _text(scenario, dice), "t.yml": topology.encode(), "lab.yml": b"{}\n"}


def make_compose(dice: random.Random) -> Files:
    topology = mutated(dice.choice(topologies()), dice, topologies())
    scenario: dict[str, Any] = {"lab": 1, "topology": "t.yml", "steps": []}
    env = "A=1\n" if dice.random() < 0.8 else dice.choice(ENVIRONMENTS)
    files = {SCENARIO: json.dumps(scenario).encode(), "t.yml": _text(topology, dice), "lab.yml": b"{}\n"}
    names = (".env", "e.env", "web/Dockerfile", "Dockerfile", "web.py", "worker.py")
    return {**files, **dict.fromkeys(names, env.encode())}


def feed(folder: Path) -> None:
    """All problems have a place in a file and stand on one line; what loads is used as commands use it."""
    try:
        cases = load(folder / SCENARIO, policy=ANYTHING)
    except ScenarioError as error:
        for problem in error.problems:
            assert problem.place.file, problem
            assert str(problem).isprintable(), ascii(str(problem))
            assert len(str(problem)) < 20_000, str(problem)[:300]
        raise
    for line in noted(cases):
        assert line.isprintable(), ascii(line)
    for case in cases[:5]:
        assert case.name.isprintable(), ascii(case.name)
        case.place("steps[0].expect.elapsed")
        root, problems = tree.parse(compose_text(case.scenario), "compose")
        assert root is not None
        assert not problems, problems


LOADER = Target(make_scenario, feed)
COMPOSE = Target(make_compose, feed)
