"""Records and results as plain JSON values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cache
from ipaddress import IPv4Address, ip_address
from typing import Any, TypeVar

from msgspec import NODEFAULT, Struct, convert
from msgspec.structs import fields

T = TypeVar("T")


def plain(value: Any, *, defaults: bool = True) -> Any:
    """Structs as mappings, tuples as lists, enumerations by their values; all else is left as it is.

    Without `defaults`, fields that have the value that they would have anyway are left out.
    """
    if isinstance(value, Struct):
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


def read_plain(value: Any, kind: type[T]) -> T:
    """The Struct that such a mapping is. Fields that the Struct has not are left out.

    Raises `msgspec.ValidationError`, a `ValueError`: what is wrong, and where.
    """
    return convert(value, kind, builtin_types=(bytes,), dec_hook=_read_other)


def _read_other(kind: type[Any], value: Any) -> Any:
    """Types that msgspec leaves to us. Raises `ValueError`."""
    if issubclass(IPv4Address, kind):
        return ip_address(value)
    raise NotImplementedError(kind)


@cache
def _fields(cls: type[Struct]) -> tuple[tuple[str, Any], ...]:
    """Names and defaults; NODEFAULT is no value's equal, so a field without a default is always written."""
    return tuple(
        (field.name, field.default if field.default_factory is NODEFAULT else field.default_factory())
        for field in fields(cls)
    )
