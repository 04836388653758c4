"""What goes into a host agent and comes back, except the records of the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from lab.attachment import Attachment
from lab.evidence.model import Json, StateSample, StreamRecord
from lab.units import Duration

#: Where a capture is kept inside the container: on its overlay, so that the engine can read it out.
CAPTURE_PATH = "/var/lib/lab/capture.pcap"

#: Of a host's container: for set-up, power and captures, and to become a user of its own at its start.
HOST_CAPABILITIES = ("NET_ADMIN", "NET_RAW", "SETGID", "SETUID")

#: Sysctls that the evidence of every host holds (`gaps: kernel` is computed from them); absent ones are left
#: out.
SYSCTLS = (
    "net.core.rmem_default",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_default",
    "net.core.wmem_max",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_orphan_retries",
    "net.ipv4.tcp_retries1",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_rto_max_ms",
    "net.ipv4.tcp_rto_min_us",
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_syn_linear_timeouts",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_synack_retries",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_window_scaling",
    "net.ipv4.tcp_wmem",
)


class HostSetup(Struct, frozen=True):
    """How a host is joined to the wire. `peers` are those whose names its calls may use."""

    here: Attachment
    wire: Attachment
    peers: Mapping[str, Attachment] = {}
    arp: Literal["static", "dynamic"] = "static"
    mtu: int | None = None  #: None leaves it
    open_files: int | None = None  #: RLIMIT_NOFILE of the processes that make calls; None: the container's
    sysctls: Sequence[str] = SYSCTLS  #: to read, not to set
    snaplen: int | None = None  #: bytes of each packet that the capture keeps; None: no capture


class HostReadback(Struct, frozen=True):
    """What is true after the set-up, as the kernel tells it. A difference from `HostSetup` was an error."""

    interface: str
    mac: str
    mtu: int
    offloads: Mapping[str, bool]  #: feature of `ethtool -k` → on; all False
    routes: tuple[str, ...]  #: every IPv4 route of the host
    neighbours: Mapping[str, str]  #: permanent ARP entries: address → MAC
    sysctls: Mapping[str, str]
    kernel: str
    guarded: bool  #: whether only what goes to the wire can leave; False where the kernel has no such filter
    commands: tuple[Mapping[str, Json], ...]  #: {program, input, status, output, duration_ms}


class CallSpec(Struct, frozen=True):
    """One socket call of a step.

    `arguments` are the YAML keys of the step (on, as, to, port, size, data, option, value, …), with sizes in
    bytes and times in ns; `to` is [host, port]; `data` is a text or the recipe of one: {text}, {hex},
    {repeat, times}, {random: bytes, seed}. `value` of setsockopt may be a `Duration`. `timeout` None is the
    socket's own. `socket` may have `count`: that many, named as0, as1, …
    """

    step: str
    call: str
    arguments: Mapping[str, Json] = {}
    process: str = "main"
    timeout: Duration | None = None
    whole: bool = False  #: the record has all data that came, up to 64 MB


class Identity(Struct, frozen=True):
    """As whom programs run. Those that differ in this share nothing but the host's network."""

    capabilities: tuple[str, ...] = ()  #: NET_RAW, NET_ADMIN; sorted
    user: str | None = None  #: "name", "uid", "user:group"; None is root, which has no privilege there


class RunSpec(Struct, frozen=True):
    """One program on the host, by its own tools. Past `timeout` it is killed: error "timeout"."""

    step: str
    argv: Sequence[str]
    stdin: str = ""
    timeout: Duration | None = None
    identity: Identity = Identity()
    environment: Mapping[str, str] = {}  #: besides what every program has


class Moment(Struct, frozen=True):
    """A moment, on both clocks."""

    wall_ns: int
    mono_ns: int


class PowerOff(Struct, frozen=True):
    """The last known facts of a host: read after its interface went down, before its kernel is killed."""

    moment: Moment  #: just before the interface went down
    streams: tuple[StreamRecord, ...]
    states: tuple[StateSample, ...]
    counters: Mapping[str, int]
