"""The base of every mapping of the format: typed, frozen, strict about keys, with rules between keys.

A rule between keys (`Needs`, `AtMostOne` …) looks only at which keys are there, so the loader can apply it
even if a value is wrong. A model built without the loader applies its own rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

from msgspec import Struct
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

T = TypeVar("T")


def problem(text: str) -> PydanticCustomError:
    """A pydantic error whose text is shown verbatim."""
    return PydanticCustomError("lab", "{text}", {"text": text})


def shown(value: object) -> str:
    """A YAML value as an error text shows it: short, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}…{text[-1]}"


def _given(value: object) -> object:
    if value is None:
        raise problem("nothing is given; leave the key out or give it a value")
    return value


def present(of: object, names: Iterable[str]) -> dict[str, Any]:
    """The fields with these names whose value is not None."""
    return {name: value for name in names if (value := getattr(of, name)) is not None}


#: A key that may be left out, but not be given without a value.
Opt = Annotated[T | None, BeforeValidator(_given)]


def optional(kind: Any) -> Any:
    """`Opt[kind]` for a type known only at run time."""
    return Annotated[kind | None, BeforeValidator(_given)]


class Needs(Struct, frozen=True):
    """If `key` is there, one of `others` must be too."""

    key: str
    others: tuple[str, ...]
    why: str = ""

    def broken(self, keys: Collection[str]) -> str | None:
        if self.key not in keys or any(other in keys for other in self.others):
            return None
        return f"{self.key} needs {' or '.join(self.others)}" + (f": {self.why}" if self.why else "")


class AtMostOne(Struct, frozen=True):
    """Keys that exclude each other."""

    keys: tuple[str, ...]
    why: str = ""

    def broken(self, keys: Collection[str]) -> str | None:
        there = [key for key in self.keys if key in keys]
        if len(there) <= 1:
            return None
        return f"{' and '.join(there)} exclude each other" + (f": {self.why}" if self.why else "")


class AtLeastOne(Struct, frozen=True):
    """One of these keys must be there."""

    keys: tuple[str, ...]
    why: str = ""

    def broken(self, keys: Collection[str]) -> str | None:
        if any(key in keys for key in self.keys):
            return None
        return f"one of {', '.join(self.keys)} is needed" + (f": {self.why}" if self.why else "")


class Excludes(Struct, frozen=True):
    """If `key` is there, none of `others` may be."""

    key: str
    others: tuple[str, ...]
    why: str = ""

    def broken(self, keys: Collection[str]) -> str | None:
        there = [other for other in self.others if other in keys]
        if self.key not in keys or not there:
            return None
        return f"{', '.join(there)} beside {self.key}" + (f": {self.why}" if self.why else "")


Rule = Needs | AtMostOne | AtLeastOne | Excludes


@dataclass
class Seen:
    """The validation context of the loader: which model judged which mapping, by the mapping's identity."""

    models: dict[int, tuple[dict[str, Any], type[Model]]] = field(default_factory=dict)


class Model(BaseModel):
    """A mapping of the format. A field's trailing underscore is not part of its YAML key: `from_`, `as_`."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=lambda name: name.removesuffix("_"),
        validate_by_name=True,
        validate_by_alias=True,
        defer_build=True,  # built once, inside the whole format's: half the time of an import
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def yaml_keys(cls) -> tuple[str, ...]:
        """The YAML keys that this mapping may have, in the order of the documentation."""
        return _keys(cls)

    @classmethod
    def broken_rules(cls, keys: Collection[str]) -> list[str]:
        return [text for rule in cls.rules if (text := rule.broken(keys)) is not None]

    @classmethod
    def senseless(cls, keys: Collection[str]) -> list[tuple[str, str]]:
        """Keys of a base class that this one has no use for, each with an error text."""
        allowed = cls.yaml_keys()
        if len(allowed) == len(cls.model_fields):
            return []
        known = {info.alias or name for name, info in cls.model_fields.items()}
        return [
            (key, f"{key} makes no sense here; allowed: {', '.join(allowed)}")
            for key in keys
            if key in known and key not in allowed
        ]

    @model_validator(mode="before")
    @classmethod
    def _note(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(data, cls):
            return data
        if not isinstance(data, dict):
            raise problem(f"{shown(data)} is not a mapping; allowed keys: {', '.join(cls.yaml_keys())}")
        if isinstance(info.context, Seen):
            info.context.models[id(data)] = (data, cls)
        else:
            keys = {str(key).removesuffix("_") for key in data}
            if broken := cls.broken_rules(keys) + [text for _, text in cls.senseless(keys)]:
                raise problem("; ".join(broken))
        return data


#: In an unfinished JSON Schema: the name of the model in this place (`lab.scenario.schema`).
MODEL = "x-model"


class WhenMet:
    """Beside a model in an `Annotated`: its schema is built for the first mapping that needs it.

    A scenario uses few of the models: `load` of a short one took 105 ms when all schemas were built at once,
    and takes 40 ms.
    """

    def __init__(self, model: type[Model]) -> None:
        self.model = model

    def validated(self, value: Any, info: ValidationInfo) -> Model:
        """The loader knows keys as in the file; in Python a field's own name works too."""
        return self.model.model_validate(
            value, context=info.context, by_name=not isinstance(info.context, Seen)
        )

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self.validated)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        return {MODEL: self.model.__name__}


@cache
def _keys(model: type[Model]) -> tuple[str, ...]:
    return tuple(info.alias or name for name, info in model.model_fields.items())
