"""A loaded scenario as text: every value that is not its default, by the names of the fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from msgspec import NODEFAULT, Struct, structs
from pydantic import BaseModel

from lab.place import Place
from lab.scenario.load import Case
from lab.units import Duration, Percent, Rate, Size

#: Of a case: what is the file's own text, or where it stands.
_LEFT_OUT = {"source_text", "places", "path"}


def resolved(cases: list[Case], folder: Path) -> str:
    """The first case and, of a sweep, the last, as YAML; paths as seen from `folder`."""
    documents = [_plain(case, folder) for case in cases[:1] + cases[1:][-1:]]
    return yaml.safe_dump_all(
        documents, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )


def _plain(value: Any, folder: Path) -> Any:
    if isinstance(value, Place):
        return f"{value.line}:{value.column}"
    if isinstance(value, Duration | Percent | Rate | Size):
        return str(value)
    if isinstance(value, BaseModel):
        chosen = {name: getattr(value, name) for name in type(value).model_fields}
        defaults = {name: one.get_default(call_default_factory=True, validated_data={})
                    for name, one in type(value).model_fields.items()}  # fmt: skip
        return _fields(value, chosen, defaults, folder)
    if isinstance(value, Struct):
        kept = [one for one in structs.fields(type(value)) if one.name not in _LEFT_OUT]
        chosen = {one.name: getattr(value, one.name) for one in kept}
        return _fields(value, chosen, {one.name: _struct_default(one) for one in kept}, folder)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [one for one in dataclasses.fields(value) if one.name not in _LEFT_OUT]
        chosen = {one.name: getattr(value, one.name) for one in parts}
        return _fields(value, chosen, {one.name: _default(one) for one in parts}, folder)
    if isinstance(value, Path):
        return str(value.relative_to(folder)) if value.is_relative_to(folder) else value.name
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): _plain(one, folder) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one, folder) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(str(_plain(one, folder)) for one in value)
    return value if value is None or isinstance(value, bool | int | float | str | bytes) else str(value)


def _fields(value: Any, chosen: Mapping[str, Any], defaults: Mapping[str, Any], folder: Path) -> Any:
    """What differs from the defaults; the class stands first, for one key may be of several classes."""
    said = {key: _plain(one, folder) for key, one in chosen.items() if one != defaults[key]}
    return {type(value).__name__: said}


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _struct_default(field: structs.FieldInfo) -> Any:
    return field.default if field.default_factory is NODEFAULT else field.default_factory()
