"""What steps and checks have in common: a place and a path in the file, and the hosts that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, PrivateAttr, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from lab.place import Place
from lab.scenario.base import Model, WhenMet
from lab.scenario.values import Address

NOWHERE = Place("<scenario>", 0, 0)  #: of a model that was built by hand

NO_MEMBER = "no_member"  #: the type of the error where a value is not a member of a union


class Element(Model):
    """A step or a check. `place` and `path` are given by the loader."""

    host_keys: ClassVar[tuple[str, ...]] = ()  #: the keys that name a host, a list of them or host:port

    _place: Place = PrivateAttr(default_factory=lambda: NOWHERE)  # a default would be copied each time
    _path: str = PrivateAttr(default="?")

    @property
    def place(self) -> Place:
        return self._place

    @property
    def path(self) -> str:
        """Its path in the file: `steps[3]`, `steps[3].steps[0]` inside `parallel`, `checks[2]`."""
        return self._path

    def placed(self, place: Place, path: str) -> None:
        """Set the place and the path; called once, by the loader, right after validation."""
        self._place, self._path = place, path

    def hosts(self) -> tuple[str, ...]:
        """The hosts that it names, in the order of its keys."""
        return tuple(dict.fromkeys(self._hosts()))

    def _hosts(self) -> Iterator[str]:
        for key in self.host_keys:
            value = getattr(self, f"{key}_" if key == "from" else key)
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, Address):
                    if not one.literal:
                        yield one.host
                elif one is not None:
                    yield one


class UnionOf:
    """In an `Annotated`: one of these classes, told apart by the value of `key`, each built when first met.

    A union of pydantic's own builds the schemas of all its members at once. The JSON Schema lists the members
    itself.
    """

    def __init__(self, classes: Mapping[str, type[Model]], key: str) -> None:
        self.classes, self.key, self.kinds = classes, key, tuple(classes.values())

    def validated(self, value: Any, info: ValidationInfo) -> Model:
        if isinstance(value, self.kinds):
            return value
        name = value.get(self.key) if isinstance(value, dict) else None
        cls = self.classes.get(name) if isinstance(name, str) else None
        if cls is None:
            raise PydanticCustomError(NO_MEMBER, "not one of those that {key} can name", {"key": self.key})
        return WhenMet(cls).validated(value, info)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self.validated)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        return {"type": "object"}
