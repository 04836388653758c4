"""Turns a call's keyword arguments into the step that a scenario would have in its place, or a check."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.place import Place
from lab.scenario.base import Model
from lab.scenario.calls import Step
from lab.scenario.checks import CHECKS, Check
from lab.scenario.data import Data
from lab.scenario.given import tree_of
from lab.scenario.locate import Locator
from lab.scenario.params import fill
from lab.scenario.problems import Problem, ScenarioError, did_you_mean
from lab.scenario.steps import STEPS
from lab.scenario.validate import validate
from lab.units import Duration

__tracebackhide__ = True  #: a failed test shows its own lines, not these

Time = str | int | float | Duration
Timeout = Time | None
Bytes = bytes | bytearray | memoryview

_HERE = str(Path(__file__).parent)
_TIMES = ("timeout", "for", "value")


def caller() -> Place:
    """The line of the program that called the lab."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno, 1)


def time_text(value: Time) -> str:
    """A duration text unchanged; seconds become one."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < 0:
            raise ValueError(f"a time is not negative: {value}")
        return f"{round(value * 1e9)}ns"
    return str(value)


def data_of(value: object) -> object:
    """Bytes as the data of a step; a recipe (`{"random": "1MB", "seed": 7}`) stays one."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Data(bytes(value), hex=True)
    if isinstance(value, str):
        raise TypeError("a bytes-like object is required, not 'str'")
    return value


def step_of(do: str, keys: Mapping[str, Any], place: Place) -> Step:
    """The step `do`. Raises `ScenarioError` with all that is wrong with its keys."""
    cls = STEPS.get(do)
    if cls is None:
        raise ScenarioError([Problem(place, do, f"no such step; allowed: {', '.join(STEPS)}")])
    given = {name.removesuffix("_"): value for name, value in keys.items() if value is not None}
    for name in _TIMES:
        if name in given and (name != "value" or do == "settimeout"):
            given[name] = time_text(given[name])
    if "data" in given:
        given["data"] = data_of(given["data"])
    step: Step = _typed(cls, {"do": do, **given}, place, do)
    step.placed(place, f"net.{do}")
    return step


def check_of(check: str | Mapping[str, Any], keys: Mapping[str, Any], place: Place, path: str) -> Check:
    """A check by its name and keys, or as the mapping of the YAML; `from_` is its key `from`."""
    given = {**(check if isinstance(check, Mapping) else {"check": check}), **keys}
    given = {name.removesuffix("_"): value for name, value in given.items() if value is not None}
    name = given.get("check")
    cls = CHECKS.get(name) if isinstance(name, str) else None
    if cls is None:
        text = f"{name!r} is not a check; allowed: {', '.join(CHECKS)}{did_you_mean(name, CHECKS)}"
        raise ScenarioError([Problem(place, "check", text)])
    found: Check = _typed(cls, given, place, cls.model_fields["check"].default)
    found.placed(place, path)
    return found


def _typed(cls: type[Model], keys: dict[str, Any], place: Place, what: str) -> Any:
    problems: list[Problem] = []
    opaque = {name: value for name, value in keys.items() if isinstance(value, Data)}
    root = tree_of({**keys, **dict.fromkeys(opaque, "")}, place, problems, (what,))
    filled = fill(root, None)
    filled.data |= opaque
    model, found = validate(cls, filled, Locator(root))
    said = {one.path for one in problems}
    for one in found:
        path = f"{what}.{one.path}" if one.path else what
        if path not in said:
            problems.append(Problem(one.place, path, one.text))
    if problems or model is None:
        raise ScenarioError(problems or [Problem(place, what, "cannot be read")])
    return model
