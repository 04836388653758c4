"""`$X`, `${X:-default}` and the like in a Compose file, interpolated as Compose does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lab.scenario import tree
from lab.scenario.locate import Path
from lab.scenario.problems import Problem, path_text

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_DEPTH = 20  #: of defaults in defaults
MAX_TEXT = 1 << 20  #: characters of one text after interpolation
MAX_FILLED = 16 << 20  #: of all texts of a file together: values made of values grow fast
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")


class BadTemplate(Exception):
    """A text that cannot be interpolated; the message says why."""


def interpolate(
    text: str, lookup: Callable[[str], str | None], unset: Callable[[str], None], depth: int = 0
) -> str:
    """Interpolate `text`. `unset` is called for each name that has no value and no default.

    Raises `BadTemplate` for an invalid template, for `${X:?why}` where X is missing, and beyond the bounds.
    """
    if depth > MAX_DEPTH:
        raise BadTemplate(f"defaults are nested more than {MAX_DEPTH} deep")
    parts: list[str] = []
    position = length = 0
    while (dollar := text.find("$", position)) >= 0:
        parts.append(text[position:dollar])
        rest = text[dollar + 1 :]
        if rest.startswith("$"):
            parts.append("$")
            position = dollar + 2
        elif rest.startswith("{"):
            end = _closing(text, dollar + 1)
            parts.append(_braced(text[dollar + 2 : end], lookup, unset, depth))
            position = end + 1
        elif name := _NAME.match(rest):
            value = lookup(name[0])
            if value is None:
                unset(name[0])
            parts.append(value or "")
            position = dollar + 1 + name.end()
        else:
            raise BadTemplate(
                f"{text[dollar : dollar + 8]!r} is not a variable; for the dollar itself write '$$'"
            )
        length += len(parts[-1])
        if length > MAX_TEXT:
            raise BadTemplate(f"with its values it is longer than {MAX_TEXT} characters")
    return "".join(parts) + text[position:]


def _closing(text: str, opening: int) -> int:
    """The index of the brace that closes the one at `opening`."""
    depth = 0
    for index in range(opening, len(text)):
        if text[index] == "{" and text[index - 1] == "$":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if not depth:
                return index
    raise BadTemplate("'${' without '}'; for the dollar itself write '$$'")


def _braced(
    inside: str, lookup: Callable[[str], str | None], unset: Callable[[str], None], depth: int
) -> str:
    match = _NAME.match(inside)
    rest = inside[match.end() :] if match else ""
    operator = next((one for one in _OPERATORS if rest.startswith(one)), "")
    if match is None or (rest and not operator):
        raise BadTemplate(
            f"'${{{inside}}}' is not a variable; allowed: ${{X}}, ${{X:-default}}, ${{X-default}}, "
            "${X:?why}, ${X?why}, ${X:+value}, ${X+value}"
        )
    name, word, value = match[0], rest[len(operator) :], lookup(match[0])
    there = bool(value) if operator.startswith(":") else value is not None
    if operator in (":-", "-"):
        return value or "" if there else interpolate(word, lookup, unset, depth + 1)
    if operator in (":+", "+"):
        return interpolate(word, lookup, unset, depth + 1) if there else ""
    if operator in (":?", "?") and not there:
        why = interpolate(word, lookup, unset, depth + 1)
        raise BadTemplate(f"{name} must be set" + (f": {why}" if why else ""))
    if value is None:
        unset(name)
    return value or ""


@dataclass
class Variables:
    """The variables of a Compose file, and the notes about them."""

    known: Mapping[str, str]  #: from `.env`, and those of the caller's environment that the policy names
    withheld: frozenset[str] = frozenset()  #: set in the caller's environment, and not named by the policy
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    noted: set[str] = field(default_factory=set)  #: variables that have their note
    filled: int = 0  #: characters put in so far

    def lookup(self, name: str) -> str | None:
        return self.known.get(name)

    def fill(self, node: tree.Node, path: Path) -> tree.Node:
        """The tree with its texts interpolated. Keys, and all that is under `x-…`, stay as they are."""
        if isinstance(node, tree.Sequence):
            items = tuple(self.fill(item, (*path, index)) for index, item in enumerate(node.items))
            return tree.Sequence(node.place, items, node.size)
        if isinstance(node, tree.Mapping):
            entries = {
                key: entry
                if key.startswith("x-") and key != "x-lab"
                else tree.Entry(entry.place, self.fill(entry.node, (*path, key)))
                for key, entry in node.entries.items()
            }
            return tree.Mapping(node.place, entries, node.size)
        return self._scalar(node, path)

    def _scalar(self, node: tree.Scalar, path: Path) -> tree.Scalar:
        if not isinstance(node.value, str) or "$" not in node.value:
            return node

        def unset(name: str) -> None:
            self.tell(name, node, path)

        def lookup(name: str) -> str | None:
            value = self.known.get(name)
            if value is None and name in self.withheld:
                self.tell(name, node, path)
            return value

        try:
            text = interpolate(node.value, lookup, unset)
            self.filled += len(text)
            if self.filled > MAX_FILLED:
                raise BadTemplate(f"with its values the file is longer than {MAX_FILLED} characters")
        except BadTemplate as error:
            self.problems.append(Problem(node.place, path_text(path), str(error)))
            return tree.Scalar(node.place, "", "")
        return tree.Scalar(node.place, text, text)

    def tell(self, name: str, node: tree.Scalar, path: Path) -> None:
        """Add a note, once for each variable."""
        if name not in self.noted:
            self.noted.add(name)
            self.notes.append(Problem(node.place, path_text(path), self.why_unset(name)))

    def why_unset(self, name: str) -> str:
        if name in self.withheld:
            return f"{name} is set where the command is given, but policy.environment does not name it: unset"
        return f"{name} is not set: nothing is put in"
