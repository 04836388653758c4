"""Small evidence made by hand: a network of two or three hosts told packet by packet, kept as real pcapng."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from lab.attachment import attach_at
from lab.checks import judge
from lab.checks.common import Context
from lab.evidence.model import (
    CallError,
    CallRecord,
    CaptureFacts,
    Endpoint,
    HostFacts,
    Json,
    Records,
    RunRecord,
    StateSample,
    StreamRecord,
)
from lab.evidence.pcapng_write import PcapngWriter
from lab.evidence.reader import read_capture
from lab.evidence.store import Evidence
from lab.link import Impairment, Link
from lab.scenario.checks import parse_check
from lab.units import Duration
from lab.verdict import Finding

T0 = 1_700_000_000_000_000_000  #: the moment 0 of every story, CLOCK_REALTIME
MS = 1_000_000
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16}
ADDRESSES = {"client": "198.18.0.10", "server": "198.18.0.11", "third": "198.18.0.12"}
WIRE_ADDRESS = "198.18.0.2"


def checksum(data: bytes) -> int:
    """Of the Internet: a sum of 16-bit words with its carries added again is a remainder of 65,535."""
    total = int.from_bytes(data + b"\0" * (len(data) % 2))
    return 0xFFFF - (total % 0xFFFF or min(total, 0xFFFF))


def ip_bytes(address: str) -> bytes:
    return bytes(map(int, address.split(".")))


def mac(address: str) -> bytes:
    return b"\x02\xc6\x12\0\0" + ip_bytes(address)[3:]


def ip_frame(source: str, target: str, protocol: int, body: bytes, ip_id: int, ttl: int) -> bytes:
    """As it leaves a host (TTL 64) for the wire, or as it comes from there."""
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), ip_id, 0x4000, ttl, protocol, 0,
        ip_bytes(source), ip_bytes(target),
    )  # fmt: skip
    head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    ethernet = mac(WIRE_ADDRESS) + mac(source) if ttl == 64 else mac(target) + mac(WIRE_ADDRESS)
    return ethernet + b"\x08\x00" + head + body


def tcp_body(
    source: str, target: str, sport: int, dport: int, seq: int, ack: int, flags: int, data: bytes
) -> bytes:
    head = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 64240, 0, 0)
    pseudo = ip_bytes(source) + ip_bytes(target) + struct.pack(">BBH", 0, 6, len(head) + len(data))
    return head[:16] + struct.pack(">H", checksum(pseudo + head + data)) + head[18:] + data


def udp_body(source: str, target: str, sport: int, dport: int, data: bytes) -> bytes:
    head = struct.pack(">HHHH", sport, dport, 8 + len(data), 0)
    pseudo = ip_bytes(source) + ip_bytes(target) + struct.pack(">BBH", 0, 17, len(head) + len(data))
    return head[:6] + struct.pack(">H", checksum(pseudo + head + data) or 0xFFFF) + data


@dataclass
class Story:
    """What happened on the network; times in ms since the beginning.

    `delay` is the one-way time of every packet unless it says its own.
    """

    folder: Path
    hosts: tuple[str, ...] = ("client", "server")
    delay: float = 10.0
    sysctls: Mapping[str, str] = field(default_factory=dict)
    captured: tuple[str, ...] | None = None  #: hosts with a capture; None is all
    until: float | None = None  #: a last packet, of no matter, at this time: the captures go on until then
    more: dict[str, Any] = field(default_factory=dict)  #: fields of `Records`
    frames: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def put(
        self, at: float, source: str, target: str, protocol: int, body: bytes, delay: float | None,
        lost: bool, copies: int,
    ) -> None:  # fmt: skip
        number = next(self.ids) & 0xFFFF
        a, b = ADDRESSES[source], ADDRESSES[target]
        self._frame(source, at, ip_frame(a, b, protocol, body, number, 64))
        if lost:
            return
        late = self.delay if delay is None else delay
        for copy in range(1 + copies):
            self._frame(target, at + late + copy / 10, ip_frame(a, b, protocol, body, number, 63))

    def _frame(self, host: str, at: float, frame: bytes) -> None:
        self.frames.setdefault(host, []).append((T0 + round(at * MS), frame))

    def tcp(
        self, at: float, source: str, target: str, flags: str, *, sport: int = 40000, dport: int = 8001,
        seq: int = 0, ack: int = 0, data: bytes = b"", delay: float | None = None, lost: bool = False,
        copies: int = 0,
    ) -> None:  # fmt: skip
        """One segment; the ports are the sender's and the receiver's."""
        bits = sum(FLAGS[flag] for flag in flags)
        a, b = ADDRESSES[source], ADDRESSES[target]
        body = tcp_body(a, b, sport, dport, seq % 2**32, ack % 2**32, bits, data)
        self.put(at, source, target, 6, body, delay, lost, copies)

    def udp(
        self, at: float, source: str, target: str, data: bytes, *, sport: int = 5000, dport: int = 9000,
        delay: float | None = None, lost: bool = False, copies: int = 0,
    ) -> None:  # fmt: skip
        body = udp_body(ADDRESSES[source], ADDRESSES[target], sport, dport, data)
        self.put(at, source, target, 17, body, delay, lost, copies)

    def evidence(self) -> Evidence:
        """Written as pcapng and read again, as a run's captures are."""
        last = {host: list(self.frames.get(host, [])) for host in self.hosts}
        if self.until is not None:
            for name, host in ADDRESSES.items():
                if name in last:
                    body = udp_body(host, WIRE_ADDRESS, 1, 1, b"")
                    frame = ip_frame(host, WIRE_ADDRESS, 17, body, 0, 64)
                    last[name].append((T0 + round(self.until * MS), frame))
        captures = {}
        for host in self.hosts if self.captured is None else self.captured:
            path = self.folder / f"{host}.pcapng"
            with PcapngWriter(path) as writer:
                interface = writer.interface(host)
                for t_ns, frame in sorted(last[host], key=lambda item: item[0]):
                    writer.packet(interface, t_ns, frame)
            captures[host] = read_capture(path, host)
        return Evidence(self.records(tuple(captures)), captures)

    def records(self, captured: tuple[str, ...] = ()) -> Records:
        half = Duration(round(self.delay * MS / 2))
        link = Link(Impairment(delay=half), Impairment(delay=half))
        facts = {
            host: HostFacts(
                host,
                (attach_at(host, ADDRESSES[host], f"02:c6:12:00:00:{n:02x}", link),),
                self.sysctls,
                "6.18",
            )
            for n, host in enumerate(self.hosts, 10)
        }
        files = tuple(CaptureFacts(host, 1, f"pcap/{host}.pcapng", "eth0", 0, 0) for host in captured)
        return Records(**{"hosts": facts, "wire": None, "captures": files, **self.more})


@dataclass
class Connection:
    """One TCP connection of a story, with the sequence numbers of both ends kept."""

    story: Story
    sport: int = 40000
    dport: int = 8001
    client: str = "client"
    server: str = "server"
    seq: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seq = {self.client: 1000 + self.sport, self.server: 900_000}

    def send(self, at: float, who: str, flags: str, data: bytes = b"", **more: Any) -> None:
        """A segment that acknowledges all that the other has sent; `again=True` does not advance."""
        other = self.server if who == self.client else self.client
        ports = (self.sport, self.dport) if who == self.client else (self.dport, self.sport)
        seq = more.pop("seq", self.seq[who])
        ack = more.pop("ack", self.seq[other] if "A" in flags else 0)
        again = more.pop("again", False)
        self.story.tcp(
            at, who, other, flags, sport=ports[0], dport=ports[1], seq=seq, ack=ack, data=data, **more
        )
        if not again:
            self.seq[who] = seq + len(data) + ("S" in flags) + ("F" in flags)

    def handshake(self, at: float = 0.0) -> float:
        """SYN, SYN-ACK, ACK; when the third packet is there."""
        step = self.story.delay
        self.send(at, self.client, "S")
        self.send(at + step, self.server, "SA")
        self.send(at + 2 * step, self.client, "A")
        return at + 3 * step

    def data(self, at: float, who: str, data: bytes) -> float:
        other = self.server if who == self.client else self.client
        self.send(at, who, "PA", data)
        self.send(at + self.story.delay, other, "A")
        return at + 2 * self.story.delay

    def close(self, at: float, first: str, segments: int = 4) -> float:
        """FIN, ACK, FIN, ACK; or FIN, FIN with ACK, ACK."""
        other = self.server if first == self.client else self.client
        step = self.story.delay
        self.send(at, first, "FA")
        if segments == 4:
            self.send(at + step, other, "A")
            self.send(at + step + 5, other, "FA")
            self.send(at + 2 * step + 5, first, "A")
            return at + 3 * step + 5
        self.send(at + step, other, "FA")
        self.send(at + 2 * step, first, "A")
        return at + 3 * step


def say(evidence: Evidence, **keys: Any) -> Finding:
    """The finding of one check, written as its YAML keys; `from_` is `from`."""
    named = {key.removesuffix("_"): value for key, value in keys.items()}
    return judge(parse_check(named), evidence, Context.of(evidence.records))


def call(
    step: str, do: str, host: str = "client", *, at: float = 0.0, took: float = 1.0,
    data: bytes | None = None, error: CallError | str | None = None, result: Json = None,
    socket: str | None = "c", process: str = "main", **more: Any,
) -> CallRecord:  # fmt: skip
    """A call's record; times in ms, both clocks alike."""
    start, end = round(at * MS), round((at + took) * MS)
    failure = CallError(error, 110, "it failed") if isinstance(error, str) else error
    if data is not None:
        more = {"data": data, "length": len(data), "sha256": sha256(data).hexdigest(), **more}
    return CallRecord(
        step=step, host=host, process=process, call=do, arguments=more.pop("arguments", {}), socket=socket,
        fd=3, kind=more.pop("kind", "tcp"), start_mono_ns=start, end_mono_ns=end, start_wall_ns=T0 + start,
        end_wall_ns=T0 + end, result=result, error=failure, **more,
    )  # fmt: skip


def program(
    step: str, code: int | None = 0, stdout: str = "", stderr: str = "", *, host: str = "client",
    error: str | None = None, took: float = 1.0, ended_by: str | None = None,
) -> RunRecord:  # fmt: skip
    end = round(took * MS)
    times = (0, end, T0, T0 + end)
    return RunRecord(step, host, ("tool",), code, stdout, stderr, *times, error, ended_by=ended_by)


def sample(
    host: str,
    state: str,
    *,
    at: float = 0.0,
    local: int = 40000,
    remote: int | None = 8001,
    final: bool = False,
) -> StateSample:
    """A socket of client or server to the other one, as seen at a time in ms."""
    other = "server" if host == "client" else "client"
    far = None if remote is None else Endpoint(ADDRESSES[other], remote)
    near = Endpoint(ADDRESSES[host] if remote is not None else "0.0.0.0", local)
    return StateSample(host, T0 + round(at * MS), "tcp", near, far, state, 0, 0, final)


def stream(
    host: str, sent: bytes, received: bytes, *, client: int = 40000, server: int = 8001
) -> StreamRecord:
    """What the application of client or server sent and received on a connection between the two."""
    ends = {"client": Endpoint(ADDRESSES["client"], client), "server": Endpoint(ADDRESSES["server"], server)}
    other = "server" if host == "client" else "client"
    return StreamRecord(
        host, "main", "c", ends[host], ends[other], len(sent), sha256(sent).hexdigest(), len(received),
        sha256(received).hexdigest(),
    )  # fmt: skip
