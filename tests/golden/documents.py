"""Scenario files as JSON has them, for the judge of JSON Schemas."""

from __future__ import annotations

import functools
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]

from lab.scenario import tree
from lab.scenario.params import plain_data
from lab.scenario.schema import schema


@functools.cache
def validator() -> Any:
    return jsonschema.Draft202012Validator(schema())


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
