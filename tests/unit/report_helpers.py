"""Run folders for the report's tests: captures written frame by frame, with the records that go with them."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from socket import inet_aton

from lab.attachment import attach_at
from lab.evidence.flags import ACK, FIN, PSH, RST, SYN
from lab.evidence.model import (
    CallError,
    CallRecord,
    CaptureFacts,
    CounterRecord,
    DropCount,
    Endpoint,
    HostFacts,
    Json,
    LinkProof,
    Records,
    RunRecord,
    StateSample,
    StepRecord,
    StreamRecord,
    WireEvent,
    WireFacts,
)
from lab.evidence.pcapng_write import PcapngWriter
from lab.evidence.store import Evidence, load_evidence, write_records
from lab.link import Impairment, Link
from lab.place import Place
from lab.report import write_reports
from lab.result import Environment, ErrorFacts, ImageFacts, Phase, Result, write_result
from lab.units import Duration, Percent, Rate
from lab.verdict import Finding, PacketRef, Verdict
from tests.unit.check_helpers import checksum

MS = 1_000_000
ZERO = 1_732_285_000_000_000_000
WIRE_ADDRESS = "198.18.7.2"
_WIRE_MAC = b"\x02\xc6\x12\x07\0\x02"


@dataclass
class Story:
    """A case in the making. Times are ms since the first step."""

    hosts: Mapping[str, str]  #: name → address
    links: Mapping[str, Link] = field(default_factory=dict)
    frames: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    calls: list[CallRecord] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    states: list[StateSample] = field(default_factory=list)
    steps: list[StepRecord] = field(default_factory=list)
    events: list[WireEvent] = field(default_factory=list)
    drops: list[DropCount] = field(default_factory=list)
    streams: list[StreamRecord] = field(default_factory=list)
    ip_id: int = 100

    def __post_init__(self) -> None:
        self.frames = {name: [] for name in self.hosts}

    @staticmethod
    def ns(ms: float) -> int:
        return ZERO + round(ms * MS)

    def packet(
        self, source: str, target: str, sent: float | None, received: float | None, protocol: int, l4: bytes
    ) -> None:
        """One IP packet, into the sender's capture and, where it arrives, into the receiver's."""
        self.ip_id = self.ip_id % 65_535 + 1
        src = inet_aton(self.hosts.get(source, WIRE_ADDRESS))
        dst = inet_aton(self.hosts.get(target, WIRE_ADDRESS))
        for ttl, at, host in ((64, sent, source), (63, received, target)):
            if at is None or host not in self.frames:
                continue
            head = struct.pack(
                ">BBHHHBBH4s4s", 0x45, 0, 20 + len(l4), self.ip_id, 0x4000, ttl, protocol, 0, src, dst
            )
            head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
            own = b"\x02\xc6\x12\x07\0" + bytes([10 + list(self.hosts).index(host)])
            ends = _WIRE_MAC + own if host == source else own + _WIRE_MAC
            self.frames[host].append((self.ns(at), ends + b"\x08\0" + head + l4))

    def tcp(
        self,
        source: str,
        target: str,
        sent: float | None,
        received: float | None,
        flags: int,
        seq: int,
        ack: int = 0,
        payload: bytes = b"",
        *,
        ports: tuple[int, int] = (40000, 8001),
        options: bytes = b"",
        window: int = 502,
    ) -> None:
        src = inet_aton(self.hosts.get(source, WIRE_ADDRESS))
        dst = inet_aton(self.hosts.get(target, WIRE_ADDRESS))
        offset = (20 + len(options)) // 4 << 4
        l4 = struct.pack(">HHIIBBHHH", *ports, seq, ack, offset, flags, window, 0, 0) + options + payload
        pseudo = src + dst + struct.pack(">BBH", 0, 6, len(l4))
        l4 = l4[:16] + struct.pack(">H", checksum(pseudo + l4)) + l4[18:]
        self.packet(source, target, sent, received, 6, l4)

    def udp(
        self,
        source: str,
        target: str,
        sent: float,
        received: float | None,
        payload: bytes,
        ports: tuple[int, int] = (5000, 5001),
    ) -> None:
        self.packet(
            source, target, sent, received, 17, struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload
        )

    def call(
        self,
        host: str,
        call: str,
        start: float,
        end: float,
        *,
        socket: str | None = None,
        error: CallError | None = None,
        result: Json = None,
        got: bytes | None = None,
        length: int | None = None,
        eof: bool = False,
        peer: Endpoint | None = None,
        process: str = "main",
        **arguments: Json,
    ) -> str:
        """A step with one call; its id."""
        step = f"steps[{len(self.steps)}]"
        begin, finish = self.ns(start), self.ns(end)
        place = Place("scenarios/story.yml", 10 + len(self.steps), 5)
        self.steps.append(StepRecord(step, call, place, host, begin, finish, begin, finish))
        self.calls.append(
            CallRecord(
                step=step,
                host=host,
                process=process,
                call=call,
                arguments=arguments,
                socket=socket,
                fd=7,
                kind="tcp",
                start_mono_ns=begin,
                end_mono_ns=finish,
                start_wall_ns=begin,
                end_wall_ns=finish,
                result=result,
                data=got,
                length=length if length is not None else (len(got) if got is not None else None),
                sha256=sha256(got).hexdigest() if got is not None else None,
                eof=eof,
                peer=peer,
                error=error,
            )
        )
        return step

    def state(self, host: str, at: float, state: str, local: int, remote: tuple[str, int] | None) -> None:
        far = None if remote is None else Endpoint(self.hosts[remote[0]], remote[1])
        self.states.append(
            StateSample(host, self.ns(at), "tcp", Endpoint(self.hosts[host], local), far, state, 0, 0)
        )

    def records(self) -> Records:
        facts = {
            name: HostFacts(
                name,
                (attach_at(name, address, f"02:c6:12:07:00:{10 + n:02x}", self.links.get(name, Link())),),
                {"net.ipv4.tcp_syn_retries": "6"},
                "6.18.5",
            )
            for n, (name, address) in enumerate(self.hosts.items())
        }
        wire = WireFacts(
            "uml",
            "no sch_netem in this kernel",
            "6.1.0",
            WIRE_ADDRESS,
            "02:c6:12:07:00:02",
            drops=tuple(self.drops),
        )
        counters = {
            name: CounterRecord(
                name,
                {"TcpActiveOpens": 3, "TcpExtListenOverflows": 0, "IpInReceives": 10},
                {
                    "TcpActiveOpens": 4,
                    "TcpExtListenOverflows": 0,
                    "IpInReceives": 10 + len(self.frames[name]),
                },
            )
            for name in self.hosts
        }
        captures = tuple(
            CaptureFacts(name, 1, f"pcap/{name}.pcapng", "eth0", len(self.frames[name]), 0)
            for name in self.hosts
        )
        return Records(
            hosts=facts,
            wire=wire,
            steps=tuple(self.steps),
            calls=tuple(self.calls),
            runs=tuple(self.runs),
            streams=tuple(self.streams),
            states=tuple(sorted(self.states, key=lambda state: state.wall_ns)),
            counters=counters,
            wire_events=tuple(self.events),
            captures=captures,
        )

    def write(self, folder: Path) -> Evidence:
        """The run folder's evidence, and the evidence read back from it."""
        (folder / "pcap").mkdir(parents=True, exist_ok=True)
        for name, frames in self.frames.items():
            with PcapngWriter(folder / "pcap" / f"{name}.pcapng") as writer:
                writer.interface(name)
                for at, frame in sorted(frames, key=lambda item: item[0]):
                    writer.packet(0, at, frame)
        write_records(folder, self.records())
        return load_evidence(folder)


_SYN_OPTIONS = bytes.fromhex("020405b40402080a00000001000000000103 0307".replace(" ", ""))


def impairment(delay: str, loss: str = "") -> Impairment:
    return Impairment(delay=Duration.parse(delay), loss=Percent.parse(loss) if loss else None)


def loss_story() -> Story:
    """Handshake, hello, three segments of which the first is dropped, its retransmission, a close; 20 ms."""
    c, s = "client", "server"
    story = Story(
        {c: "198.18.7.10", s: "198.18.7.11"},
        {
            c: Link(impairment("10ms"), impairment("10ms")),
            s: Link(impairment("10ms", "5%"), impairment("10ms")),
        },
    )
    C, S = 1_000_000, 5_000_000
    chunk = bytes(random.Random(1).randbytes(1448))
    story.call(s, "listen", -2, -1.9, socket="srv", port=8001, backlog=5)
    story.call(c, "connect", 0, 40.7, socket="c", to="server:8001")
    story.call(s, "accept", 0.2, 61, socket="srv", peer=Endpoint("198.18.7.10", 40000))
    story.call(c, "sendall", 41.5, 41.6, socket="c", data="hello world", length=11)
    story.call(s, "recv", 61.2, 62, socket="s", size=5, got=b"hello")
    story.events.append(
        WireEvent(story.ns(85), "drop", "steps[5]", rule="drop-1", source=c, target=s, match="data", count=1)
    )
    story.drops.append(DropCount("drop-1", 1))
    story.call(c, "sendall", 89.9, 90.2, socket="c", data={"length": 4344}, length=4344)
    story.call(s, "settimeout", 400, 400.02, socket="s", value="1s")
    story.call(s, "recv", 400.2, 1400.9, socket="s", size=1024, error=CallError("timeout", None, "timed out"))
    story.call(c, "close", 2999.9, 3000.1, socket="c")
    story.call(s, "recv", 3021, 3021.1, socket="s", size=1024, got=b"", eof=True)
    story.call(s, "close", 3021.3, 3021.4, socket="s")
    story.tcp(c, s, 0.3, 20.4, SYN, C, options=_SYN_OPTIONS)
    story.tcp(s, c, 20.5, 40.6, SYN | ACK, S, C + 1, ports=(8001, 40000), options=_SYN_OPTIONS)
    story.tcp(c, s, 40.7, 60.8, ACK, C + 1, S + 1)
    story.tcp(c, s, 41.55, 61.9, PSH | ACK, C + 1, S + 1, b"hello world")
    story.tcp(s, c, 62.0, 82.1, ACK, S + 1, C + 12, ports=(8001, 40000))
    story.tcp(c, s, 90.0, None, PSH | ACK, C + 12, S + 1, chunk)
    story.tcp(c, s, 90.03, 110.2, ACK, C + 1460, S + 1, chunk)
    story.tcp(c, s, 90.06, 110.3, PSH | ACK, C + 2908, S + 1, chunk)
    story.tcp(s, c, 110.4, 130.5, ACK, S + 1, C + 12, ports=(8001, 40000))
    story.tcp(s, c, 110.5, 130.6, ACK, S + 1, C + 12, ports=(8001, 40000))
    story.tcp(c, s, 310, 330.2, PSH | ACK, C + 12, S + 1, chunk)
    story.tcp(s, c, 330.4, 350.5, ACK, S + 1, C + 4356, ports=(8001, 40000))
    story.tcp(c, s, 3000, 3020.2, FIN | ACK, C + 4356, S + 1)
    story.tcp(s, c, 3021.5, 3041.6, FIN | ACK, S + 1, C + 4357, ports=(8001, 40000))
    story.tcp(c, s, 3041.8, 3061.9, ACK, C + 4357, S + 2)
    story.state(s, -1.9, "LISTEN", 8001, None)
    for at, state in ((0.3, "SYN_SENT"), (40.7, "ESTABLISHED"), (3000, "FIN_WAIT1"), (3041.7, "TIME_WAIT")):
        story.state(c, at, state, 40000, (s, 8001))
    for at, state in (
        (20.5, "SYN_RECV"),
        (60.9, "ESTABLISHED"),
        (3020.3, "CLOSE_WAIT"),
        (3021.5, "LAST_ACK"),
    ):
        story.state(s, at, state, 8001, (c, 40000))
    story.state(s, 3062, "GONE", 8001, (c, 40000))
    return story


def timeout_story() -> Story:
    """connect() to a host that is cut off: SYNs at 0, 1, 3 s, ETIMEDOUT after 7 s; a long silence."""
    c, s = "client", "server"
    story = Story({c: "198.18.7.10", s: "198.18.7.11"}, {c: Link(impairment("5ms"), impairment("5ms"))})
    story.events.append(WireEvent(story.ns(0.5), "cut", "steps[0]", host=s, direction="both"))
    story.call(
        c, "connect", 5, 7195, socket="c", to="server:8001", error=CallError("ETIMEDOUT", 110, "timed out")
    )
    for at in (5.1, 1018, 3066):
        story.tcp(c, s, at, None, SYN, 77, options=_SYN_OPTIONS)
    story.state(c, 5.2, "SYN_SENT", 40000, (s, 8001))
    story.state(c, 7195, "GONE", 40000, (s, 8001))
    story.drops.append(DropCount("cut server", 3))
    story.events.append(WireEvent(story.ns(7300), "restore", "steps[2]", host=s, direction="both"))
    story.runs.append(
        RunRecord(
            "steps[3]",
            c,
            ("ping", "-c1", "server"),
            0,
            "1 packets transmitted\n",
            "<b>warning</b>\n",
            story.ns(7310),
            story.ns(7330),
            story.ns(7310),
            story.ns(7330),
        )
    )
    for source, target, at, kind in ((c, s, 7312, 8), (s, c, 7318, 0)):
        body = struct.pack(">BBHHH", kind, 0, 0, 1, 1) + b"abcdefgh"
        body = body[:2] + struct.pack(">H", checksum(body)) + body[4:]
        story.packet(source, target, at, at + 5.2, 1, body)
    return story


def three_story() -> Story:
    """Two clients of one server; the second is refused; a datagram between them."""
    story = Story(
        {"alice": "198.18.7.10", "bob": "198.18.7.11", "server": "198.18.7.12"},
        {
            "alice": Link(impairment("5ms"), impairment("5ms")),
            "bob": Link(impairment("40ms"), impairment("40ms")),
        },
    )
    back = (8001, 40000)
    story.call("server", "listen", -1, -0.9, socket="srv", port=8001)
    story.call("alice", "connect", 0, 11, socket="a", to="server:8001")
    story.call(
        "bob",
        "connect",
        1,
        82,
        socket="b",
        to="server:8002",
        error=CallError("ECONNREFUSED", 111, "refused"),
    )
    story.call("alice", "sendto", 90, 90.1, socket="u", to="bob:5001", data="ping", result=4)
    story.tcp("alice", "server", 0.2, 5.4, SYN, 100)
    story.tcp("server", "alice", 5.5, 10.7, SYN | ACK, 900, 101, ports=back)
    story.tcp("alice", "server", 10.8, 16.0, ACK, 101, 901)
    story.tcp("bob", "server", 1.2, 41.4, SYN, 300, ports=(41000, 8002))
    story.tcp("server", "bob", 41.5, 81.7, RST | ACK, 0, 301, ports=(8002, 41000))
    story.udp("alice", "bob", 90.1, 135.3, b"ping")
    story.state("server", -1, "LISTEN", 8001, None)
    story.state("alice", 0.2, "SYN_SENT", 40000, ("server", 8001))
    story.state("alice", 10.8, "ESTABLISHED", 40000, ("server", 8001))
    story.state("server", 16.1, "ESTABLISHED", 8001, ("alice", 40000))
    story.state("bob", 1.2, "SYN_SENT", 41000, ("server", 8002))
    story.state("bob", 82, "GONE", 41000, ("server", 8002))
    return story


def bulk_story(segments: int, *, lose_every: int = 97) -> Story:
    """A transfer of segments of 1,000 B in windows of 20, some lost and sent again; ACKs for every second."""
    c, s = "client", "server"
    story = Story(
        {c: "198.18.7.10", s: "198.18.7.11"}, {c: Link(impairment("10ms", "1%"), impairment("10ms"))}
    )
    story.call(c, "connect", 0, 20.5, socket="c", to="server:8001")
    story.tcp(c, s, 0.1, 10.2, SYN, 0)
    story.tcp(s, c, 10.3, 20.4, SYN | ACK, 0, 1, ports=(8001, 40000))
    story.tcp(c, s, 20.5, 30.6, ACK, 1, 1)
    payload = b"x" * 1000
    at = 21.0
    for n in range(segments):
        if n % 20 == 0:
            at = 21.0 + n  # a window a round trip
        seq = 1 + 1000 * n
        lost = n % lose_every == lose_every - 1
        story.tcp(c, s, at, None if lost else at + 10.1, ACK, seq, 1, payload)
        if lost:
            story.tcp(c, s, at + 15, at + 25.1, ACK, seq, 1, payload)
        if n % 2:
            back = at + 10.2
            story.tcp(s, c, back, back + 10.1, ACK, 1, seq + 1000, ports=(8001, 40000))
        at += 0.05
    story.call(c, "sendall", 20.9, at, socket="c", data={"length": segments * 1000}, length=segments * 1000)
    return story


STORIES: Mapping[str, Callable[[], Story]] = {
    "loss": loss_story,
    "timeout": timeout_story,
    "three": three_story,
    "bulk": lambda: bulk_story(600),
}


def finding(
    name: str = "connect.elapsed", verdict: Verdict = Verdict.PASS, line: int = 12, **more: object
) -> Finding:
    values: dict[str, object] = {
        "source": f"steps[{line - 10}]",
        "place": Place("scenarios/story.yml", line, 5),
        "expected": "40 ms",
        "actual": "40.7 ms",
        "tolerance": "39 ms … 45 ms",
        "margin": "4.3 ms",
        "reason": "",
    }
    values.update(more)
    return Finding(name=name, verdict=verdict, **values)  # type: ignore[arg-type]


def result(verdict: Verdict = Verdict.PASS, *, name: str = "story[delay=5ms]", **more: object) -> Result:
    """A result with a little of everything; `more` replaces fields."""
    failing = verdict is Verdict.FAIL
    findings = [
        finding(),
        finding("accept", line=13, expected="ok", actual="ok", tolerance="", margin=""),
        finding("recv.data", line=15, expected='b"hello"', actual='b"hello"', tolerance="", margin=""),
        finding(
            "handshake", line=22, source="checks[0]", expected="3 packets", actual="3 packets", margin=""
        ),
    ]
    long = "sha256 " + "0123456789abcdef" * 4
    findings.append(
        finding("bytes", line=23, source="checks[1]", expected=long, actual=long, tolerance="", margin="")
    )
    if failing:
        findings.insert(
            3,
            finding(
                "recv.error",
                Verdict.FAIL,
                17,
                expected="data",
                actual="timeout after 1.00 s",
                tolerance="",
                margin="",
                reason="recv() on s got no data within its timeout of 1 s: <the first segment was lost>",
                packets=(PacketRef("client", 6), PacketRef("client", 11)),
            ),
        )
    values: dict[str, object] = {
        "version": 1,
        "run": "20241122-143012-a1b2c3",
        "name": name,
        "scenario": "scenarios/story.yml",
        "summary": "data arrives whole through 5 % loss, and the retransmission is seen",
        "tags": ("loss", "tcp"),
        "params": {"delay": "5ms"},
        "verdict": verdict,
        "reason": {
            Verdict.PASS: "",
            Verdict.FAIL: findings[3].reason,
            Verdict.ERROR: "the wire did not impair as asked",
            Verdict.SKIP: "needs ipv6, which this machine's engine has not",
        }[verdict],
        "started": "2024-11-22T14:30:12Z",
        "seconds": 4.213,
        "findings": tuple(findings) if verdict in (Verdict.PASS, Verdict.FAIL) else (),
        "environment": Environment(
            lab="0.1.0",
            python="3.11.2",
            machine="x86_64",
            kernel="6.18.5",
            engine="docker 20.10.24",
            engine_address="unix:///var/run/docker.sock",
            images={
                "host": ImageFacts("lab-host:abc", "sha256:123"),
                "wire": ImageFacts("lab-wire:def", "sha256:4"),
            },
            wire="uml",
            wire_reason="this kernel has no sch_netem",
            wire_kernel="6.1.0",
        ),
        "phases": (
            Phase("up", 0.0, 1.62),
            Phase("steps", 1.62, 3.06),
            Phase("settle", 3.1, 0.12),
            Phase("judge", 3.8, 0.02),
            Phase("down", 3.82, 0.41),
        ),
        "links": (
            LinkProof(
                "client", "server", None, "delay", "20ms", "20.1 ms", "20.1 … 20.4 ms", 11, "ok", None, ""
            ),
            LinkProof("client", "server", None, "loss", "5%", "9.1 %", "0.2 … 41 %", 11, "too few", 0.43, ""),
        ),
        "captures": ("pcap/client.pcapng", "pcap/server.pcapng"),
        "notes": ("close() while another thread was in recv sends no FIN",),
    }
    if verdict is Verdict.ERROR:
        values["error"] = ErrorFacts(
            "WireError",
            "client up: delay asked for 50ms, tc says 25ms",
            "run `lab doctor`",
            Place("scenarios/story.yml", 9, 11),
        )
    values.update(more)
    return Result(**values)  # type: ignore[arg-type]


def run_folder(folder: Path, story: Story, outcome: Result) -> Evidence:
    """A whole run folder; its evidence."""
    folder.mkdir(parents=True, exist_ok=True)
    evidence = story.write(folder)
    write_result(folder, outcome)
    return evidence


__all__ = ["STORIES", "Rate", "Story", "finding", "result", "run_folder"]


def run_folders(make: Callable[[str], Path]) -> dict[str, Path]:
    """A run folder with reports for each story, one of each verdict; `make` gives an empty folder."""
    folders = {}
    verdicts = dict(zip(STORIES, (Verdict.FAIL, Verdict.ERROR, Verdict.PASS, Verdict.PASS), strict=True))
    for name, story in STORIES.items():
        folder = make(name)
        outcome = result(verdicts[name], name=name)
        evidence = run_folder(folder, story(), outcome)
        (folder / "scenario.yml").write_text("\n".join(f"line {n}" for n in range(1, 40)))
        write_reports(folder, outcome, evidence)
        folders[name] = folder
    return folders
