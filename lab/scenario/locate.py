"""From a path in the data to a place in the file."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from lab.place import Place
from lab.scenario import tree
from lab.scenario.problems import Problem, path_text

Path = tuple[str | int, ...]


class Locator(Struct, frozen=True):
    """Finds places in one file's tree."""

    root: tree.Node

    def resolve(self, loc: Iterable[str | int]) -> tuple[Path, tree.Node]:
        """The path that `loc` means without the tags of unions, as far as the tree goes, and its node."""
        path: list[str | int] = []
        node = self.root
        for part in loc:
            if isinstance(node, tree.Mapping) and part in node.entries:
                node = node.entries[str(part)].node
                path.append(part)
            elif isinstance(node, tree.Sequence) and isinstance(part, int) and part < len(node.items):
                node = node.items[part]
                path.append(part)
        return tuple(path), node

    def at(self, path: Path, text: str) -> Problem:
        """A problem with the value at `path`, or with the nearest thing around it that is there."""
        _, node = self.resolve(path)
        return Problem(node.place, path_text(path), text)

    def at_key(self, path: Path, text: str) -> Problem:
        """A problem with the last key of `path` itself."""
        there, node = self.resolve(path[:-1])
        if len(there) == len(path) - 1 and isinstance(node, tree.Mapping) and path[-1] in node.entries:
            return Problem(node.entries[str(path[-1])].place, path_text(path), text)
        return self.at(path, text)


def all_places(root: tree.Node) -> dict[str, Place]:
    """The place of every value of a tree by its path."""
    places: dict[str, Place] = {}

    def walk(node: tree.Node, path: str) -> None:
        places[path] = node.place
        if isinstance(node, tree.Sequence):
            for index, item in enumerate(node.items):
                walk(item, f"{path}[{index}]")
        elif isinstance(node, tree.Mapping):
            for key, entry in node.entries.items():
                walk(entry.node, f"{path}.{key}" if path else key)

    walk(root, "")
    return places
