"""The logs of a run folder: what the lab did and when, what the wire was told, what the services wrote.

People read them in terminals, so none holds anybody's control characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lab.evidence.model import CallRecord, Json, Records, RunRecord, StateSample, StepRecord, WireEvent
from lab.harmless import document, printed
from lab.result import Phase
from lab.session.events import Event, Events, Said, StepBegan
from lab.verdict import Finding


@contextmanager
def log_to(path: Path, events: Events) -> Iterator[None]:
    """Writes each event of the block, with the seconds since the lab began."""
    with path.open("w", encoding="utf-8") as file:

        def listen(event: Event) -> None:
            file.write(f"{events.seconds():9.4f}  {document(_line(event))}\n")
            file.flush()  # what a lab logged survives if it is killed

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


def log_services(records: Records, folder: Path) -> None:
    """`<host>-<service>.log`: what each service wrote, with the engine's stamps."""
    for host, service in dict.fromkeys((one.host, one.service) for one in records.services):
        name = host if service == host else f"{host}-{service}"
        with (folder / f"{name}.log").open("w", encoding="utf-8") as file:
            for line in records.logs:
                if (line.host, line.service) == (host, service):
                    when = datetime.fromtimestamp(line.wall_ns / 1e9, UTC).isoformat(timespec="microseconds")
                    file.write(f"{when} {line.stream} {printed(line.text)}\n")


def log_commands(commands: Iterable[Mapping[str, Json]], path: Path) -> None:
    """What tc, ip and the shells of the wire were told, and what they said."""
    with path.open("w", encoding="utf-8") as log:
        for command in commands:
            log.write(f"{command['program']}, {command['duration_ms']} ms, status {command['status']}\n")
            for mark, text in (("<", command["input"]), (">", command["output"])):
                log.writelines(f"{mark} {line}\n" for line in printed(str(text)).splitlines())
