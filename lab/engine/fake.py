"""An engine in memory: containers are threads that run a Python function. For tests without Docker."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.engine.base import (
    ContainerSpec,
    ContainerState,
    EngineInfo,
    ExecResult,
    NetworkSpec,
    NetworkState,
)
from lab.errors import EngineError, SubnetTaken

Program = Callable[["FakeProcess"], int]


class FakeKilled(BaseException):
    """Unwinds a program that was killed, as SIGKILL would; a program cannot catch it with `Exception`."""


class FakeProcess:
    """What a program of the fake engine sees: its arguments, its streams, its files.

    Every method raises `FakeKilled` once the container was killed.
    """

    def __init__(self, spec: ContainerSpec, argv: Sequence[str], files: dict[str, bytes]) -> None:
        self.spec = spec
        self.argv = list(argv)
        self.files = files
        self.stdin: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.stdout: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.signals: list[str] = []
        self.errors = bytearray()
        self._killed = threading.Event()
        self._pending = b""

    def read_line(self) -> bytes | None:
        """The next line of stdin without its newline, blocking; None at its end."""
        while b"\n" not in self._pending:
            chunk = self.stdin.get()
            self._check()
            if chunk is None:
                self.stdin.put(None)
                rest, self._pending = self._pending, b""
                return rest or None
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def write(self, data: bytes) -> None:
        self._check()
        self.stdout.put(data)

    def error(self, data: bytes) -> None:
        self._check()
        self.errors += data

    def pause(self) -> None:
        """Blocks until the container is killed."""
        self._killed.wait()
        self._check()

    def kill(self) -> None:
        self._killed.set()
        self.stdin.put(b"")

    def _check(self) -> None:
        if self._killed.is_set():
            raise FakeKilled


class FakeStream:
    """`Stream` on a fake container."""

    def __init__(self, process: FakeProcess, ended: threading.Event) -> None:
        self._process = process
        self._ended = ended
        self._closed = False
        self._pending = b""

    def write(self, data: bytes) -> None:
        if self._closed or self._ended.is_set():
            raise EngineError("the container has ended, nothing can be written to it")
        self._process.stdin.put(data)

    def read_line(self) -> bytes | None:
        while b"\n" not in self._pending:
            chunk = None if self._closed else self._process.stdout.get()
            if chunk is None:
                self._process.stdout.put(None)
                rest, self._pending = self._pending, b""
                return rest or None
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def stderr_tail(self) -> str:
        return bytes(self._process.errors[-8192:]).decode(errors="replace")

    def close(self) -> None:
        self._closed = True
        self._process.stdin.put(None)
        self._process.stdout.put(None)


@dataclass
class FakeContainer:
    id: str
    spec: ContainerSpec
    process: FakeProcess
    program: Program
    started: bool = False
    exit_code: int | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        try:
            self.exit_code = self.program(self.process)
        except FakeKilled:
            self.exit_code = 137
        finally:
            self.ended.set()
            self.process.stdout.put(None)


class FakeEngine:
    """`Engine` and `ImageStore` in memory. `images` maps a tag to the program of its containers.

    The program gets the container's command as `argv`; `exec` runs the same program with its own `argv`.
    """

    def __init__(self, images: Mapping[str, Program] | None = None) -> None:
        self._images: dict[str, Program] = dict(images or {})
        self._networks: dict[str, NetworkState] = {}
        self._containers: dict[str, FakeContainer] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self.built: list[str] = []  #: tags that were pulled, imported or built, in order
        self.registry: set[str] = set()  #: references that `pull` finds

    def info(self) -> EngineInfo:
        return EngineInfo("fake", "0", "0", "none", "none", "memory")

    # Images

    def image_id(self, image: str) -> str | None:
        return f"sha256:{image}" if image in self._images else None

    def image_tags(self) -> list[str]:
        return list(self._images)

    def remove_image(self, tag: str) -> bool:
        with self._lock:
            if any(container.spec.image == tag for container in self._containers.values()):
                return False
            self._images.pop(tag, None)
            return True

    def pull(self, reference: str, tag: str, *, patience: float) -> None:
        if reference not in self.registry:
            raise EngineError(f"pull {reference}: no registry answers")
        self._add_image(tag)

    def import_image(self, archive: Path, tag: str) -> None:
        if not archive.exists():
            raise EngineError(f"import {tag}: {archive} is not there")
        self._add_image(tag)

    def build(self, context: bytes, tag: str, *, arguments: dict[str, str]) -> None:
        if arguments["BASE"] not in self._images:
            raise EngineError(f"build {tag}: no such image: {arguments['BASE']}")
        self._add_image(tag)

    def _add_image(self, tag: str) -> None:
        self._images[tag] = lambda process: 0
        self.built.append(tag)

    # Networks

    def networks(self) -> list[NetworkState]:
        with self._lock:
            return list(self._networks.values())

    def create_network(self, spec: NetworkSpec) -> str:
        with self._lock:
            for network in self._networks.values():
                if network.name == spec.name:
                    raise EngineError(f"create network {spec.name}: network with that name already exists")
                if any(spec.subnet.overlaps(subnet) for subnet in network.subnets):
                    raise SubnetTaken(f"{spec.subnet} is taken: it overlaps {network.name}")
            identity = self._new_id()
            self._networks[identity] = NetworkState(identity, spec.name, dict(spec.labels), [spec.subnet])
            return identity

    def remove_network(self, network_id: str) -> None:
        with self._lock:
            users = [c for c in self._containers.values() if c.spec.network == network_id and _runs(c)]
            if users:
                raise EngineError(f"remove network {network_id[:12]}: it has active endpoints")
            self._networks.pop(network_id, None)

    # Containers

    def containers(self, labels: Mapping[str, str | None]) -> list[ContainerState]:
        with self._lock:
            return [
                ContainerState(c.id, c.spec.name, _runs(c), c.exit_code, dict(c.spec.labels), c.spec.image)
                for c in self._containers.values()
                if all(
                    key in c.spec.labels and value in (None, c.spec.labels[key])
                    for key, value in labels.items()
                )
            ]

    def create(self, spec: ContainerSpec) -> str:
        what = f"create container {spec.name}"
        with self._lock:
            if spec.image not in self._images:
                raise EngineError(f"{what}: no such image: {spec.image}")
            if any(c.spec.name == spec.name for c in self._containers.values()):
                raise EngineError(f"{what}: the name is already in use")
            if spec.network is not None and spec.network not in self._networks:
                raise EngineError(f"{what}: no such network: {spec.network}")
            if spec.join is not None:
                self._container(spec.join)
            process = FakeProcess(spec, spec.command or [], {})
            identity = self._new_id()
            self._containers[identity] = FakeContainer(identity, spec, process, self._images[spec.image])
            return identity

    def attach(self, container_id: str) -> FakeStream:
        container = self._container(container_id)
        return FakeStream(container.process, container.ended)

    def start(self, container_id: str) -> None:
        container = self._container(container_id)
        with self._lock:
            address = container.spec.address
            for other in self._containers.values():
                if address is not None and _runs(other) and other.spec.address == address:
                    raise EngineError(f"start container {container_id[:12]}: address already in use")
            container.started = True
        threading.Thread(target=container.run, name=container.spec.name, daemon=True).start()

    def kill(self, container_id: str, signal: str = "KILL") -> None:
        with self._lock:
            container = self._containers.get(container_id)
        if container is None or not _runs(container):
            return
        container.process.signals.append(signal)
        # As for the first process of a container: other signals end it only where it has a handler.
        if signal == "KILL":
            container.process.kill()
            container.ended.wait(10)

    def wait(self, container_id: str, timeout: float) -> int:
        container = self._container(container_id)
        if not container.ended.wait(timeout) or container.exit_code is None:
            raise EngineError(f"wait for container {container_id[:12]} to stop ({timeout:g} s): it runs on")
        return container.exit_code

    def remove(self, container_id: str) -> None:
        self.kill(container_id)
        with self._lock:
            self._containers.pop(container_id, None)

    def exec(self, container_id: str, argv: Sequence[str], *, timeout: float = 30.0) -> ExecResult:
        container = self._container(container_id)
        if not _runs(container):
            raise EngineError(f"container {container_id[:12]} is not running")
        process = FakeProcess(container.spec, argv, container.process.files)
        process.stdin.put(None)
        running = FakeContainer("exec", container.spec, process, container.program, started=True)
        threading.Thread(target=running.run, daemon=True).start()
        if not running.ended.wait(timeout) or running.exit_code is None:
            process.kill()
            raise EngineError(f"run {' '.join(argv)}: out of time")
        output = b"".join(iter(process.stdout.get, None))
        return ExecResult(running.exit_code, output, bytes(process.errors))

    def disk_used(self, container_id: str) -> int:
        return sum(map(len, self._container(container_id).process.files.values()))

    def read_file(self, container_id: str, path: str) -> bytes:
        files = self._container(container_id).process.files
        if path not in files:
            raise EngineError(f"read {path} of container {container_id[:12]}: no such file")
        return files[path]

    def _container(self, container_id: str) -> FakeContainer:
        with self._lock:
            if container_id not in self._containers:
                raise EngineError(f"no such container: {container_id[:12]}")
            return self._containers[container_id]

    def _new_id(self) -> str:
        return f"{next(self._numbers):064x}"


def _runs(container: FakeContainer) -> bool:
    return container.started and not container.ended.is_set()
