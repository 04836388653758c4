"""Compose files and scenarios with programs, changed at random: valid or refused, never a crash."""

from __future__ import annotations

import copy
import functools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from lab.scenario import support, tree
from lab.scenario.compose.interpolate import MAX_DEPTH, BadTemplate, interpolate
from lab.scenario.load import load
from lab.scenario.params import plain_data
from lab.scenario.problems import ScenarioError
from tests.unit.test_compose_project import SHOP
from tests.unit.test_scenario_mutants import problems, spots

JUNK: list[Any] = [
    *(None, "", 0, -1, True, [], {}, [[]], {"x": 1}, "a:b:c", "${A", "$", "../..", "/", "\0", "é", [None]),
    *({"": None}, "x" * 300, 1.5, "5s", "web", ["web"], {"web": None}, [{"a": 1}], "wire", "host"),
    {"file": "compose.yml", "service": "web"},
]
SCENARIO: dict[str, Any] = {
    "lab": 1,
    "topology": "compose.yml",
    "networks": {"x": {}},
    "cases": [{"p": 1}],
    "hosts": {
        "web": {
            "service": {"image": "x", "ready": {"log": "/x/"}, "record": {"n": "/(x)/"}, "volumes": ["v:/x"]},
            "files": ["./e.env:/x"],
            "networks": ["front"],
        },
        "n": {"services": {"a": {"image": "x", "depends_on": ["b"]}, "b": {"build": {"context": "."}}}},
    },
    "steps": [
        {"do": "stop", "at": "web"},
        {"do": "run", "at": "web", "command": ["ls"], "in": "web", "record": {"m": "/(x)/"}},
        {"do": "wait_for", "at": "web", "log": "/x/"},
        {"do": "parallel", "steps": [{"do": "start", "at": "n", "service": "a", "id": "z"}]},
    ],
    "checks": [
        {"check": "log", "at": "web", "match": "/x/", "after": "z"},
        {"check": "value", "of": "n", "is": {"max": 2}},
        {"check": "service", "at": "n", "service": "b"},
    ],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(support, "NOT_YET", frozenset[str]())
    for name in ("web/Dockerfile", "site/x", "Dockerfile", "e.env"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("A=1\n")
    (tmp_path / "inc.yml").write_text("services: {inc: {image: x}}\n")
    return tmp_path


@functools.cache
def parsed() -> tree.Node:
    root, _ = tree.parse(SHOP, "shop")
    assert root is not None
    return root


def files() -> tuple[dict[str, Any], dict[str, Any]]:
    shop = plain_data(parsed())
    shop |= {"include": ["inc.yml"], "configs": {"c": {"content": "x"}}, "secrets": {"s": {"file": "e.env"}}}
    shop["services"]["web"] |= {
        "extends": {"service": "db"},
        "env_file": [{"path": "e.env"}],
        "configs": ["c"],
        "secrets": [{"source": "s", "mode": "0440"}],
        "x-lab": {"link": {"delay": "5ms"}, "service": {"ready": {"listening": 80}}},
    }
    return shop, copy.deepcopy(SCENARIO)


def put(folder: Path, shop: Any, scenario: Any) -> Path:
    (folder / "compose.yml").write_text(json.dumps(shop, indent=1))
    (folder / "s.yml").write_text(json.dumps(scenario, indent=1))
    return folder / "s.yml"


def test_unchanged_they_are_valid(folder: Path) -> None:
    assert load(put(folder, *files()))


@pytest.mark.parametrize("seed", range(25))
def test_mutants(seed: int, folder: Path) -> None:
    dice = random.Random(seed)
    for _ in range(4):
        both = files()
        for content in both:
            for _ in range(dice.choice((0, 1, 2, 6))):
                holder, key = dice.choice(spots(content))
                if isinstance(holder, dict) and dice.random() < 0.2:
                    holder[dice.choice(("x", "at", "services", "x-lab", "build", ""))] = holder.pop(key)
                elif dice.random() < 0.1:
                    del holder[key]
                else:
                    holder[key] = copy.deepcopy(dice.choice(JUNK))
        for problem in problems(put(folder, *both)):
            assert problem.place.file
            assert "\n" not in str(problem)


def test_values_made_of_values_are_bounded(folder: Path) -> None:
    lines = ["A0=0123456789"] + [f"A{n}=$A{n - 1}$A{n - 1}$A{n - 1}$A{n - 1}" for n in range(1, 20)]
    (folder / ".env").write_text("\n".join(lines))
    (folder / "compose.yml").write_text("services: {a: {image: $A19}}")
    (folder / "s.yml").write_text("lab: 1\ntopology: compose.yml\n")
    with pytest.raises(ScenarioError, match="longer than 1048576 characters"):
        load(folder / "s.yml")


def test_defaults_in_defaults_are_bounded() -> None:
    def nothing(name: str) -> None:
        return None

    deep = MAX_DEPTH + 2
    with pytest.raises(BadTemplate, match="defaults are nested"):
        interpolate("${A:-" * deep + "}" * deep, nothing, nothing)
    assert interpolate("${A:-" * MAX_DEPTH + "x" + "}" * MAX_DEPTH, nothing, nothing) == "x"


def test_a_long_chain_of_services_has_an_order(folder: Path) -> None:
    services = {f"s{n}": {"image": "x", "depends_on": [f"s{n + 1}"]} for n in range(1100)}
    scenario = {"lab": 1, "topology": "compose.yml"}
    path = put(folder, {"services": {**services, "s1100": {"image": "x"}}}, scenario)
    order = load(path)[0].scenario.start_order
    assert order[0] == ("s1100", "s1100")
    assert order[-1] == ("s0", "s0")
