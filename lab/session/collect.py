"""After the steps: states, counters, streams and captures of all hosts, and what the wire counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from lab.evidence.model import (
    CaptureFacts,
    CounterRecord,
    HostFacts,
    Json,
    Records,
    StateSample,
    StreamRecord,
    WireFacts,
)
from lab.evidence.packets import Capture
from lab.evidence.pcapng_write import convert
from lab.evidence.store import Evidence, write_records
from lab.runner.folder import RunFolder
from lab.session.plan import place
from lab.session.record import Record
from lab.session.testbed import Life, Testbed, in_parallel
from lab.tolerance import Tolerance

Counters = Mapping[str, int]


@dataclass
class _Told:
    """What one host had to tell, over all its lives."""

    states: list[StateSample] = field(default_factory=list)
    streams: list[StreamRecord] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    facts: tuple[CaptureFacts, ...] = ()
    capture: Capture | None = None


def read_counters(bed: Testbed) -> dict[str, Counters]:
    """The kernel counters of every host now, all at once."""
    found: dict[str, Counters] = {}
    lock = threading.Lock()

    def read(name: str) -> None:
        counters = bed.host(name).counters()
        with lock:
            found[name] = counters

    in_parallel({name: partial(read, name) for name in bed.on()})
    return found


def collect(
    bed: Testbed, record: Record, before: Mapping[str, Counters], tolerance: Tolerance, folder: RunFolder
) -> Evidence:
    """Everything of the case, written into its folder: `events.jsonl` and `pcap/<host>.pcapng`."""
    told = {name: _Told() for name in bed.lives}
    wires: list[WireFacts] = []
    jobs = {name: partial(_listen, bed, name, told[name], folder) for name in bed.lives}
    in_parallel({"wire": lambda: wires.append(bed.wire.facts()), **jobs})
    (wire,) = wires
    records = Records(
        hosts=_host_facts(bed),
        wire=wire,
        tolerance=tolerance,
        steps=tuple(sorted(record.steps, key=lambda step: step.start_mono_ns)),
        calls=tuple(record.calls.values()),
        runs=tuple(record.runs.values()),
        streams=tuple(stream for one in told.values() for stream in one.streams),
        states=tuple(sorted((s for one in told.values() for s in one.states), key=lambda s: s.wall_ns)),
        counters={
            name: CounterRecord(name, before.get(name, {}), dict(one.counters)) for name, one in told.items()
        },
        wire_events=tuple(bed.wire.events),
        captures=tuple(facts for one in told.values() for facts in one.facts),
    )
    write_records(folder.path, records)
    _log_commands(wire.commands, folder.logs / "wire.log")
    return Evidence(records, {name: one.capture for name, one in told.items() if one.capture is not None})


def _listen(bed: Testbed, name: str, told: _Told, folder: RunFolder) -> None:
    """All lives of one host; the counters of a fresh boot begin at 0, so they add up."""
    for life in bed.lives[name]:
        if life.remains is not None:
            told.states += life.remains.states
            told.streams += life.remains.streams
            told.counters.update(life.remains.counters)
        else:
            final = life.host.final_states()
            told.counters.update(life.host.counters())
            told.states += life.host.states() + final
            told.streams += life.host.streams()
            life.capture = life.host.stop_capture(len(bed.lives[name]))
    told.facts, told.capture = _capture(bed, name, bed.lives[name], folder)


def _capture(
    bed: Testbed, name: str, lives: list[Life], folder: RunFolder
) -> tuple[tuple[CaptureFacts, ...], Capture]:
    """The files of tcpdump become one pcapng, an interface for each boot."""
    target = folder.pcaps / f"{name}.pcapng"
    raw: dict[int, Path] = {}
    facts: list[CaptureFacts] = []
    for life in lives:
        assert life.capture is not None
        boot = life.capture.boot
        raw[boot] = folder.pcaps / f".{name}-{boot}.pcap"
        small = life.host.small_file(life.capture.path) if life.remains is None else None
        content = bed.engine.read_file(life.container, life.capture.path) if small is None else small
        raw[boot].write_bytes(content)
        facts.append(replace(life.capture, path=target.relative_to(folder.path).as_posix()))
    try:
        return tuple(facts), convert(name, raw, target)
    finally:
        for path in raw.values():
            path.unlink()


def _log_commands(commands: Iterable[Mapping[str, Json]], path: Path) -> None:
    """What tc, ip and the shells of the wire were told, and what they said."""
    with path.open("w", encoding="utf-8") as log:
        for command in commands:
            log.write(f"{command['program']}, {command['duration_ms']} ms, status {command['status']}\n")
            for mark, text in (("<", command["input"]), (">", command["output"])):
                log.writelines(f"{mark} {line}\n" for line in str(text).splitlines())


def _host_facts(bed: Testbed) -> dict[str, HostFacts]:
    facts: dict[str, HostFacts] = {}
    for plan in bed.plan.hosts:
        readback = bed.lives[plan.name][0].readback
        where = place(bed.subnet, plan.number)
        facts[plan.name] = HostFacts(
            plan.name, str(where.address), where.mac, plan.link, readback.sysctls, readback.kernel
        )
    return facts
