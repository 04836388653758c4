"""A lab's events as lines of a file, for whoever asks later what the lab was doing when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.evidence.model import CallRecord, RunRecord, StateSample, StepRecord, WireEvent
from lab.harmless import document
from lab.result import Phase
from lab.session.events import Event, Events, Said, StepBegan
from lab.verdict import Finding


@contextmanager
def log_to(path: Path, events: Events) -> Iterator[None]:
    """Writes each event of the block, with the seconds since the lab began."""
    with path.open("w", encoding="utf-8") as file:

        def listen(event: Event) -> None:
            file.write(f"{events.seconds():9.4f}  {document(_line(event))}\n")
            file.flush()  # a lab that is killed leaves what it said

        with events.to(listen):
            yield


def _line(event: Event) -> str:
    match event:
        case Said():
            return event.text
        case Phase():
            return f"{event.name}: {event.seconds:.4f} s"
        case StepBegan():
            return f"{event.step} {event.do} begins ({event.place})"
        case StepRecord():
            return f"{event.step} {event.do} ends"
        case CallRecord():
            outcome = event.error.name if event.error is not None else "returned"
            return f"{event.step} {event.host} {event.call}: {outcome}"
        case RunRecord():
            return (
                f"{event.step} {event.host} {event.command[0]!r}: {event.error or f'exit {event.exit_code}'}"
            )
        case StateSample():
            return f"{event.step} {event.host} {event.local} to {event.remote}: {event.state}"
        case WireEvent():
            where = event.host or event.rule or "-".join(event.between or ())
            return f"wire: {event.action} {where}"
        case Finding():
            return f"{event.source} {event.name}: {event.verdict.value} {event.reason}".rstrip()
