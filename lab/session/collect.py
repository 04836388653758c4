"""After the steps: states, counters, streams and captures of all hosts, and what the wire counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from lab.evidence.model import (
    CaptureFacts,
    CounterRecord,
    HostFacts,
    Records,
    StateSample,
    StreamRecord,
    WireFacts,
)
from lab.evidence.packets import Capture
from lab.evidence.pcapng_write import convert
from lab.evidence.store import Evidence, write_records
from lab.files import CAPTURE
from lab.session.folder import RunFolder
from lab.session.log import log_commands, log_services
from lab.session.record import Record
from lab.session.testbed import Boot, Testbed, in_parallel
from lab.tolerance import Tolerance

Counters = Mapping[str, int]


@dataclass
class _OfHost:
    """The evidence of one host, over all its boots."""

    states: list[StateSample] = field(default_factory=list)
    streams: list[StreamRecord] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    captures: tuple[CaptureFacts, ...] = ()
    packets: Capture | None = None


def read_counters(bed: Testbed) -> dict[str, Counters]:
    """The current kernel counters of every host, read in parallel."""
    found: dict[str, Counters] = {}
    lock = threading.Lock()

    def read(name: str) -> None:
        counters = bed.host(name).counters()
        with lock:
            found[name] = counters

    in_parallel([(name, partial(read, name)) for name in bed.on()])
    return found


def collect(
    bed: Testbed,
    record: Record,
    before: Mapping[str, Counters],
    tolerance: Tolerance,
    folder: RunFolder,
    *,
    final: bool = True,
) -> Evidence:
    """Everything of the lab, written into its folder: `events.jsonl` and `pcap/<host>.pcapng`.

    The captures end with it, unless it is not the `final` one.
    """
    found = {name: _OfHost() for name in bed.boots}
    wires: list[WireFacts] = []
    jobs = [(name, partial(_read_host, bed, name, found[name], folder, final)) for name in bed.boots]
    in_parallel([("wire", lambda: wires.append(bed.wire.facts())), *jobs])
    (wire,) = wires
    records = Records(
        hosts=_host_facts(bed),
        wire=wire,
        tolerance=tolerance,
        steps=tuple(sorted(record.steps, key=lambda step: step.start_mono_ns)),
        calls=tuple(record.calls.values()),
        runs=tuple(record.runs.values()),
        streams=tuple(stream for one in found.values() for stream in one.streams),
        states=tuple(
            sorted(
                (*record.states, *(s for one in found.values() for s in one.states)), key=lambda s: s.wall_ns
            )
        ),
        counters={
            name: CounterRecord(name, before.get(name, {}), dict(one.counters)) for name, one in found.items()
        },
        services=bed.services.records(),
        logs=bed.services.lines(),
        wire_events=tuple(bed.wire.events),
        captures=tuple(facts for one in found.values() for facts in one.captures),
    )
    write_records(folder.path, records)
    log_services(records, folder.logs)
    log_commands(wire.commands, folder.logs / "wire.log")
    return Evidence(records, {name: one.packets for name, one in found.items() if one.packets is not None})


def _read_host(bed: Testbed, name: str, found: _OfHost, folder: RunFolder, final: bool) -> None:
    """All boots of one host; the counters of a fresh boot begin at 0, so they add up."""
    for boot in bed.boots[name]:
        if boot.power_off is not None:
            found.states += boot.power_off.states
            found.streams += boot.power_off.streams
            found.counters.update(boot.power_off.counters)
        else:
            at_the_end = boot.host.final_states()
            found.counters.update(boot.host.counters())
            found.states += boot.host.states() + at_the_end
            found.streams += boot.host.streams()
            if final:
                boot.capture = boot.host.stop_capture(len(bed.boots[name]))
    found.captures, found.packets = _read_capture(bed, name, folder)


def _read_capture(bed: Testbed, name: str, folder: RunFolder) -> tuple[tuple[CaptureFacts, ...], Capture]:
    """The files of tcpdump become one pcapng, an interface for each boot."""
    target = folder.pcaps / f"{name}.pcapng"
    raw: dict[int, Path] = {}
    facts: list[CaptureFacts] = []
    for boot in bed.boots[name]:
        capture = boot.capture or boot.host.capture_so_far(len(bed.boots[name]))
        number = capture.boot
        raw[number] = folder.pcaps / f".{name}-{number}.pcap"
        _fetch_capture(bed, boot, capture.path, raw[number])
        facts.append(replace(capture, path=target.relative_to(folder.path).as_posix()))
    try:
        return tuple(facts), convert(name, raw, target)
    finally:
        for path in raw.values():
            path.unlink()


def _fetch_capture(bed: Testbed, boot: Boot, path: str, target: Path) -> None:
    """A small one comes by the agent, which is quick; a large one from the engine, piece by piece."""
    small = boot.host.small_file(path) if boot.power_off is None else None
    with target.open("wb") as file:
        if small is not None:
            file.write(small)
        else:
            bed.engine.copy_out(boot.container, path, file, CAPTURE)


def _host_facts(bed: Testbed) -> dict[str, HostFacts]:
    readbacks = {name: boots[0].readback for name, boots in bed.boots.items()}
    return {
        name: HostFacts(name, (bed.attachments[name],), readbacks[name].sysctls, readbacks[name].kernel)
        for name in bed.plan.hosts
    }
