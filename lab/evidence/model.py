"""The typed records of one case's evidence, as the agents report them and as `events.jsonl` keeps them.

Times: `*_wall_ns` is CLOCK_REALTIME (comparable with capture stamps and between the hosts of one machine),
`*_mono_ns` is CLOCK_MONOTONIC (for intervals). Addresses of records are text of either family, ports are
integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from lab.attachment import Attachment
from lab.link import Direction, Impairment, Link
from lab.packet_words import PacketMatch
from lab.place import Place
from lab.tolerance import Tolerance

KEPT_DATA = 64 << 10  #: bytes of received data that a record holds
Json = Any  #: None, bool, int, float, str, list or dict, as JSON has them


class HostFacts(Struct, frozen=True):
    """The facts of a host that hold for the whole case."""

    name: str
    attachments: tuple[Attachment, ...]  #: one for each network; the first is the one by which it is known
    sysctls: Mapping[str, str]  #: live values, read on the host: net.ipv4.tcp_syn_retries …
    kernel: str  #: uname -r

    @property
    def address(self) -> str:
        return str(self.attachments[0].address)

    @property
    def mac(self) -> str:
        return self.attachments[0].mac

    @property
    def link(self) -> Link:
        """The link as configured before the first step."""
        return self.attachments[0].link


class CallError(Struct, frozen=True):
    """Why a call failed. `name` is the errno's name (`ECONNREFUSED`), or `timeout` where the socket's own
    timeout ended it (errno None), or the exception's class name where it has no errno."""

    name: str
    errno: int | None
    message: str


class Endpoint(Struct, frozen=True):
    address: str
    port: int

    @property
    def plain(self) -> str:
        """The address; of an IPv4 one that an IPv6 socket shows as `::ffff:198.18.0.10`, the IPv4 part."""
        return self.address.removeprefix("::ffff:")

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class CallRecord(Struct, frozen=True):
    """One socket call of one step: what went in, what came out, when.

    `data` holds at most the first 64 KiB of what was received; `length` and `sha256` cover all of it.
    """

    step: str  #: id of the step
    host: str
    process: str
    call: str  #: the step's `do`: connect, recv, …
    arguments: Mapping[str, Json]  #: as requested, for display; long data as {length, sha256}
    socket: str | None  #: name of the socket that was used or made
    fd: int | None
    kind: Literal["tcp", "udp"] | None
    start_mono_ns: int
    end_mono_ns: int
    start_wall_ns: int
    end_wall_ns: int
    local: Endpoint | None = None  #: getsockname() after the call
    remote: Endpoint | None = None  #: getpeername() after the call
    result: Json = None  #: what the call returned, where that is not data: bytes taken, option value …
    data: bytes | None = None
    length: int | None = None  #: bytes received, or bytes sent by send, sendall, sendto
    sha256: str | None = None  #: of the bytes that `length` counts
    eof: bool = False  #: recv gave b""
    peer: Endpoint | None = None  #: of accept and recvfrom, and of a datagram that recv took
    truncated: bool | None = None  #: of recvfrom: MSG_TRUNC
    error: CallError | None = None
    notes: tuple[str, ...] = ()  #: what a reader should know: close() while another thread was in recv …

    @property
    def local_port(self) -> int | None:
        return None if self.local is None else self.local.port

    @property
    def elapsed_ns(self) -> int:
        return self.end_mono_ns - self.start_mono_ns


class RunRecord(Struct, frozen=True):
    """One program of a `run` step. `exit_code` is negative for a signal, None where it did not end.

    For a program inside a service the engine reports only the status: a signal is 128 plus its number there.
    """

    step: str
    host: str
    command: tuple[str, ...]
    exit_code: int | None
    stdout: str
    stderr: str
    start_mono_ns: int
    end_mono_ns: int
    start_wall_ns: int
    end_wall_ns: int
    error: str | None = None  #: why it could not be started, "timeout", or "killed": the power was cut
    service: str | None = None  #: in which it ran; None: beside the host's agent
    ended_by: str | None = None  #: id of the step that ended it; "" is the lab, None: it ended by itself


class ServiceRecord(Struct, frozen=True):
    """One start of a service: a container from start to end. Times are those of the engine's machine."""

    host: str
    service: str
    start: int  #: from 1; a service that was started again has another record
    image: str
    started_wall_ns: int | None = None  #: None where it could not be started
    ready_wall_ns: int | None = None
    ended_wall_ns: int | None = None
    exit_code: int | None = None  #: None while it runs
    signal: int | None = None  #: that ended it
    out_of_memory: bool = False  #: the kernel killed one of its processes at the memory limit
    health: str | None = None  #: of its healthcheck, at the end
    ended_by: str | None = None  #: id of the step that ended it; "" is the lab, None: it ended by itself
    may_end: bool = False  #: it is a job, or another waits for its end
    not_ready: str = ""  #: why it did not get ready in time
    error: str = ""  #: why it could not be started, in the engine's words
    log_cut: bool = False  #: lines are missing: it wrote more than is kept
    limit: str = ""  #: which limit of the site it reached, in words; it was ended for that


class LogRecord(Struct, frozen=True):
    """One line that a service wrote."""

    host: str
    service: str
    start: int
    wall_ns: int  #: when the engine received it
    stream: Literal["stdout", "stderr"]
    text: str
    cut: bool = False  #: the line was longer


class StreamRecord(Struct, frozen=True):
    """All that the application of one TCP socket sent and received, by the agent's running hashes."""

    host: str
    process: str
    socket: str
    local: Endpoint
    remote: Endpoint
    sent_bytes: int
    sent_sha256: str
    received_bytes: int  #: peeked bytes count once
    received_sha256: str


class StateSample(Struct, frozen=True):
    """A socket was first seen in this state at this time (only changes are kept).

    `state` is the kernel's name: ESTABLISHED, SYN_SENT, FIN_WAIT1, TIME_WAIT …, and GONE once the socket is
    gone. `final` marks the reading after the settling time (`when: end`), `step` one taken at the end of a
    step (`when: <step id>`); all others are samples in between.
    """

    host: str
    wall_ns: int
    kind: Literal["tcp", "udp"]
    local: Endpoint
    remote: Endpoint | None  #: None for a listener
    state: str
    recv_queue: int
    send_queue: int
    final: bool = False
    step: str | None = None
    timer: str | None = None  #: keepalive, retransmit, persist, time_wait or none; None: not read
    left_ns: int | None = None  #: until that timer expires, at `wall_ns`


class CounterRecord(Struct, frozen=True):
    """Kernel counters of one host by nstat's names (TcpExtListenOverflows, UdpNoPorts …), before and after
    the steps."""

    host: str
    before: Mapping[str, int]
    after: Mapping[str, int]

    def delta(self, name: str) -> int:
        """How much a counter rose; one that the kernel does not have stays 0."""
        return self.after.get(name, 0) - self.before.get(name, 0)


class WireEvent(Struct, frozen=True):
    """A change to the wire: a band or a line in the diagram, and the reason for a loss."""

    wall_ns: int  #: when it was in force (after the read-back)
    action: Literal["link", "cut", "restore", "partition", "heal", "drop", "power_off", "power_on", "apart"]
    step: str | None  #: None for what was configured before the first step
    host: str | None = None
    direction: Literal["up", "down", "both"] | None = None
    between: tuple[str, str] | None = None
    rule: str | None = None  #: of a drop: its id
    source: str | None = None  #: of a drop: from this host
    target: str | None = None
    match: PacketMatch | None = None  #: of a drop: syn, ack …, exact flags, or fields of the headers
    count: int | None = None  #: of a drop: the requested number
    impairment: Impairment | None = None  #: of a link: now in force in that direction


class DropCount(Struct, frozen=True):
    """How many packets a drop rule, a cut or a partition dropped, by the wire's counters at the end."""

    rule: str
    dropped: int


class QueueCount(Struct, frozen=True):
    """The wire's own counters of one direction of one link at the end, over all its qdiscs."""

    host: str
    direction: Direction
    sent_packets: int
    sent_bytes: int
    dropped: int  #: loss and full queue together, as tc counts them
    overlimits: int
    queue_full: int = 0  #: of `dropped`: those that found the queue full


class WireFacts(Struct, frozen=True):
    """The wire of a case: which kernel and why, the output of tc."""

    kind: Literal["kernel", "uml"]
    reason: str
    kernel: str  #: uname -r where tc runs
    address: str
    mac: str
    readback: tuple[Mapping[str, Json], ...] = ()  #: {wall_ns, step, qdiscs: [...]} after every change
    drops: tuple[DropCount, ...] = ()
    queues: tuple[QueueCount, ...] = ()
    commands: tuple[Mapping[str, Json], ...] = ()  #: {program, input, status, output, duration_ms}
    overruns: Mapping[str, int] = {}  #: where → packets that the wire lost unasked


class CaptureFacts(Struct, frozen=True):
    """One capture file of one life of a host (`boot` 1, 2 after a power cycle)."""

    host: str
    boot: int
    path: str  #: relative to the run folder
    interface: str
    received: int  #: by the filter, as tcpdump counts
    dropped: int  #: by the kernel, as tcpdump counts


class StepRecord(Struct, frozen=True):
    """The outcome of one step. Without `expect`, `verdict` is PASS if nothing went wrong."""

    step: str
    do: str
    place: Place
    at: str | None
    start_wall_ns: int
    end_wall_ns: int
    start_mono_ns: int
    end_mono_ns: int
    target: str | None = None  #: of kill, pause and resume: the process, service or program
    signal: str | None = None  #: that was sent to it: TERM, STOP …


class Records(Struct, frozen=True):
    """Everything about a case except its packets: the content of `events.jsonl`."""

    hosts: Mapping[str, HostFacts]
    wire: WireFacts | None
    tolerance: Tolerance = Tolerance()
    steps: tuple[StepRecord, ...] = ()
    calls: tuple[CallRecord, ...] = ()
    runs: tuple[RunRecord, ...] = ()
    services: tuple[ServiceRecord, ...] = ()
    logs: tuple[LogRecord, ...] = ()
    streams: tuple[StreamRecord, ...] = ()
    states: tuple[StateSample, ...] = ()
    counters: Mapping[str, CounterRecord] = {}
    wire_events: tuple[WireEvent, ...] = ()
    captures: tuple[CaptureFacts, ...] = ()


Quantity = Literal["delay", "loss", "rate", "duplicate", "corrupt", "reorder"]
ProofVerdict = Literal["ok", "too few", "contradiction", "changed"]  #: changed: the link changed meanwhile


class LinkProof(Struct, frozen=True):
    """Configured against measured, for one direction of one link or, if the directions cannot be separated,
    for the path from one host to another. Texts carry their units."""

    source: str  #: the host that sends
    target: str | None  #: the host that receives; None for one direction of `source`'s or `direction`'s link
    direction: Direction | None
    quantity: Quantity
    configured: str
    measured: str
    spread: str  #: delay: "p5 … p95"; loss: "99.9 % interval"
    samples: int
    verdict: ProofVerdict
    p: float | None = None
    detail: str = ""
