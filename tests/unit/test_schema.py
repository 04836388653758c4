"""The committed JSON Schema is the models', and takes every scenario that ships."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from lab.scenario import tree
from lab.scenario.load import find
from lab.scenario.params import plain_data
from lab.scenario.schema import schema_text
from lab.scenario.topology import HOST_IMAGE
from tests.golden.documents import document, validator

ROOT = Path(__file__).parents[2]
SCENARIOS = find([ROOT / "scenarios"])
TOPOLOGIES = sorted((ROOT / "compose").glob("*.yml"))


def test_the_committed_schema_is_the_models() -> None:
    committed = (ROOT / "schema" / "scenario-v1.json").read_text(encoding="utf-8")
    assert committed == schema_text(), "run: python -m lab schema > schema/scenario-v1.json"


def test_no_word_is_listed_twice() -> None:
    """An editor would offer it twice."""
    lists: list[list[Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if isinstance(found.get("enum"), list):
            lists.append(found["enum"])
        return found

    json.loads((ROOT / "schema" / "scenario-v1.json").read_text(encoding="utf-8"), object_pairs_hook=keep)
    assert lists
    assert [words for words in lists if len(set(map(str, words))) < len(words)] == []


def test_there_are_files() -> None:
    assert SCENARIOS
    assert TOPOLOGIES


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenarios(path: Path) -> None:
    errors = [
        f"{list(error.absolute_path)}: {error.message}" for error in validator().iter_errors(document(path))
    ]
    assert errors == []


@pytest.mark.parametrize(
    "step",
    [
        {
            "do": "connect",
            "at": "${host}",
            "to": "server:${port}",
            "timeout": "${x}",
            "expect": {"elapsed": "${x}"},
        },
        {"do": "listen", "at": "server", "port": "${port}", "backlog": "${n}"},
        {"do": "drop", "from": "a", "to": "b", "match": "${m}", "count": "${n}"},
        {"do": "drop", "from": "a", "to": "b", "match": ["${m}", "ack"]},
        {"do": "link", "host": "a", "up": "${side}"},
        {"do": "sendall", "at": "a", "on": "c", "data": {"random": "${size}", "seed": "${n}"}},
        {"do": "parallel", "steps": [{"do": "sleep", "for": "${t}"}]},
    ],
)
def test_a_parameter_may_stand_anywhere(step: dict[str, Any]) -> None:
    validator().validate({"lab": 1, "x-anything": 5, "steps": [step]})


@pytest.mark.parametrize(
    "step",
    [
        {"do": "sleep", "for": 5},
        {"do": "sleep", "for": "5"},
        {"do": "connect", "at": "client"},
        {"do": "connect", "at": "client", "to": "server:1", "tto": 1},
        {"do": "connect", "at": "client", "to": "server:1", "expect": {"data": "x"}},
        {"do": "listen", "at": "client"},
        {"do": "conect"},
        {"do": "wait_for", "at": "a", "listening": 1, "log": "x", "service": "s"},
        {"do": "parallel", "steps": [{"do": "parallel", "steps": []}]},
        {},
    ],
)
def test_what_the_loader_refuses(step: dict[str, Any]) -> None:
    assert not validator().is_valid({"lab": 1, "steps": [step]})


@pytest.mark.parametrize("path", TOPOLOGIES, ids=lambda path: path.stem)
def test_topologies_are_compose_files(path: Path) -> None:
    """By the schema of the Compose specification, which check-jsonschema carries."""
    folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    compose = json.loads((folder / "compose-spec.json").read_text(encoding="utf-8"))
    root, problems = tree.parse(path.read_text(encoding="utf-8"), path.name)
    assert root is not None
    assert not problems
    data = plain_data(root)
    jsonschema.validators.validator_for(compose)(compose).validate(data)
    assert all(HOST_IMAGE.fullmatch(service["image"]) for service in data["services"].values())
