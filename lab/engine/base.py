"""What the lab asks of a container engine, in its own types.

`DockerEngine` (lab.engine.docker) and `FakeEngine` (lab.engine.fake) pass the same compliance tests.
Every verb raises `EngineError`; none of them retries or hides a failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Protocol

from lab.attachment import Address

LABEL_RUN = "lab.run"  #: id of the run that owns an object
LABEL_PID = "lab.pid"  #: process id of the owner, for people
LABEL_BOOT = "lab.boot"  #: boot id of the owner's machine, for people
LABEL_LOCK = "lab.lock"  #: the lock file that the owner holds while it lives
LABEL_ROLE = "lab.role"  #: `host`, `programs`, `wire`, `service`, `network`
LABEL_HOST = "lab.host"  #: name of the host, in the scenario's words


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What answers, for the result's environment."""

    name: str  #: "docker"
    version: str
    api_version: str
    kernel: str  #: uname -r of the engine's machine
    operating_system: str
    address: str  #: how it was reached: unix:///…, tcp://…


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """One internal bridge network. The engine gives addresses only as told."""

    name: str
    subnet: IPv4Network
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container on one network.

    With `network` it gets exactly `address` and `mac`; with `join` it shares the network namespace of that
    container.
    stdin is open, no tty. Capabilities: everything dropped, then `capabilities` added.
    """

    name: str
    image: str  #: tag or digest, already on the engine
    labels: Mapping[str, str]
    command: Sequence[str] | None = None  #: None keeps the image's own
    network: str | None = None  #: network id
    address: Address | None = None
    mac: str | None = None
    join: str | None = None  #: container id
    hostname: str | None = None  #: also the network alias, so that Docker's DNS gives the name
    capabilities: Sequence[str] = ()  #: "NET_ADMIN"
    devices: Sequence[str] = ()  #: "/dev/net/tun"
    sysctls: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    tmpfs: Mapping[str, str] = field(default_factory=dict)  #: path → mount options
    ulimits: Mapping[str, int] = field(default_factory=dict)  #: "nofile" → soft and hard limit
    memory: int | None = None  #: bytes, swap included; None: all that the machine has
    pids: int | None = None  #: processes and threads; None: as many as the machine has
    no_new_privileges: bool = False  #: nothing gains a capability by what it starts
    outlives_lab: bool = False  #: else its stdin ends with the connection of `attach`
    binds: Sequence[str] = ()  #: "/host/path:/container/path:ro", a local engine only


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What `inspect` says that the lab needs. `exit_code` is None while it runs."""

    id: str
    name: str
    running: bool
    exit_code: int | None
    labels: Mapping[str, str]
    image: str


@dataclass(frozen=True, slots=True)
class NetworkState:
    id: str
    name: str
    labels: Mapping[str, str]
    subnets: Sequence[IPv4Network]


@dataclass(frozen=True, slots=True)
class ExecResult:
    exit_code: int
    stdout: bytes
    stderr: bytes


class Stream(Protocol):
    """The attached stdin, stdout and stderr of a container's main process.

    Thread-safe: one thread may `read_line` while others `write`.
    """

    def write(self, data: bytes) -> None:
        """All of `data`, to stdin. Raises `EngineError` when the container is gone."""
        ...

    def read_line(self) -> bytes | None:
        """The next line of stdout without its newline, blocking; None at the end of the stream."""
        ...

    def stderr_tail(self) -> str:
        """The last 8 KiB of stderr, for error texts."""
        ...

    def close(self) -> None:
        """Unblocks `read_line`. May be called twice."""
        ...


class Engine(Protocol):
    """The verbs of a container engine. Safe to call from several threads at once."""

    def info(self) -> EngineInfo: ...

    def image_id(self, image: str) -> str | None:
        """`sha256:…` of an image on the engine, None where it is not there."""
        ...

    def networks(self) -> list[NetworkState]:
        """All networks with their subnets, the lab's and others'."""
        ...

    def containers(self, labels: Mapping[str, str | None]) -> list[ContainerState]:
        """All containers, stopped ones too, that carry these labels (value None: any value)."""
        ...

    def create_network(self, spec: NetworkSpec) -> str:
        """Its id. Raises `SubnetTaken` if the subnet overlaps another network's."""
        ...

    def remove_network(self, network_id: str) -> None:
        """Not there any more is fine."""
        ...

    def create(self, spec: ContainerSpec) -> str:
        """Creates but does not start; its id."""
        ...

    def attach(self, container_id: str) -> Stream:
        """Before `start`, so that nothing of the output is missed."""
        ...

    def start(self, container_id: str) -> None: ...

    def kill(self, container_id: str, signal: str = "KILL") -> None:
        """Not running any more is fine."""
        ...

    def wait(self, container_id: str, timeout: float) -> int:
        """Blocks until it has stopped; its exit code."""
        ...

    def remove(self, container_id: str) -> None:
        """Killed first where it runs. Not there any more is fine."""
        ...

    def exec(self, container_id: str, argv: Sequence[str], *, timeout: float = 30.0) -> ExecResult: ...

    def disk_used(self, container_id: str) -> int:
        """Bytes of its writable layer: what was made or changed over its image."""
        ...

    def read_file(self, container_id: str, path: str) -> bytes:
        """A file out of the container (not from a tmpfs), running or stopped."""
        ...
