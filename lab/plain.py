"""Records and results as plain JSON values, without a schema: what is written needs no validation.

The values are those that pydantic would write. It would build a schema of every record first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def plain(value: Any, *, defaults: bool = True) -> Any:
    """Dataclasses as mappings, tuples as lists, enumerations by their values; all else is left as it is.

    Without `defaults`, fields that have the value that they would have anyway are left out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            name: plain(given, defaults=defaults)
            for name, default in _fields(type(value))
            if (given := getattr(value, name)) != default or defaults
        }
    if isinstance(value, Mapping):
        return {key: plain(one, defaults=defaults) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(one, defaults=defaults) for one in value]
    return value.value if isinstance(value, Enum) else value


@cache
def _fields(cls: type[DataclassInstance]) -> tuple[tuple[str, Any], ...]:
    """Names and defaults; MISSING is no value's equal, so a field without a default is always written."""
    return tuple((field.name, _default(field)) for field in dataclasses.fields(cls))


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
