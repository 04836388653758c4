"""Scenario files as JSON has them, for the judge of JSON Schemas."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]

from lab.scenario import tree
from lab.scenario.params import plain_data

SCHEMA = Path(__file__).parents[2] / "schema" / "scenario-v1.json"


@functools.cache
def validator() -> Any:
    """The judge by the schema that is committed, which `test_schema` holds to be that of the models."""
    kind = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"if": _if})
    return kind(json.loads(SCHEMA.read_text(encoding="utf-8")))


def _if(judge: Any, condition: Any, value: Any, whole: Any) -> Iterator[Any]:
    """As the library's, but that a condition that asks for another word is passed over at once: a step is
    asked for the words of forty kinds, which was half of the time to judge a scenario."""
    key: str | None = None
    word: Any = None
    match condition:
        case {"properties": {"do": {"const": word}}, "required": ["do"]}:
            key = "do"
        case {"properties": {"check": {"const": word}}, "required": ["check"]}:
            key = "check"
    if key is not None and isinstance(value, dict) and value.get(key) != word and "else" not in whole:
        return
    yield from jsonschema.Draft202012Validator.VALIDATORS["if"](judge, condition, value, whole)


def document(path: Path) -> Any:
    """What a YAML reader with the format's scalars gives; None where the file is no YAML."""
    try:
        root, _ = tree.parse(tree.read_text(path, str(path)), str(path))
    except tree.Unreadable:
        return None
    return None if root is None else _json(plain_data(root))


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_json(one) for one in value]
    return float(value) if isinstance(value, Decimal) else value
