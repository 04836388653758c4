"""What steps and checks have in common: a place in the file, a path there, the hosts that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Discriminator, PrivateAttr, Tag

from lab.place import Place
from lab.scenario.base import Model
from lab.scenario.values import Address

NOWHERE = Place("<scenario>", 0, 0)  #: of a model that was built by hand


class Element(Model):
    """A step or a check. `place` and `path` are given by the loader."""

    host_keys: ClassVar[tuple[str, ...]] = ()  #: the keys that name a host, a list of them or host:port

    _place: Place = PrivateAttr(default=NOWHERE)
    _path: str = PrivateAttr(default="?")

    @property
    def place(self) -> Place:
        return self._place

    @property
    def path(self) -> str:
        """Where it stands in the file: `steps[3]`, `steps[3].steps[0]` inside `parallel`, `checks[2]`."""
        return self._path

    def placed(self, place: Place, path: str) -> None:
        """Told once, by the loader, right after validation."""
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


def tag_of(value: Any, key: str) -> str:
    """The discriminator of steps (`key` is do) and checks: the tag `<do connect>`."""
    name = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
    return f"<{key} {name}>" if isinstance(name, str) else f"<{key}>"


def union_of(classes: Mapping[str, type[Model]], key: str) -> Any:
    """The union of these classes, told apart by the value of `key`."""
    members: Any = None
    for name, cls in classes.items():
        member: Any = Annotated[cls, Tag(f"<{key} {name}>")]
        members = member if members is None else members | member
    return Annotated[members, Discriminator(lambda value: tag_of(value, key))]
