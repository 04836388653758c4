"""Parameters: the cases of a sweep, and `${x}` in values."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from lab.errors import UsageError
from lab.place import Place
from lab.scenario import tree
from lab.scenario.budget import put_in
from lab.scenario.problems import Problem, did_you_mean

MAX_CASES = 1000

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[^}]*)\}?")


class Param(Struct, frozen=True):
    """One value of one parameter: its text in a case's name, and the value."""

    label: str
    value: Any


Values = Mapping[str, Param]


@dataclass
class Filled:
    """A tree as plain Python values with the parameters filled in. `paths` has the path of each mapping."""

    data: Any
    paths: dict[int, tuple[str | int, ...]] = field(default_factory=dict)


def plain_data(node: tree.Node) -> Any:
    """The Python values of a tree, with parameters left as they are."""
    return fill(node, None).data


def fill(node: tree.Node, values: Values | None) -> Filled:
    """The Python values of a tree with `values` filled in; without them, `${x}` stays as it is."""
    filled = Filled(None)
    filled.data = _fill(node, values, (), filled.paths)
    return filled


def _fill(
    node: tree.Node,
    values: Values | None,
    path: tuple[str | int, ...],
    paths: dict[int, tuple[str | int, ...]],
) -> Any:
    if isinstance(node, tree.Scalar):
        if values is None or not isinstance(node.value, str) or "${" not in node.value:
            return node.value
        return _put_in(node.value, values, path, paths)
    if isinstance(node, tree.Sequence):
        return [_fill(item, values, (*path, index), paths) for index, item in enumerate(node.items)]
    mapping = {key: _fill(entry.node, values, (*path, key), paths) for key, entry in node.entries.items()}
    paths[id(mapping)] = path
    return mapping


def _put_in(
    text: str, values: Values, path: tuple[str | int, ...], paths: dict[int, tuple[str | int, ...]]
) -> Any:
    whole = REFERENCE.fullmatch(text)
    if whole is not None and whole["name"] in values:
        param = values[whole["name"]]
        put_in(len(param.label))  # for a list or a mapping too: its text as written
        return _copy(param.value, path, paths)

    def replaced(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "${"
        param = values.get(match["name"])
        if param is None:
            return match[0]
        put_in(len(param.label))
        return param.label

    return REFERENCE.sub(replaced, text)


def _copy(value: Any, path: tuple[str | int, ...], paths: dict[int, tuple[str | int, ...]]) -> Any:
    """Copy containers, so that each place in the filled tree has its own object. All have the path where the
    parameter is used."""
    if isinstance(value, list):
        return [_copy(one, path, paths) for one in value]
    if not isinstance(value, dict):
        return value
    mapping = {key: _copy(one, path, paths) for key, one in value.items()}
    paths[id(mapping)] = path
    return mapping


def _label(node: tree.Node) -> str:
    if isinstance(node, tree.Scalar):
        return node.text if node.value is not None else "null"
    if isinstance(node, tree.Sequence):
        return f"[{', '.join(_label(item) for item in node.items)}]"
    return f"{{{', '.join(f'{key}: {_label(entry.node)}' for key, entry in node.entries.items())}}}"


def read_sweep(node: tree.Node | None, problems: list[Problem]) -> dict[str, list[Param]]:
    """The parameters of a file with their values; problems are added to `problems`."""
    if node is None:
        return {}
    if not isinstance(node, tree.Mapping):
        problems.append(Problem(node.place, "params", "not a mapping; params is like {delay: [5ms, 100ms]}"))
        return {}
    sweep: dict[str, list[Param]] = {}
    for name, entry in node.entries.items():
        path = f"params.{name}"
        if not _NAME.fullmatch(name):
            text = f"{name!r} is not a name of a parameter: letters, digits, '_' and '-'"
            problems.append(Problem(entry.place, path, text))
            continue
        items = entry.node.items if isinstance(entry.node, tree.Sequence) else (entry.node,)
        if not items:
            problems.append(Problem(entry.node.place, path, "the list is empty; give one value or more"))
        if len(items) > MAX_CASES:
            text = f"{len(items):,} values; at most {MAX_CASES:,} cases are allowed"
            problems.append(Problem(entry.node.place, path, text))
            sweep[name] = []
            continue
        values: list[Param] = []
        labels: set[str] = set()
        for index, item in enumerate(items):
            param = Param(_label(item), plain_data(item))
            where = f"{path}[{index}]" if isinstance(entry.node, tree.Sequence) else path
            if param.value is None:
                problems.append(Problem(item.place, where, "a parameter needs a value"))
            elif param.label in labels:
                problems.append(Problem(item.place, where, f"{param.label!r} is in the list twice"))
            elif any(REFERENCE.search(text) for text in _texts(param.value)):
                problems.append(Problem(item.place, where, "a parameter cannot be made of parameters"))
            values.append(param)
            labels.add(param.label)
        sweep[name] = values
    number = math.prod(len(values) for values in sweep.values())
    if number > MAX_CASES:
        problems.append(
            Problem(node.place, "params", f"the sweep has {number} cases; at most {MAX_CASES} are allowed")
        )
    return sweep


def read_cases(
    node: tree.Node | None, sweep: Mapping[str, list[Param]], problems: list[Problem]
) -> list[dict[str, Param]]:
    """The mappings of `cases`, each the values of one case; problems are added to `problems`."""
    if node is None:
        return []
    if not isinstance(node, tree.Sequence) or not node.items:
        text = "not a list of mappings; cases is like [{loss: 0%, most: 0}, {loss: 20%, most: 2}]"
        problems.append(Problem(node.place, "cases", text))
        return []
    found: list[dict[str, Param]] = []
    known: set[tuple[str, ...]] = set()
    for index, item in enumerate(node.items[:MAX_CASES]):
        path = f"cases[{index}]"
        if not isinstance(item, tree.Mapping):
            problems.append(Problem(item.place, path, "not a mapping, like {loss: 20%, most: 2}"))
            continue
        inner: list[Problem] = []
        values = read_sweep(tree.Mapping(item.place, _single(item), item.size), inner)
        problems += [Problem(one.place, one.path.replace("params", path, 1), one.text) for one in inner]
        case = {name: some[0] for name, some in values.items() if some}
        for name in case:
            if name in sweep:
                text = f"{name!r} is one of params too; a name stands in one of the two"
                problems.append(Problem(item.entries[name].place, f"{path}.{name}", text))
        if found and case.keys() != found[0].keys():
            wanted = ", ".join(found[0])
            problems.append(
                Problem(item.place, path, f"every case has the same names; the first has {wanted}")
            )
        labels = tuple(param.label for param in case.values())
        if labels in known:
            problems.append(Problem(item.place, path, "the same case is in the list twice"))
        known.add(labels)
        found.append(case)
    number = max(len(found), len(node.items)) * math.prod(len(values) for values in sweep.values())
    if number > MAX_CASES:
        text = f"with params these are {number} cases; at most {MAX_CASES} are allowed"
        problems.append(Problem(node.place, "cases", text))
    return found


def _single(item: tree.Mapping) -> dict[str, tree.Entry]:
    """Each value as a list of one: a list is one value here, not several."""
    return {
        name: tree.Entry(entry.place, tree.sequence(entry.node.place, (entry.node,)))
        for name, entry in item.entries.items()
    }


def restricted(cases: list[dict[str, Param]], given: Mapping[str, str]) -> list[dict[str, Param]]:
    """The mappings of `cases` that have the values of `given`. Raises `UsageError` if none has."""
    for name, text in given.items():
        if cases and name in cases[0]:
            kept = [case for case in cases if name in case and case[name].label == text]
            if not kept:
                known = ", ".join(dict.fromkeys(case[name].label for case in cases))
                raise UsageError(f"--param {name}={text}: no case has it; the cases have {known}")
            cases = kept
    return cases


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def override(sweep: dict[str, list[Param]], given: Mapping[str, str]) -> dict[str, list[Param]]:
    """The sweep with each parameter of `given` restricted to that value. Names that are not in the sweep are
    left to the caller. Raises `UsageError` if a value is not YAML."""
    result = dict(sweep)
    for name, text in given.items():
        if name not in sweep:
            continue
        value = _given_value(name, text)
        listed = [p for p in sweep[name] if type(p.value) is type(value.value) and p.value == value.value]
        result[name] = listed[:1] or [value]
    return result


def _given_value(name: str, text: str) -> Param:
    if text[:1] not in ("[", "{", '"', "'"):
        return Param(text, tree.plain(text))
    try:
        node, problems = tree.parse(text, f"--param {name}")
    except tree.Unreadable as error:
        raise UsageError(str(error.problem)) from None
    if problems or node is None:
        raise UsageError("\n".join(str(problem) for problem in problems) or f"--param {name}: no value")
    return Param(_label(node), plain_data(node))


def cases(sweep: Mapping[str, list[Param]]) -> Iterator[dict[str, Param]]:
    """Every combination; the last parameter changes fastest."""
    for combination in itertools.product(*sweep.values()):
        yield dict(zip(sweep, combination, strict=True))


def references(text: str) -> list[str]:
    """The names of the parameters in a text."""
    return list(dict.fromkeys(match["name"] for match in REFERENCE.finditer(text) if match["name"]))


def check_references(
    node: tree.Node,
    sweep: Mapping[str, list[Param]],
    path: str,
    quiet: set[Place],
    rounds: tuple[str, ...] = (),
) -> Iterator[Problem]:
    """The problems of each `${x}` in a tree. The place of each wrong one is added to `quiet`: any other
    problem there follows from it. `rounds` are the numbers of each `repeat` around it, by name."""
    if isinstance(node, tree.Sequence):
        for index, item in enumerate(node.items):
            yield from check_references(item, sweep, f"{path}[{index}]", quiet, rounds)
    elif isinstance(node, tree.Mapping):
        own = (*rounds, *_own_round(node))
        for key, entry in node.entries.items():
            known = own if key == "steps" else rounds
            yield from check_references(entry.node, sweep, f"{path}.{key}" if path else key, quiet, known)
    elif isinstance(node.value, str):
        for match in REFERENCE.finditer(node.value):
            if match["name"] in rounds and match[0].endswith("}"):
                continue
            text = _wrong_reference(match, node.value, sweep, rounds)
            if not text and match["name"] is not None and not sweep[match["name"]]:
                quiet.add(node.place)  # its list is empty, which is reported there
            if text:
                quiet.add(node.place)
                yield Problem(node.place, path, text)


def _own_round(node: tree.Mapping) -> tuple[str, ...]:
    """The name that a `repeat` gives the number of its round; () for any other mapping."""
    do, name = node.entries.get("do"), node.entries.get("n")
    if do is None or not isinstance(do.node, tree.Scalar) or do.node.value != "repeat":
        return ()
    if name is None:
        return ("n",)
    own = name.node.value if isinstance(name.node, tree.Scalar) else None
    return (own,) if isinstance(own, str) else ()


def _wrong_reference(
    match: re.Match[str], whole: str, sweep: Mapping[str, list[Param]], rounds: tuple[str, ...]
) -> str:
    name = match["name"]
    if name is None:
        return ""
    if not match[0].endswith("}"):
        return "'${' without '}'; for the text itself write '$${'"
    if name not in sweep:
        known = f"params has {', '.join(sweep)}" if sweep else "the file has no params"
        if rounds:
            known += f"; this repeat has {', '.join(dict.fromkeys(rounds))}"
        return (
            f"'${{{name}}}' is not a parameter; {known}{did_you_mean(name, (*sweep, *rounds))}; "
            f"for the text itself write '$${{{name}}}'"
        )
    if match[0] != whole and any(isinstance(param.value, (dict, list)) for param in sweep[name]):
        return f"'${{{name}}}' is a list or a mapping and cannot be put into a text"
    return ""
