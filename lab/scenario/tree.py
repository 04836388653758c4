"""From YAML to a tree of values with their places, with the few scalar types of the format.

Plain scalars are true, false, null and decimal numbers without a leading zero; anything else is text. Keys
are text and unique. `<<` merges mappings; the mapping's own keys win. Bounds hold off a hostile file: on its
size, its depth, and what its aliases expand to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from lab.files import TEXT, Unfit, read_bytes
from lab.place import Place
from lab.scenario.problems import Problem, path_text

MAX_BYTES = TEXT
MAX_DEPTH = 60
MAX_VALUES = 500_000  #: after aliases are expanded
MAX_MERGED = 1_000_000  #: keys that `<<` copies in one file
MAX_EXPANDED = 16 << 20  #: characters of text after aliases are expanded

_DECIMAL = re.compile(r"-?[1-9][0-9]{0,39}|0|-?(?:0|[1-9][0-9]{0,39})\.[0-9]{1,40}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_WORDS = {"true": True, "false": False, "null": None, "": None}


class Scalar(Struct, frozen=True, eq=False):
    """A single value; `text` is as written in the file."""

    place: Place
    value: bool | int | Decimal | str | None
    text: str
    size: int = 1

    @property
    def weight(self) -> int:
        return len(self.text)


class Sequence(Struct, frozen=True, eq=False):
    place: Place
    items: tuple[Node, ...]
    size: int
    weight: int = 0  #: characters in it when read, with aliases expanded


class Entry(Struct, frozen=True):
    """One key of a mapping: the place of the key, and its value."""

    place: Place
    node: Node


class Mapping(Struct, frozen=True, eq=False):
    place: Place
    entries: dict[str, Entry]
    size: int
    weight: int = 0


Node = Scalar | Sequence | Mapping


def sequence(place: Place, items: Iterable[Node], weight: int = 0) -> Sequence:
    """A sequence with its size."""
    found = tuple(items)
    return Sequence(place, found, 1 + sum(item.size for item in found), weight)


def mapping(place: Place, entries: dict[str, Entry], weight: int = 0) -> Mapping:
    """A mapping with its size."""
    return Mapping(place, entries, 1 + sum(entry.node.size + 1 for entry in entries.values()), weight)


def scalars(node: Node) -> Iterator[Scalar]:
    """All single values of a tree, in the order of the file."""
    if isinstance(node, Scalar):
        yield node
        return
    children = node.items if isinstance(node, Sequence) else [e.node for e in node.entries.values()]
    for child in children:
        yield from scalars(child)


def plain(text: str) -> bool | int | Decimal | str | None:
    """The value of a plain scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if _DECIMAL.fullmatch(text):
        return Decimal(text) if "." in text else int(text)
    return text


class Unreadable(Exception):
    """The file cannot be read any further; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def read_text(path: Path, shown: str, root: Path | None = None) -> str:
    """The text of a file; with `root`, of one that really lies below it, wherever links lead.

    Raises `Unreadable` if it is missing, not a regular file, too large or not text.
    """
    nowhere = Place(shown, 0, 0)
    try:
        raw = read_bytes(path, MAX_BYTES, root)
    except FileNotFoundError:
        raise Unreadable(Problem(nowhere, "", "no such file")) from None
    except Unfit as error:
        raise Unreadable(Problem(nowhere, "", str(error.strerror))) from None
    except OSError as error:
        raise Unreadable(Problem(nowhere, "", f"cannot be read: {error.strerror}")) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        place = Place(shown, before.count(b"\n") + 1, column)
        raise Unreadable(
            Problem(place, "", f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8 text")
        ) from None


def parse(text: str, file: str) -> tuple[Node | None, list[Problem]]:
    """The tree of a YAML text (None for an empty one) and the problems of its keys and aliases.

    Raises `Unreadable` if it is not YAML at all or exceeds the bounds.
    """
    try:
        return _build(text, file, _FAST)
    except yaml.YAMLError as error:
        said = error
    if len(text) <= _REWORDED:
        # libyaml's error texts differ from PyYAML's; every machine shows the latter.
        try:
            return _build(text, file, yaml.SafeLoader)
        except yaml.YAMLError as error:
            said = error
    if isinstance(said, yaml.reader.ReaderError):
        position = said.position
        line = text.count("\n", 0, position) + 1
        column = position - (text.rfind("\n", 0, position) + 1) + 1
        character = said.character if isinstance(said.character, int) else ord(said.character)
        what = f"character U+{character:04X} is not allowed in YAML"
        raise Unreadable(Problem(Place(file, line, column), "", what))
    raise Unreadable(_not_yaml(said, file))


def _build(text: str, file: str, loader: Any) -> tuple[Node | None, list[Problem]]:
    builder, reader = _Builder(file), loader(text)
    try:
        return builder.build(iter(reader.get_event, None)), builder.problems
    finally:
        reader.dispose()


#: Up to this length a file that libyaml refuses is read again for PyYAML's error, 100 times slower.
_REWORDED = 200_000
_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _not_yaml(error: yaml.YAMLError, file: str) -> Problem:
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(Place(file, 1, 1), "", f"not YAML: {' '.join(str(error).split())}")
    mark = error.problem_mark or error.context_mark
    place = Place(file, mark.line + 1, mark.column + 1) if mark is not None else Place(file, 1, 1)
    begins = error.context_mark
    context = f"{error.context} (from line {begins.line + 1})" if begins is not None else error.context
    said = ": ".join(part for part in (context, error.problem) if part)
    if "'\\t'" in said:
        said += "; YAML is indented with spaces, not tabs"
    return Problem(place, "", f"not YAML: {said}")


@dataclass(slots=True)
class _Frame:
    """An unfinished sequence or mapping; `nodes` of a mapping are keys and values in turn."""

    place: Place
    mapping: bool
    anchor: str | None
    nodes: list[Node] = field(default_factory=list)


_STARTS = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_ENDS = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


class _Builder:
    """Builds the tree from parser events, so depth and aliases are bounded and keys keep their places."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node] = {}
        self.stack: list[_Frame] = []
        self.root: Node | None = None
        self.documents = 0
        self.merged = 0  #: keys that merges have copied

    def build(self, events: Iterator[Any]) -> Node | None:
        for event in events:
            kind = type(event)
            if kind in _ENDS:
                frame = self.stack.pop()
                self._add(self._mapping(frame) if frame.mapping else self._sequence(frame), frame.anchor)
                continue
            mark = event.start_mark
            place = Place(self.file, mark.line + 1, mark.column + 1) if mark else Place(self.file, 1, 1)
            if kind is yaml.ScalarEvent:
                self._add(self._scalar(event, place), event.anchor)
            elif kind in _STARTS:
                self._tag(event.tag, place)
                if len(self.stack) >= MAX_DEPTH:
                    raise Unreadable(Problem(place, "", f"nested deeper than {MAX_DEPTH} levels"))
                self.stack.append(_Frame(place, kind is yaml.MappingStartEvent, event.anchor))
            elif kind is yaml.AliasEvent:
                self._add(self._alias(event.anchor or "", place), None)
            elif kind is yaml.DocumentStartEvent:
                self.documents += 1
                if self.documents > 1:
                    raise Unreadable(Problem(place, "", "a second document; a file holds one scenario"))
        return self.root

    def _path(self, key: str) -> str:
        """The path of a key of the mapping that has just ended."""
        path: list[str | int] = []
        for frame in self.stack:
            if not frame.mapping:
                path.append(len(frame.nodes))
            elif frame.nodes and len(frame.nodes) % 2 and isinstance(last := frame.nodes[-1], Scalar):
                path.append(last.text)
        return path_text([*path, key])

    def _add(self, node: Node, anchor: str | None) -> None:
        if node.size > MAX_VALUES:
            raise Unreadable(
                Problem(node.place, "", f"more than {MAX_VALUES:,} values, with aliases expanded")
            )
        if node.weight > MAX_EXPANDED:
            text = f"more than {MAX_EXPANDED:,} characters of text, with aliases expanded"
            raise Unreadable(Problem(node.place, "", text))
        if anchor is not None:
            self.anchors[anchor] = node
        if self.stack:
            self.stack[-1].nodes.append(node)
        else:
            self.root = node

    def _alias(self, name: str, place: Place) -> Node:
        if any(frame.anchor == name for frame in self.stack):
            raise Unreadable(Problem(place, "", f"alias *{name} is inside its own anchor"))
        if name not in self.anchors:
            raise Unreadable(Problem(place, "", f"alias *{name} has no anchor &{name} before it"))
        return self.anchors[name]

    def _tag(self, tag: str | None, place: Place) -> None:
        if tag not in (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self.problems.append(Problem(place, "", f"tag {tag} is not allowed; a scenario has no tags"))

    def _scalar(self, event: Any, place: Place) -> Scalar:
        if event.tag == "tag:yaml.org,2002:str" or event.style:
            value: Any = event.value
        else:
            value = plain(event.value)
        if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
            text = f"tag {event.tag} is not allowed; a scenario has no tags (for text, use quotes)"
            self.problems.append(Problem(place, "", text))
        if _SURROGATE.search(event.value):
            # Such text could not be written anywhere, not even as a file's name.
            text = "half of a surrogate pair is not text; for bytes, write {hex: …}"
            raise Unreadable(Problem(place, "", text))
        return Scalar(place, value, event.value)

    def _sequence(self, frame: _Frame) -> Sequence:
        return sequence(frame.place, frame.nodes, sum(node.weight for node in frame.nodes))

    def _mapping(self, frame: _Frame) -> Mapping:
        entries: dict[str, Entry] = {}
        merged: list[Node] = []
        for key, node in zip(frame.nodes[::2], frame.nodes[1::2], strict=True):
            if not isinstance(key, Scalar):
                self.problems.append(Problem(key.place, "", "a key is text, not a list or a mapping"))
            elif key.text == "<<" and not merged:
                merged = list(node.items) if isinstance(node, Sequence) else [node]
            elif key.text in entries or key.text == "<<":
                first = entries[key.text].place.line if key.text in entries else frame.place.line
                text = f"key {key.text!r} is given twice in this mapping, first in line {first}"
                self.problems.append(Problem(key.place, self._path(key.text), text))
            else:
                entries[key.text] = Entry(key.place, node)
        for part in merged:
            if not isinstance(part, Mapping):
                self.problems.append(Problem(part.place, self._path("<<"), "only a mapping can be merged"))
                continue
            self.merged += len(part.entries)
            if self.merged > MAX_MERGED:
                text = f"merges copy more than {MAX_MERGED:,} keys in this file"
                raise Unreadable(Problem(part.place, self._path("<<"), text))
            for name, entry in part.entries.items():
                entries.setdefault(name, entry)
        weight = sum(entry.node.weight + len(name) for name, entry in entries.items())
        return mapping(frame.place, entries, weight)
