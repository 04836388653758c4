"""Frames and capture files for the tests of the evidence, byte by byte and without the code under test."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from socket import AF_INET6, inet_aton, inet_pton

from lab.attachment import attach_at
from lab.evidence.model import (
    DropCount,
    Endpoint,
    HostFacts,
    QueueCount,
    Records,
    StateSample,
    StepRecord,
    WireEvent,
    WireFacts,
)
from lab.evidence.reader import read_capture
from lab.evidence.trace import Trace
from lab.link import UNIMPAIRED, Impairment, Link
from lab.place import Place
from lab.units import Duration, Percent, Rate

T0 = 1_700_000_000_000_000_000
MS = 1_000_000
HOSTS = {"client": "198.18.1.10", "server": "198.18.1.11", "third": "198.18.1.12"}
MACS = {name: f"02:c6:12:01:00:{10 + i:02x}" for i, name in enumerate(HOSTS)}
WIRE_MAC = "02:c6:12:01:00:02"
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(payload: bytes, *, kind: int = 0x0800, source: str = WIRE_MAC, target: str = WIRE_MAC) -> bytes:
    return mac(target) + mac(source) + struct.pack(">H", kind) + payload


def ipv4(
    payload: bytes,
    source: str,
    target: str,
    *,
    protocol: int = 6,
    ip_id: int = 0,
    fragment: int = 0x4000,
    ttl: int = 64,
    options: bytes = b"",
    length: int | None = None,
) -> bytes:
    header = 20 + len(options)
    total = header + len(payload) if length is None else length
    head = struct.pack(
        ">BBHHHBBH4s4s",
        0x40 | header // 4,
        0,
        total,
        ip_id,
        fragment,
        ttl,
        protocol,
        0,
        inet_aton(source),
        inet_aton(target),
    )
    return head + options + payload


def ipv6(payload: bytes, source: str, target: str, *, following: int = 6) -> bytes:
    head = struct.pack(">IHBB", 0x60000000, len(payload), following, 64)
    return head + inet_pton(AF_INET6, source) + inet_pton(AF_INET6, target) + payload


def tcp(
    sport: int,
    dport: int,
    seq: int,
    ack: int,
    flags: int,
    payload: bytes = b"",
    *,
    window: int = 500,
    options: bytes = b"",
) -> bytes:
    assert len(options) % 4 == 0
    return (
        struct.pack(">HHIIBBHHH", sport, dport, seq, ack, (20 + len(options)) // 4 << 4, flags, window, 0, 0)
        + options
        + payload
    )


def udp(sport: int, dport: int, payload: bytes) -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload


def pcap(
    path: Path, frames: Iterable[tuple[int, bytes]], *, order: str = "<", nano: bool = True, link: int = 1
) -> Path:
    """(time in ns, frame) of each packet."""
    unit = 1 if nano else 1000
    data = struct.pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, 262144, link)
    for t_ns, frame in frames:
        seconds, rest = divmod(t_ns, 10**9)
        data += struct.pack(order + "IIII", seconds, rest // unit, len(frame), len(frame)) + frame
    path.write_bytes(data)
    return path


class Net:
    """Two captures of one story: what `source` sends, and what becomes of it on its way to `target`."""

    def __init__(self, hosts: Iterable[str] = ("client", "server")) -> None:
        self.frames: dict[str, list[tuple[int, bytes]]] = {name: [] for name in hosts}

    def packet(
        self,
        source: str,
        target: str,
        at_ms: float,
        transport: bytes,
        *,
        delay_ms: float | None = 5.0,
        copies_ms: Iterable[float] = (),
        ip_id: int = 0,
        protocol: int = 6,
        flip: int | None = None,
        fragment: int = 0x4000,
    ) -> None:
        """Sends at `at_ms`; `delay_ms` None: it is lost; `flip`: this bit, counted in the IP payload."""
        sent_ns = T0 + round(at_ms * MS)
        out = ipv4(transport, HOSTS[source], HOSTS[target], ip_id=ip_id, protocol=protocol, fragment=fragment)
        if source in self.frames:
            self.frames[source].append((sent_ns, ethernet(out, source=MACS[source])))
        arrived = bytearray(transport)
        if flip is not None:
            arrived[flip // 8] ^= 1 << flip % 8
        into = ipv4(
            bytes(arrived),
            HOSTS[source],
            HOSTS[target],
            ip_id=ip_id,
            protocol=protocol,
            ttl=63,
            fragment=fragment,
        )
        for delay in [*([] if delay_ms is None else [delay_ms]), *copies_ms]:
            self.frames[target].append((sent_ns + round(delay * MS), ethernet(into, target=MACS[target])))

    def trace(self, folder: Path, records: Records | None = None) -> Trace:
        captures = {}
        for name, frames in self.frames.items():
            path = pcap(folder / f"{name}.pcap", sorted(frames, key=lambda item: item[0]))
            captures[name] = read_capture(path, name)
        return Trace(captures, records or records_of())


def side(**keys: str | int) -> Impairment:
    """An impairment in the words of a scenario."""
    values: dict[str, object] = {}
    for key, value in keys.items():
        if isinstance(value, int) or key == "distribution":
            values[key] = value
        elif key in ("delay", "jitter"):
            values[key] = Duration.parse(value)
        else:
            values[key] = Rate.parse(value) if key == "rate" else Percent.parse(value)
    return Impairment(**values)  # type: ignore[arg-type]


def records_of(
    *,
    up: Impairment = UNIMPAIRED,
    down: Impairment = UNIMPAIRED,
    events: Iterable[WireEvent] = (),
    drops: Iterable[DropCount] = (),
    queues: Iterable[QueueCount] = (),
    steps: Iterable[tuple[str, float, float]] = (),
    end_ms: float = 10_000,
    hosts: Iterable[str] = ("client", "server"),
) -> Records:
    """`up` is the client's way out, `down` the server's way in: the path from client to server."""
    links = {"client": Link(up=up), "server": Link(down=down)}
    wire = WireFacts("kernel", "", "", "198.18.1.2", WIRE_MAC, drops=tuple(drops), queues=tuple(queues))
    final = StateSample(
        "client", T0 + round(end_ms * MS), "tcp", Endpoint("0.0.0.0", 0), None, "GONE", 0, 0, final=True
    )
    return Records(
        {
            name: HostFacts(
                name, (attach_at(name, HOSTS[name], MACS[name], links.get(name, Link())),), {}, "6.1"
            )
            for name in hosts
        },
        wire,
        states=(final,),
        wire_events=tuple(events),
        steps=tuple(
            StepRecord(
                step,
                "link",
                Place("x.yml", 1, 1),
                None,
                T0 + round(begin * MS),
                T0 + round(end * MS),
                round(begin * MS),
                round(end * MS),
            )
            for step, begin, end in steps
        ),
    )
