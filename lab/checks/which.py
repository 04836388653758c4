"""Which of the connections between two ends a check means: those of a socket, the nth, those of a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from lab.checks.calls import uses_socket
from lab.checks.flows import Pair, none_there
from lab.checks.moments import Window
from lab.evidence.store import Evidence
from lab.evidence.trace import Flow
from lab.quantities import plural

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


class Which(Protocol):
    """The keys of a check that tell connections apart."""

    @property
    def socket(self) -> str | None: ...
    @property
    def process(self) -> str | None: ...
    @property
    def nth(self) -> int | None: ...


def ordinal(number: int) -> str:
    """`second`; `11th` from eleven on."""
    if number <= len(_ORDINALS):
        return _ORDINALS[number - 1]
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


class Chosen(Struct, frozen=True):
    """The flows that are meant, and what to say where there are none."""

    flows: list[Flow]
    reason: str = ""


def picks(check: Which) -> bool:
    """Does the check mean only some of the connections?"""
    return check.socket is not None or check.nth is not None


def choose(check: Which, flows: Sequence[Flow], pair: Pair, evidence: Evidence) -> Chosen:
    """Of the flows between two ends, in order of time, those of the check's socket, and the nth of them."""
    found = list(flows)
    of = str(pair)
    if check.socket is not None:
        host = pair.source.host or ""
        name = (check.process or "main", check.socket)
        later = _later(evidence.trace.flows)
        found = [
            flow
            for flow in found
            if uses_socket(flow, later.get(flow.number, ()), host, name, evidence.records)
        ]
        process = f" (process {check.process})" if check.process is not None else ""
        of = f"of socket {check.socket}{process} {pair}"
        if flows and not found:
            return Chosen([], f"none of the {plural(len(flows), 'connection')} {pair} is one {of}")
    if check.nth is not None and found:
        tcp = [flow for flow in found if flow.protocol == "tcp"]
        if len(tcp) < check.nth:
            there = plural(len(tcp), "connection")
            return Chosen([], f"there is no {ordinal(check.nth)} connection {of}: the captures hold {there}")
        found = [tcp[check.nth - 1]]
    return Chosen(found, "" if found else none_there(pair, evidence))


def _later(flows: Sequence[Flow]) -> dict[int, list[Flow]]:
    """By the number of a flow: those that had its four numbers afterwards."""
    found: dict[int, list[Flow]] = {}
    for flow in flows:
        before = flow.previous
        while before is not None:
            found.setdefault(before, []).append(flow)
            before = flows[before].previous
    return found


def within(chosen: Chosen, window: Window, when: Callable[[Flow], int | None], what: str) -> Chosen:
    """Those of which `when` (None: never) lies in the window; `what` they did then: `was opened`."""
    if window.whole or not chosen.flows:
        return chosen
    found = [flow for flow in chosen.flows if (at := when(flow)) is not None and window.holds(at)]
    if found:
        return Chosen(found)
    return Chosen([], f"none of {plural(len(chosen.flows), 'connection')} {what}{window.text}")
