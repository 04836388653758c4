"""The diagram as Mermaid `sequenceDiagram` text, for Markdown pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from lab.harmless import clean, document
from lab.quantities import duration, moment
from lab.report.diagram.events import (
    Became,
    Done,
    Entered,
    Happened,
    Left,
    Many,
    Received,
    Returned,
    Sent,
    Silence,
    events,
)
from lab.report.diagram.model import Diagram, Packet, State

#: Characters that would end a line or begin a construct in Mermaid, each with its entity.
_SPECIAL = re.compile(r"[;#<>{}%&\"]")


def render(diagram: Diagram) -> str:
    """Renders hosts as participants, packets as messages, and calls, states and wire events as notes."""
    return document("\n".join(["sequenceDiagram", *(f"    {line}" for line in _lines(diagram))]) + "\n")


def _lines(diagram: Diagram) -> Iterator[str]:
    ids = {host.name: f"h{n}" for n, host in enumerate(diagram.hosts)}
    for name, key in ids.items():
        yield f"participant {key} as {_text(name)}"
    if not ids:
        return
    first, last = next(iter(ids.values())), list(ids.values())[-1]
    over = first if first == last else f"{first},{last}"
    story = list(events(diagram))
    short: set[str] = set()
    for event, following in pairwise([*story, None]):
        assert event is not None
        at = moment(event.t_ns)
        match event:
            case Sent(_, packet):
                yield from _message(packet, ids, at, diagram.tag(packet.flow))
            case Received(_, packet, copy):
                if packet.sent_ns is None:
                    yield from _message(packet, ids, at, diagram.tag(packet.flow))
                elif copy and packet.target in ids:
                    yield f"Note over {ids[packet.target]}: {at} a copy of {_text(packet.label)} arrives"
            case Many(_, bundle):
                source, target = ids.get(bundle.source), ids.get(bundle.target)
                if source and target:
                    detail = f"{diagram.tag(bundle.flow)} {bundle.label}, {bundle.detail}".strip(", ")
                    yield f"{source}->>{target}: {at} {_text(detail)}"
            case Entered(_, call) if isinstance(following, Returned) and following.call is call:
                short.add(call.key)
            case Entered(_, call):
                yield f"Note over {ids[call.host]}: {at} {_text(call.title)}"
            case Returned(_, call):
                failed = " FAIL" if call.failed else ""
                name = call.title if call.key in short else call.title.split("(")[0]
                yield f"Note over {ids[call.host]}: {at} {_text(f'{name} {call.outcome}')}{failed}"
            case Became(_, state):
                if state.host in ids:
                    yield f"Note over {ids[state.host]}: {at} {_state(diagram, state)}"
            case Left(_, state):
                if state.host in ids:
                    yield f"Note over {ids[state.host]}: {at} {_state(diagram, state)} ends"
            case Happened(_, moment_):
                if moment_.host in ids:
                    yield f"Note over {ids[moment_.host]}: {at} {_text(moment_.text)}"
            case Done(_, band):
                yield f"Note over {over}: {at} {_text(band.text)}"
            case Silence(_, words):
                yield f"Note over {over}: … {_text(words)} …"
    for flow in diagram.flows:
        if flow.tag:
            yield f"Note over {over}: {flow.tag} is {_text(flow.name)} ({_text(flow.protocol)})"
    for sentence in diagram.omitted:
        yield f"Note over {over}: {_text(sentence)}"


def _state(diagram: Diagram, state: State) -> str:
    return _text(f"{diagram.tag(state.flow)} {state.label}".strip())


def _message(packet: Packet, ids: dict[str, str], at: str, tag: str) -> Iterator[str]:
    text = " ".join(part for part in (tag, packet.label, packet.payload, packet.note) if part)
    source, target = ids.get(packet.source), ids.get(packet.target)
    if source is None or target is None:
        here = source or target
        if here is not None:
            way = "to" if source else "from"
            yield f"Note over {here}: {at} {way} the wire: {_text(text)}"
        return
    if packet.stops_at_wire:
        yield f"{source}-x{target}: {at} {_text(f'{text} ({packet.outcome})')}"
        return
    arrow = "-->>" if packet.kind == "ack" else "->>"
    took = "" if packet.delay_ns is None else f" (+{duration(packet.delay_ns)})"
    why = f" ({packet.outcome})" if packet.discarded else ""
    yield f"{source}{arrow}{target}: {at} {_text(text + why)}{took}"


def _text(text: str) -> str:
    return _SPECIAL.sub(lambda match: f"#{ord(match[0])};", clean(text))
