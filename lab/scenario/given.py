"""A scenario from a program, in place of a file or over one: Python values to the loader's tree.

The values have the shape of the YAML. A mistake in them has no line: it is reported at its path.
"""

from __future__ import annotations

import os
from collections.abc import Mapping as Keys
from collections.abc import Sequence as Items
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any

import yaml
from msgspec import Struct

from lab.place import Place
from lab.scenario import tree
from lab.scenario.params import plain_data
from lab.scenario.problems import Problem, path_text
from lab.units import Duration, Percent, Rate, Size

_SHOWN = 60  #: characters of a value that an error shows


class Given(Struct, frozen=True):
    """The keys of a scenario from a program; `shown` names their origin in errors: `lab.up`."""

    keys: Keys[str, Any]
    base: Path = Path()  #: the base of relative paths in them
    shown: str = "lab.up"
    own_pair: bool = True  #: whether client and server exist without being named

    @property
    def place(self) -> Place:
        return Place(self.shown, 0, 0)

    def over(self, file: tree.Mapping | None, folder: Path, problems: list[Problem]) -> tree.Mapping:
        """The tree of these keys, or of a file with these over its own, key by key."""
        keys = self.keys if file is None else {**self.keys, **_moved(self.keys, self.base, folder)}
        own = tree_of(keys, self.place, problems)
        assert isinstance(own, tree.Mapping)
        return own if file is None else _merged(file, own)


def tree_of(
    value: object, place: Place, problems: list[Problem], path: tuple[str | int, ...] = ()
) -> tree.Node:
    """The tree of Python values; one that YAML cannot express is a problem at its path."""
    match value:
        case None | bool() | int() | Decimal():
            return tree.Scalar(place, value, "" if value is None else str(value).lower())
        case float():
            return tree.Scalar(place, Decimal(repr(value)), repr(value))
        case str() | PurePath() | Duration() | Rate() | Size() | Percent():
            return tree.Scalar(place, str(value), str(value))
        case Keys():
            entries: dict[str, tree.Entry] = {}
            for key, item in value.items():
                if not isinstance(key, str):
                    problems.append(Problem(place, path_text(path), f"the key {key!r} is not text"))
                    continue
                entries[key] = tree.Entry(place, tree_of(item, place, problems, (*path, key)))
            return tree.mapping(place, entries)
        case Items() if not isinstance(value, (bytes, bytearray)):
            items = [tree_of(item, place, problems, (*path, n)) for n, item in enumerate(value)]
            return tree.sequence(place, items)
        case _:
            shown = repr(value)
            shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
            text = (
                f"{shown} is a {type(value).__name__}; allowed: text, numbers, True, False, lists, mappings"
            )
            problems.append(Problem(place, path_text(path), text))
            return tree.Scalar(place, None, "")


def _merged(file: tree.Mapping, own: tree.Mapping) -> tree.Mapping:
    """Merge mappings key by key, and replace anything else."""
    entries = dict(file.entries)
    for key, entry in own.entries.items():
        before = entries.get(key)
        node = entry.node
        if before is not None and isinstance(before.node, tree.Mapping) and isinstance(node, tree.Mapping):
            node = _merged(before.node, node)
        entries[key] = tree.Entry(entry.place, node)
    return tree.mapping(file.place, entries)


def _moved(keys: Keys[str, Any], base: Path, folder: Path) -> dict[str, Any]:
    """The hosts with their paths, which are relative to `base`, rewritten relative to
    `folder`."""
    hosts = keys.get("hosts")
    way = os.path.relpath(base.resolve(), folder.resolve())
    if way == "." or not isinstance(hosts, Keys):
        return {}

    def move(value: Any) -> Any:
        if isinstance(value, str) and (value in (".", "..") or value.startswith(("./", "../"))):
            source, colon, rest = value.partition(":")
            return os.path.normpath(os.path.join(way, source)) + colon + rest
        if isinstance(value, Keys):
            return {k: move(v) if k in ("source", "context", "path") else v for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [move(item) for item in value]
        return value

    def walk(value: Any) -> Any:
        if not isinstance(value, Keys):
            return value
        return {
            k: move(v) if k in ("volumes", "build", "env_file", "files") else walk(v)
            for k, v in value.items()
        }

    return {"hosts": walk(hosts)}


def yaml_of(root: tree.Mapping, *, without: Items[str] = ()) -> str:
    """The tree as YAML text that reads back the same."""
    return yaml.dump(
        {key: plain_data(entry.node) for key, entry in root.entries.items() if key not in without},
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=False,
    )


class _Dumper(yaml.SafeDumper):
    """Decimals as they are written."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    Decimal, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", format(value, "f"))
)
