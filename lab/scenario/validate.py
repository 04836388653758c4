"""From one filled tree to a `ScenarioFile`: pydantic's errors in the words and at the places of the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import ValidationError

from lab.packet_words import MATCHES
from lab.scenario.base import Model, Seen, shown
from lab.scenario.checks import CHECKS
from lab.scenario.element import NO_MEMBER
from lab.scenario.locate import Locator, Path
from lab.scenario.params import Filled
from lab.scenario.problems import Problem, did_you_mean, nearest, path_text
from lab.scenario.steps import STEPS
from lab.scenario.support import not_yet

#: What a missing key would hold, where its name alone does not tell.
_WANTED = {
    "lab": "the version of the format; write lab: 1",
    "at": "the name of a host",
    "host": "the name of a host",
    "from": "the name of a host",
    "to": "host:port, or a host",
    "on": "the name of a socket",
    "size": "bytes, like 1024 or 64kB",
    "data": "text, or {hex}, {repeat, times}, {random, seed}",
    "for": "a duration, like 100ms",
    "count": "a number, or {min, max}",
    "delta": "a number, or {min, max}",
    "match": f"{', '.join(MATCHES)}, a list of flags or a mapping of header fields",
    "state": "the name of a state",
    "port": "a number, 0 to 65535",
    "rate": "a percentage, like 5%",
    "command": "a list: the program and its arguments",
    "steps": "a list of steps",
    "id": "the id of a background step",
}


T = TypeVar("T", bound=Model)


def validate(model: type[T], filled: Filled, locator: Locator) -> tuple[T | None, list[Problem]]:
    """`filled` as a `model` (None if pydantic refuses it), and all problems of its keys and values.

    `locator` has the source tree of `filled`.
    """
    seen = Seen()
    result: T | None = None
    problems: list[Problem] = []
    try:
        result = model.model_validate(filled.data, context=seen, by_alias=True, by_name=False)
    except ValidationError as error:
        problems += _findings(error, seen, filled, locator)
    useless: dict[str, Problem] = {}
    for keys, cls in seen.models.values():
        path = filled.paths.get(id(keys))
        if path is None:
            continue
        if cls.rules:
            problems += [locator.at(path, text) for text in cls.broken_rules(_meant(keys, cls))]
        for key, text in cls.senseless(keys):
            one = locator.at_key((*path, key), text)
            useless[one.path] = one
        problems += [locator.at_key((*path, key), text) for key, text in not_yet(cls, keys)]
    return result, [*(one for one in problems if one.path not in useless), *useless.values()]


def _meant(keys: dict[str, Any], cls: type[Model]) -> set[str]:
    """The keys, with misspelt ones as they were meant, so one slip is reported once."""
    return {key if key in cls.yaml_keys() else nearest(key, cls.yaml_keys()) or key for key in keys}


def _findings(error: ValidationError, seen: Seen, filled: Filled, locator: Locator) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        loc, kind = detail["loc"], detail["type"]
        path, _ = locator.resolve(loc)
        if kind == "extra_forbidden":
            cls = _model_at(filled.data, loc[:-1], seen)
            allowed = cls.yaml_keys() if cls is not None else ()
            yield locator.at_key((*path,), _unknown(str(loc[-1]), allowed))
        elif kind == "missing":
            key = str(loc[-1])
            keys, cls = _mapping_at(filled.data, loc[:-1]), _model_at(filled.data, loc[:-1], seen)
            known = cls.yaml_keys() if cls is not None else ()
            if any(nearest(other, known) == key for other in keys if other not in known):
                continue  # misspelt: reported in its place
            _, node = locator.resolve(loc[:-1])
            wanted = f": {_WANTED[key]}" if key in _WANTED else ""
            yield Problem(node.place, path_text((*path, key)), f"{key} is missing{wanted}")
        elif loc and loc[-1] == "[key]":
            yield locator.at_key((*path, str(loc[-2])) if path[-1:] != (loc[-2],) else path, _text(detail))
        elif kind == NO_MEMBER:
            yield _wrong_tag(path, detail["input"], locator)
        else:
            yield locator.at(path, _text(detail))


def _unknown(key: str, allowed: tuple[str, ...]) -> str:
    return f"unknown key {shown(key)}; allowed: {', '.join(allowed)}{did_you_mean(key, allowed)}"


def _text(detail: Any) -> str:
    value = shown(detail["input"])
    if detail["type"] == "list_type":
        return f"{value} is not a list"
    if detail["type"] == "dict_type":
        return f"{value} is not a mapping"
    return str(detail["msg"])


def _wrong_tag(path: Path, value: Any, locator: Locator) -> Problem:
    """The problem of a step or a check that is not one."""
    of_steps = "steps" in path
    key, table = ("do", STEPS) if of_steps else ("check", CHECKS)
    words = tuple(table)
    if not isinstance(value, dict):
        return locator.at(path, f"{shown(value)} is not a mapping; write {{{key}: …}}")
    if key not in value:
        return locator.at(path, f"{key} is missing; allowed: {', '.join(words)}")
    if value[key] == "parallel":
        return locator.at((*path, key), "parallel is inside parallel; its steps start together anyway")
    what = "a step" if of_steps else "a check"
    hint = did_you_mean(value[key], words)
    return locator.at((*path, key), f"{shown(value[key])} is not {what}; allowed: {', '.join(words)}{hint}")


def _walk(data: Any, loc: tuple[str | int, ...]) -> Any:
    for part in loc:
        if isinstance(data, dict):
            data = data.get(part, data)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
    return data


def _mapping_at(data: Any, loc: tuple[str | int, ...]) -> dict[str, Any]:
    found = _walk(data, loc)
    return found if isinstance(found, dict) else {}


def _model_at(data: Any, loc: tuple[str | int, ...], seen: Seen) -> type[Model] | None:
    found = seen.models.get(id(_walk(data, loc)))
    return None if found is None else found[1]
