"""What the lab asks of a container engine, in its own types.

`DockerEngine` (lab.engine.docker) and `FakeEngine` (lab.engine.fake) pass the same compliance tests.
Every verb raises `EngineError`; none of them retries or hides a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network
from typing import BinaryIO, Literal, Protocol

from msgspec import Struct

from lab.attachment import Address

LABEL_RUN = "lab.run"  #: id of the run that owns an object
LABEL_PID = "lab.pid"  #: process id of the owner, for people
LABEL_BOOT = "lab.boot"  #: boot id of the owner's machine, for people
LABEL_LOCK = "lab.lock"  #: the lock file that the owner holds while it lives
LABEL_ROLE = "lab.role"  #: `host`, `programs`, `wire`, `service`, `network`
LABEL_HOST = "lab.host"  #: name of the host, in the scenario's words


class EngineInfo(Struct, frozen=True):
    """What answers, for the result's environment."""

    name: str  #: "docker"
    version: str
    api_version: str
    kernel: str  #: uname -r of the engine's machine
    operating_system: str
    address: str  #: how it was reached: unix:///…, tcp://…


class NetworkSpec(Struct, frozen=True):
    """One internal bridge network. The engine gives only the addresses that the lab names."""

    name: str
    subnet: IPv4Network
    labels: Mapping[str, str]


class Limits(Struct, frozen=True):
    """What one container may take of the engine's machine; sizes in bytes, None for no limit.

    The defaults hold for every container of the lab. They leave room for the most that a scenario may ask
    (64 MB in one call, a capture of 1 GiB, a user-mode Linux of 512 MB beside a tmpfs of 1 GiB) and stop what
    runs away.
    """

    memory: int | None = 2 << 30  #: tmpfs included; there is no swap beyond it
    pids: int | None = 4096  #: processes and threads
    file_size: int | None = None  #: of one file: the write beyond it fails, SIGXFSZ
    log: int = 8 << 20  #: output kept by the engine for a container without stdin; older lines go
    #: What it may change and add in its file system, volumes apart. Held where the storage driver can
    #: (ENOSPC); elsewhere `Engine.containers(…, sizes=True)` tells how much it is.
    layer: int | None = None


DEFAULT_LIMITS = Limits()


class Healthcheck(Struct, frozen=True):
    """How the engine asks a container whether it is well; times in seconds, None for the engine's own."""

    test: Sequence[str]  #: ("CMD", argv…), ("CMD-SHELL", line), or ("NONE",): not even the image's own
    interval: float | None = None
    timeout: float | None = None
    start_period: float | None = None
    retries: int | None = None


class Mount(Struct, frozen=True):
    """A volume in a container."""

    volume: str  #: its name
    target: str  #: absolute
    read_only: bool = False
    copy: bool = True  #: an empty volume takes over what the image has at `target`


class ContainerSpec(Struct, frozen=True):
    """One container on one network.

    With `network` it gets exactly `address` and `mac`; with `join` it shares the network namespace of that
    container, and its /etc/hosts, /etc/resolv.conf and /etc/hostname too: the same files, so what the joined
    container writes into them in place is seen here.
    No tty. Capabilities: everything dropped, then `capabilities` added (see `service_capabilities`). The
    engine's default seccomp profile holds.
    """

    name: str
    image: str  #: tag or digest, already on the engine
    labels: Mapping[str, str]
    command: Sequence[str] | None = None  #: None keeps the image's own
    entrypoint: Sequence[str] | None = None  #: None keeps the image's own, and `()` takes it away
    network: str | None = None  #: network id
    address: Address | None = None
    mac: str | None = None
    join: str | None = None  #: container id
    sees: str | None = None  #: id of a container whose processes it sees, with those of its own
    #: Also the network alias, so that Docker's DNS gives the name; not with `join`.
    hostname: str | None = None
    hosts: Mapping[str, str] = {}  #: name → address in /etc/hosts; not with `join`
    capabilities: Sequence[str] = ()  #: "NET_ADMIN"
    no_new_privileges: bool = False  #: no set-uid program and no file capability raises anything
    devices: Sequence[str] = ()  #: "/dev/net/tun"
    sysctls: Mapping[str, str] = {}
    environment: Mapping[str, str] = {}
    working_dir: str | None = None  #: None keeps the image's own
    user: str | None = None  #: "name", "uid", "user:group"; None keeps the image's own
    tmpfs: Mapping[str, str] = {}  #: path → mount options
    mounts: Sequence[Mount] = ()
    #: "nofile" → (soft, hard), or one number for both
    ulimits: Mapping[str, int | tuple[int, int]] = {}
    read_only: bool = False  #: the root file system; nothing can be put into it either
    init: bool = False  #: a small init is process 1, which reaps and passes signals on
    stop_signal: str | None = "SIGKILL"  #: None keeps the image's own
    healthcheck: Healthcheck | None = None  #: None keeps the image's own
    groups: Sequence[str] = ()  #: beside the user's own
    cpu: int | None = None  #: the only one of the machine's CPUs that it runs on
    limits: Limits = DEFAULT_LIMITS
    #: Open, and the output goes to `attach` alone. Otherwise stdin is empty, and `logs` has the output.
    stdin: bool = True
    outlives_lab: bool = False  #: otherwise its stdin ends with the connection of `attach`
    binds: Sequence[str] = ()  #: "/host/path:/container/path:ro", a local engine only


class ContainerState(Struct, frozen=True):
    """What a list of containers says that the lab needs. `exit_code` is None while it runs."""

    id: str
    name: str
    running: bool
    exit_code: int | None
    labels: Mapping[str, str]
    image: str
    layer: int | None = None  #: bytes that it changed or added in its file system, where asked for


Health = Literal["starting", "healthy", "unhealthy"]


class ContainerStatus(Struct, frozen=True):
    """What the engine knows of one container. Times are wall-clock ns of the engine's machine."""

    id: str
    running: bool  #: also while paused
    paused: bool
    exit_code: int | None  #: None while it runs and before it ran
    #: 9 for SIGKILL: the kernel's number where the status is above 128. A program that exits with 128 + n by
    #: itself, as shells do for their children, looks the same to every engine.
    signal: int | None
    #: The kernel killed one of its processes at the memory limit. 20.10 misses 1 in 20 that die so within
    #: milliseconds of the start: a signal 9 that nobody sent may be one.
    oom_killed: bool
    health: Health | None  #: None without a healthcheck
    health_output: str  #: what the last check printed
    started_ns: int | None
    finished_ns: int | None
    error: str  #: why it could not be started, in the engine's words
    stop_signal: str  #: its own, otherwise its image's, otherwise SIGTERM


StreamName = Literal["stdout", "stderr"]


class LogLine(Struct, frozen=True):
    """One line of a container's output; `time_ns` is the wall clock of the engine's machine at its start."""

    stream: StreamName
    time_ns: int
    text: bytes  #: without its newline, at most `LINE_LIMIT` bytes
    whole: bool = True  #: False where the rest of a longer line was left out


LINE_LIMIT = 64 * 1024  #: bytes of one line that are kept


class LogStream(Protocol):
    """The lines of a container, oldest first. One thread reads, any may close."""

    def read(self) -> LogLine | None:
        """The next line, blocking where the log is followed; None at the end or after `close`."""
        ...

    def close(self) -> None:
        """Unblocks `read`. May be called twice."""
        ...


class OutputMeter(Protocol):
    """How much a container writes, as it writes it. One thread reads, any may close."""

    def read(self) -> int | None:
        """Bytes written since the last call, blocking; None at the end or after `close`."""
        ...

    def close(self) -> None:
        """Unblocks `read`. May be called twice."""
        ...


class VolumeState(Struct, frozen=True):
    name: str
    labels: Mapping[str, str]


class NetworkState(Struct, frozen=True):
    id: str
    name: str
    labels: Mapping[str, str]
    subnets: Sequence[IPv4Network]


class ExecResult(Struct, frozen=True):
    exit_code: int
    stdout: bytes
    stderr: bytes
    whole: bool = True  #: False where more was printed than the limit


class Stream(Protocol):
    """The attached stdin, stdout and stderr of a container's main process.

    Thread-safe: one thread may `read_line` while others `write`.
    """

    def write(self, data: bytes) -> None:
        """All of `data`, to stdin. Raises `EngineError` when the container is gone."""
        ...

    def read_line(self) -> bytes | None:
        """The next line of stdout without its newline, blocking; None at the end of the stream.

        Raises `EngineError` where a line grows beyond what any agent writes: 160 MiB.
        """
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

    def containers(self, labels: Mapping[str, str | None], *, sizes: bool = False) -> list[ContainerState]:
        """All containers, stopped ones too, that carry these labels (value None: any value).

        With `sizes` each says how much it changed in its file system. The engine walks through that, which
        takes milliseconds for a few thousand files.
        """
        ...

    def inspect(self, container_id: str) -> ContainerStatus: ...

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
        """Not running any more is fine. A paused one dies of KILL too."""
        ...

    def pause(self, container_id: str) -> None:
        """Freezes all its processes, joined containers' apart. Raises where it does not run."""
        ...

    def unpause(self, container_id: str) -> None:
        """Not paused is fine."""
        ...

    def wait(self, container_id: str, timeout: float) -> int:
        """Blocks until it has stopped, and no longer; its exit code."""
        ...

    def remove(self, container_id: str) -> None:
        """Killed first where it runs; volumes without a name go with it. Not there any more is fine."""
        ...

    def exec(
        self,
        container_id: str,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        user: str | None = None,
        working_dir: str | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        limit: int = 16 << 20,
        each: Callable[[StreamName, bytes], None] | None = None,
    ) -> ExecResult:
        """Runs a program in a running container, to its end.

        The first `limit` bytes each of stdout and stderr are kept. With `each` all of them are handed over
        as they come, and the result's are empty. A program that is out of time (`EngineError`) runs on:
        an engine ends it only with its container.
        """
        ...

    def logs(self, container_id: str, *, follow: bool = False, last: int | None = None) -> LogStream:
        """What a container without stdin has written, or only its `last` lines; followed, to its end.

        Only what its limit has left. A reader that follows a flood may miss lines in the middle:
        `lab.engine.service.log_is_whole` tells.
        """
        ...

    def meter(self, container_id: str) -> OutputMeter:
        """Counts what a container without stdin writes; before `start`, so that nothing is missed.

        Its log could be counted too, but an engine gives that out at a third of the speed at which it takes
        in a flood, and drops what was not read at the log's limit.
        """
        ...

    def disk_used(self, container_id: str) -> int:
        """Bytes of its writable layer: what was made or changed over its image."""
        ...

    def processes(self, container_id: str) -> int:
        """How many processes and threads it has now; 0 where it does not run."""
        ...

    def copy_out(self, container_id: str, path: str, target: BinaryIO, limit: int) -> None:
        """Writes a file of the container (not of a tmpfs), running or stopped, into `target`, piece by piece.

        Raises `EngineError` where it is none, or has more than `limit` bytes.
        """
        ...

    def exists(self, container_id: str, path: str) -> bool:
        """Whether its image, its volumes or what it wrote have something at this path; before `start` too."""
        ...

    def put_archive(self, container_id: str, path: str, archive: BinaryIO) -> None:
        """Unpacks a tar into a folder of the container, or of a volume in it; before `start` too.

        Refused where the file system or the volume is read-only: fill a volume by `lab.engine.volumes`.
        """
        ...

    def volumes(self, labels: Mapping[str, str | None]) -> list[VolumeState]: ...

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """An empty one on the engine's machine. Raises where the name is taken."""
        ...

    def remove_volume(self, name: str) -> None:
        """Not there any more is fine; in use is an error."""
        ...
