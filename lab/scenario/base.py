"""The base of every mapping of the format: typed, frozen, strict about keys, with rules between keys.

A rule between keys (`Needs`, `ExactlyOne` …) looks only at which keys are there, so the loader can judge it
even where a value is wrong. Built by hand, without the loader, a model judges its own rules.
"""

from __future__ import annotations

from collections.abc import Collection
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
    """A pydantic error whose text is shown as it is."""
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


#: A key that may be left out, but not be there with nothing after it.
Opt = Annotated[T | None, BeforeValidator(_given)]


def optional(kind: Any) -> Any:
    """`Opt[kind]`, where the type is known only when the program runs."""
    return Annotated[kind | None, BeforeValidator(_given)]


class Needs(Struct, frozen=True):
    """Where `key` is, one of `others` must be."""

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
    """Where `key` is, none of `others` may be."""

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
        """Keys that a base class knows and this one has no use for, each with what to say of it."""
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


#: In a JSON Schema under way: the name of the model that stands here (`lab.scenario.schema`).
MODEL = "x-model"


class WhenMet:
    """Beside a model in an `Annotated`: its schema is built when the first mapping for it comes.

    Of all that a scenario can hold, a scenario holds little: `load` of a short one took 105 ms when all was
    built at once, and takes 40.
    """

    def __init__(self, model: type[Model]) -> None:
        self.model = model

    def validated(self, value: Any, info: ValidationInfo) -> Model:
        """The loader knows keys as the file has them; by hand a field's own name will do."""
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
