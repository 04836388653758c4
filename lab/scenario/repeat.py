"""`repeat`: its steps, repeated in its place before anything else reads them.

Later readers see plain steps, each with its place in the file. `${n}` becomes the number of the round. An
`id` inside gets that number at its end, unless its own text has `${n}`; so does a reference to such an `id`
inside the same `repeat`. The expansion is bounded in steps and in values, and takes time in proportion to its
result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from lab.scenario import tree
from lab.scenario.params import REFERENCE, Values, fill
from lab.scenario.problems import Problem
from lab.scenario.steps import COUNTER, MAX_STEPS

MAX_VALUES = 500_000  #: of its steps, after expansion

_TOP = re.compile(r"steps\[[0-9]+\]")
_INNER = re.compile(r"steps\[[0-9]+\](?:\.steps\[[0-9]+\])?")


class Origin(Struct, frozen=True):
    """Where an expanded step comes from in the file, and its round."""

    path: str
    rounds: tuple[tuple[str, int], ...]  #: of each `repeat` around it, outermost first: its name, the number


@dataclass
class Expanded:
    """A scenario's tree without `repeat`, the problems of expanding it, and the origins of its steps."""

    root: tree.Mapping
    problems: list[Problem] = field(default_factory=list)
    origins: dict[str, Origin] = field(default_factory=dict)  #: by the path of the expanded step

    def in_file(self, problem: Problem) -> tuple[Problem, Origin | None]:
        """The same problem with its path in the file, and the origin of its step."""
        for pattern in () if problem in self.problems else (_INNER, _TOP):
            match = pattern.match(problem.path)
            origin = self.origins.get(match[0]) if match is not None else None
            if match is not None and origin is not None:
                return replace(problem, path=origin.path + problem.path[match.end() :]), origin
        return problem, None


def repeats(root: tree.Mapping) -> bool:
    """Whether any step of a scenario is a `repeat`."""
    return any(_do(step) == "repeat" for step in _with_inner(_items(root)))


def expand(root: tree.Mapping, values: Values) -> Expanded:
    """The tree with each `repeat` replaced by its rounds. `values` are the parameters of the case.

    A `repeat` whose own keys are wrong stays as it is, with its steps as in the first round, for the models
    to say what is wrong with it.
    """
    entry = root.entries.get("steps")
    if entry is None or not repeats(root):
        return Expanded(root)
    result = Expanded(root)
    expansion = _Expansion(values, result)
    try:
        items = expansion.steps(entry.node, (), "steps", "steps")
    except tree.Unreadable as error:
        result.problems.append(error.problem)
        items = []
    steps = tree.sequence(entry.node.place, items)
    size = root.size - entry.node.size + steps.size
    result.root = tree.Mapping(root.place, {**root.entries, "steps": replace(entry, node=steps)}, size)
    return result


class _Round(Struct, frozen=True):
    """One round of one `repeat`."""

    name: str
    number: int
    ids: frozenset[str]  #: the texts of the ids in its body, but for those in a `repeat` inside it


_Rounds = tuple[_Round, ...]


@dataclass
class _Expansion:
    values: Values
    result: Expanded
    steps_left: int = MAX_STEPS
    values_left: int = MAX_VALUES
    outermost: Problem | None = None  #: at the outermost `times`, with no text yet

    def steps(
        self, node: tree.Node, rounds: _Rounds, path: str, into: str, begin: int = 0
    ) -> list[tree.Node]:
        """The steps of a list. `path` is that of the list in the file, `into` that of the new list, from the
        index `begin` on."""
        if not isinstance(node, tree.Sequence):
            return []
        found: list[tree.Node] = []
        numbers = tuple((one.name, one.number) for one in rounds)
        for index, item in enumerate(node.items):
            where = f"{path}[{index}]"
            header = self._header(item, rounds, where) if _do(item) == "repeat" else None
            if header is None:
                self._spend(item, where)
                new = f"{into}[{begin + len(found)}]"
                self.result.origins[new] = Origin(where, numbers)
                found.append(self._step(item, rounds, where, new))
                continue
            times, name, body = header
            if not rounds:
                assert isinstance(item, tree.Mapping)
                self.outermost = Problem(item.entries["times"].node.place, f"{where}.times", "")
            ids = frozenset(_ids(body.items))
            for number in range(1, times + 1):
                inner = (*rounds, _Round(name, number, ids))
                found += self.steps(body, inner, f"{where}.steps", into, begin + len(found))
        return found

    def _spend(self, item: tree.Node, where: str) -> None:
        self.steps_left -= 1
        self.values_left -= item.size
        if self.steps_left < 0 or self.values_left < 0:
            limit = f"{MAX_STEPS:,} steps" if self.steps_left < 0 else f"{MAX_VALUES:,} values in its steps"
            text = f"with every round of its repeats the scenario has more than {limit}; do fewer rounds"
            raise tree.Unreadable(replace(self.outermost or Problem(item.place, where, ""), text=text))

    def _header(self, item: tree.Node, rounds: _Rounds, where: str) -> tuple[int, str, tree.Sequence] | None:
        """How often, by which name and what; None if the keys of the `repeat` itself are wrong."""
        assert isinstance(item, tree.Mapping)
        entries = item.entries
        times = fill(_put_in(entries["times"].node, rounds), self.values).data if "times" in entries else None
        name = _scalar_at(item, "n", "n")
        body = entries["steps"].node if "steps" in entries else None
        right = (
            entries.keys() <= {"do", "times", "n", "steps"}
            and isinstance(times, int)
            and not isinstance(times, bool)
            and 1 <= times <= MAX_STEPS
            and isinstance(name, str)
            and COUNTER.fullmatch(name) is not None
            and isinstance(body, tree.Sequence)
            and bool(body.items)
        )
        if right and name in self.values:
            place = entries["n"].node.place if "n" in entries else item.place
            text = f"{name!r} is a parameter of the file; give the round's number another name, like n: i"
            self.result.problems.append(Problem(place, f"{where}.n", text))
            right = False
        if not right or not isinstance(times, int) or not isinstance(body, tree.Sequence):
            return None
        return times, str(name), body

    def _step(self, item: tree.Node, rounds: _Rounds, path: str, into: str) -> tree.Node:
        if not isinstance(item, tree.Mapping):
            return self._put_in(item, rounds)
        entries: dict[str, tree.Entry] = {}
        do = _do(item)
        for key, entry in item.entries.items():
            node = entry.node
            if key == "steps" and do == "parallel":
                inner = self.steps(node, rounds, f"{path}.steps", f"{into}.steps")
                node = tree.sequence(node.place, inner) if isinstance(node, tree.Sequence) else node
            elif key == "steps" and do == "repeat":
                name = _scalar_at(item, "n", "n")
                first = _Round(name if isinstance(name, str) else "n", 1, frozenset())
                node = self._put_in(node, rounds if first.name in self.values else (*rounds, first))
            elif rounds and (key == "id" or (do, key) in _NAMES_A_STEP):
                declares = key == "id" and do != "await"
                node = _with_rounds(node, rounds, declares=declares)
            elif rounds and key == "expect":
                node = self._expect(node, rounds)
            else:
                node = self._put_in(node, rounds)
            entries[key] = entry if node is entry.node else tree.Entry(entry.place, node)
        return tree.mapping(item.place, entries)

    def _expect(self, node: tree.Node, rounds: _Rounds) -> tree.Node:
        """`expect.data.same_as` names a step too."""
        put = self._put_in(node, rounds)
        data = node.entries.get("data") if isinstance(node, tree.Mapping) else None
        same = data.node.entries.get("same_as") if data and isinstance(data.node, tree.Mapping) else None
        if data is None or same is None or not isinstance(put, tree.Mapping):
            return put
        there = put.entries["data"]
        assert isinstance(there.node, tree.Mapping)
        named = replace(same, node=_with_rounds(same.node, rounds, declares=False))
        inner = tree.Mapping(there.node.place, {**there.node.entries, "same_as": named}, there.node.size)
        return tree.Mapping(put.place, {**put.entries, "data": replace(there, node=inner)}, put.size)

    def _put_in(self, node: tree.Node, rounds: _Rounds) -> tree.Node:
        new = _put_in(node, rounds)
        if new is not node:  # long texts with a number in them are made anew in every round
            self.values_left -= sum(len(one.text) for one in tree.scalars(new)) // 100
        return new


#: Keys of steps, beside `id`, that name another step.
_NAMES_A_STEP = (("kill", "run"), ("pause", "run"), ("resume", "run"), ("wait_for", "after"))


def _put_in(node: tree.Node, rounds: _Rounds) -> tree.Node:
    """The node with the numbers of the rounds filled in; the same node if it uses none."""
    if not rounds:
        return node
    if isinstance(node, tree.Scalar):
        if not isinstance(node.value, str) or "${" not in node.value:
            return node
        numbers = {one.name: one.number for one in rounds}
        whole = REFERENCE.fullmatch(node.value)
        if whole is not None and whole["name"] in numbers:
            number = numbers[whole["name"]]
            return tree.Scalar(node.place, number, str(number))
        text = REFERENCE.sub(lambda match: str(numbers.get(match["name"], match[0])), node.value)
        return tree.Scalar(node.place, text, text)
    if isinstance(node, tree.Sequence):
        items = tuple(_put_in(item, rounds) for item in node.items)
        same = all(new is old for new, old in zip(items, node.items, strict=True))
        return node if same else tree.Sequence(node.place, items, node.size)
    if _do(node) == "repeat":  # one that stays: its own number is not one of the rounds around it
        rounds = tuple(one for one in rounds if one.name != _scalar_at(node, "n", "n"))
    new = {
        key: tree.Entry(entry.place, put)
        for key, entry in node.entries.items()
        if (put := _put_in(entry.node, rounds)) is not entry.node
    }
    return tree.Mapping(node.place, {**node.entries, **new}, node.size) if new else node


def _with_rounds(node: tree.Node, rounds: _Rounds, *, declares: bool) -> tree.Node:
    """An id, or a reference to one, with the numbers of the rounds that its text does not use.

    A reference that no body around it declares means a step outside, and stays.
    """
    text = _scalar(node)
    if not isinstance(text, (str, int)) or isinstance(text, bool):
        return node
    text = str(text)
    if not declares:
        inside = [index for index, one in enumerate(rounds) if text in one.ids]
        if not inside:
            return _put_in(node, rounds)
        own = rounds[: inside[-1] + 1]
    else:
        own = rounds
    said = {match["name"] for match in REFERENCE.finditer(text)}
    innermost = {one.name: index for index, one in enumerate(rounds)}
    ends = [
        f"-{one.number}"
        for index, one in enumerate(own)
        if not (one.name in said and innermost[one.name] == index)
    ]
    put = _put_in(tree.Scalar(node.place, text, text), rounds)
    full = f"{_scalar(put)}{''.join(ends)}"
    return tree.Scalar(node.place, full, full)


def _ids(steps: tuple[tree.Node, ...]) -> Iterator[str]:
    for step in steps:
        if isinstance(step, tree.Mapping) and _do(step) not in ("repeat", "await"):
            text = _scalar_at(step, "id", None)
            if isinstance(text, (str, int)):
                yield str(text)
            yield from _ids(_items(step))


def _with_inner(steps: tuple[tree.Node, ...]) -> Iterator[tree.Node]:
    for step in steps:
        yield step
        if isinstance(step, tree.Mapping):
            yield from _with_inner(_items(step))


def _items(node: tree.Mapping) -> tuple[tree.Node, ...]:
    steps = node.entries.get("steps")
    return steps.node.items if steps is not None and isinstance(steps.node, tree.Sequence) else ()


def _scalar(node: tree.Node) -> Any:
    return node.value if isinstance(node, tree.Scalar) else None


def _scalar_at(node: tree.Mapping, key: str, default: Any) -> Any:
    entry = node.entries.get(key)
    return default if entry is None else _scalar(entry.node)


def _do(node: tree.Node) -> Any:
    return _scalar_at(node, "do", None) if isinstance(node, tree.Mapping) else None
