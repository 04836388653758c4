"""The words of calls and moments in a narrow drawing: a line at each begin and end, in the gap beside it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from msgspec import Struct

from lab.report.diagram.geometry import end_of, one_line
from lab.report.diagram.model import Call, Diagram
from lab.report.diagram.shapes import Metrics
from lab.report.text import cut, folded


class Said(Struct, frozen=True):
    host: str
    t_ns: int
    lines: tuple[str, ...]
    cls: str


def saying(diagram: Diagram, m: Metrics) -> Iterator[Said]:
    """The words to draw; a call during which nothing else is drawn takes one line, if it fits."""
    room = int(((m.gap_many if len(diagram.hosts) > 2 else m.gap) - 16) / m.said_char)
    busy = sorted(
        t
        for times in (
            ((p.sent_ns, p.received_ns) for p in diagram.packets),
            ((c.start_ns, c.end_ns) for c in diagram.calls),
            ((m.t_ns,) for m in diagram.moments),
        )
        for pair in times
        for t in pair
        if t is not None
    )
    for call in diagram.calls:
        cls = "c-failed" if call.failed else "c-error" if call.is_error else "c-ok"
        end = end_of(call.end_ns, diagram)
        verdict = " FAIL" if call.failed else ""
        alone = bisect_left(busy, end) <= bisect_right(busy, call.start_ns)
        whole = f"{one_line(call)}{verdict}"
        if alone and call.end_ns is not None:
            lines: tuple[str, ...] = (f"● {whole}",)
            if len(lines[0]) > room:
                lines = (*folded(f"● {call.title}", room), cut(f"{call.outcome}{verdict}", room))
            yield Said(call.host, call.start_ns, lines, cls)
            continue
        yield Said(call.host, call.start_ns, folded(f"▶ {call.title}", room), "c-ok")
        if call.end_ns is not None:
            yield Said(call.host, call.end_ns, (_returned(call, verdict, room),), cls)
    for moment in diagram.moments:
        cls = "c-error" if moment.is_error else "c-ok"
        yield Said(moment.host, moment.t_ns, folded(f"◆ {moment.text}", room), cls)


def _returned(call: Call, verdict: str, room: int) -> str:
    """The words of a return: name and outcome if they fit, otherwise only the outcome, which is new."""
    outcome = f"{call.outcome}{verdict}".strip()
    name = call.title.split("(")[0]
    text = f"◀ {name} {outcome}"
    return text if len(text) <= room else cut(f"◀ {outcome}", room)
