"""An engine in memory: containers are threads that run a Python function. For tests without Docker."""

from __future__ import annotations

import itertools
import tarfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from lab.engine.base import (
    ContainerSpec,
    ContainerState,
    ContainerStatus,
    EngineInfo,
    ExecResult,
    Mount,
    NetworkSpec,
    NetworkState,
    StreamName,
    VolumeState,
)
from lab.engine.bodies import signal_of
from lab.engine.images import BuildFailed, BuildRequest, Progress
from lab.errors import EngineError, SubnetTaken
from tests.fake_process import (
    FakeContainer,
    FakeKilled,
    FakeLogs,
    FakeMeter,
    FakeProcess,
    FakeStream,
    Program,
)

__all__ = ["FakeContainer", "FakeEngine", "FakeKilled", "FakeProcess", "FakeStream", "Program"]


class FakeEngine:
    """`Engine` and `ImageStore` in memory. `images` maps a tag to the program of its containers.

    The program gets the container's command as `argv`; `exec` runs the same program with its own `argv`.
    """

    def __init__(self, images: Mapping[str, Program] | None = None) -> None:
        self._images: dict[str, Program] = dict(images or {})
        self._networks: dict[str, NetworkState] = {}
        self._containers: dict[str, FakeContainer] = {}
        self._volumes: dict[str, tuple[VolumeState, dict[str, bytes]]] = {}
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

    def remove_untagged(self, label: str) -> None:
        """A build of the fake leaves nothing without a tag."""

    def pull(self, reference: str, tag: str | None = None, *, patience: float) -> None:
        if reference not in self.registry:
            raise EngineError(f"pull {reference}: no registry answers")
        self._add_image(tag or reference)

    def import_image(self, archive: Path, tag: str) -> None:
        if not archive.exists():
            raise EngineError(f"import {tag}: {archive} is not there")
        self._add_image(tag)

    def build(
        self,
        request: BuildRequest,
        progress: Progress = lambda line: None,
        *,
        stop: threading.Event | None = None,
    ) -> None:
        """The image's program does nothing. A Dockerfile with `RUN false` fails, as it would."""
        what = f"build {request.tag}"
        with tarfile.open(fileobj=request.context) as context:
            content = context.extractfile(request.dockerfile)
            lines = [] if content is None else content.read().decode().splitlines()
        steps = [line for line in lines if line.strip() and not line.startswith("#")]
        base = request.arguments.get("BASE")
        if base is not None and base not in self._images:
            raise BuildFailed(what, f"no such image: {base}")
        output = []
        for number, step in enumerate(steps, start=1):
            output.append(f"Step {number}/{len(steps)} : {step}")
            progress(output[-1])
            if step == "RUN false":
                raise BuildFailed(what, "The command 'false' returned a non-zero code: 1", output)
        self._add_image(request.tag)

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
            users = [c for c in self._containers.values() if c.spec.network == network_id and c.runs]
            if users:
                raise EngineError(f"remove network {network_id[:12]}: it has active endpoints")
            self._networks.pop(network_id, None)

    # Containers

    def containers(self, labels: Mapping[str, str | None]) -> list[ContainerState]:
        with self._lock:
            return [
                ContainerState(
                    c.id,
                    c.spec.name,
                    c.runs,
                    c.exit_code,
                    dict(c.spec.labels),
                    c.spec.image,
                )
                for c in self._containers.values()
                if _carries(c.spec.labels, labels)
            ]

    def inspect(self, container_id: str) -> ContainerStatus:
        container = self._container(container_id)
        code = None if container.runs else container.exit_code
        check = container.spec.healthcheck
        if container.runs and check is not None and container.health == "starting":
            done = self.exec(container_id, list(check.test[1:]))
            container.health = "healthy" if done.exit_code == 0 else "unhealthy"
            container.health_output = done.stdout.decode()
        return ContainerStatus(
            id=container_id,
            running=container.runs,
            paused=container.runs and container.process.paused,
            exit_code=code,
            signal=signal_of(code),
            oom_killed=container.process.oom_killed,
            health=container.health,
            health_output=container.health_output,
            started_ns=container.started_ns,
            finished_ns=container.finished_ns,
            error="",
            stop_signal=container.spec.stop_signal or "SIGTERM",
        )

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
                if spec.hostname is not None or spec.hosts:
                    raise EngineError(f"{what}: conflicting options: hostname or hosts and the network mode")
            container = FakeContainer(
                self._new_id(), spec, FakeProcess(spec, (), {}), self._images[spec.image]
            )
            container.process.argv = container.argv()
            self._containers[container.id] = container
            return container.id

    def attach(self, container_id: str) -> FakeStream:
        container = self._container(container_id)
        return FakeStream(container.process, container.ended)

    def start(self, container_id: str) -> None:
        container = self._container(container_id)
        with self._lock:
            address = container.spec.address
            for other in self._containers.values():
                if address is not None and other.spec.address == address and other.runs:
                    raise EngineError(f"start container {container_id[:12]}: address already in use")
            container.begin()

    def kill(self, container_id: str, signal: str = "KILL") -> None:
        with self._lock:
            container = self._containers.get(container_id)
        if container is None or not container.runs:
            return
        container.process.signal(signal)
        # As for the first process of a container: other signals end it only if it has a handler.
        if signal == "KILL":
            container.process.kill()
            container.ended.wait(10)

    def pause(self, container_id: str) -> None:
        self._running(container_id).process.freeze(True)

    def unpause(self, container_id: str) -> None:
        self._container(container_id).process.freeze(False)

    def wait(self, container_id: str, timeout: float) -> int:
        container = self._container(container_id)
        if not container.ended.wait(timeout) or container.exit_code is None:
            raise EngineError(f"wait for container {container_id[:12]} to stop ({timeout:g} s): it runs on")
        return container.exit_code

    def remove(self, container_id: str) -> None:
        self.kill(container_id)
        with self._lock:
            self._containers.pop(container_id, None)

    def exec(
        self,
        container_id: str,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        limit: int = 16 << 20,
        each: Callable[[StreamName, bytes], None] | None = None,
    ) -> ExecResult:
        container = self._running(container_id)
        spec = replace(container.spec, stdin=True)
        process = FakeProcess(
            spec,
            argv,
            container.process.files,
            user=user,
            environment=environment,
        )
        if stdin:
            process.stdin.put(stdin)
        process.stdin.put(None)
        running = FakeContainer("exec", spec, process, container.program, started=True)
        threading.Thread(target=running.run, daemon=True).start()
        if not running.ended.wait(timeout) or running.exit_code is None:
            process.kill()
            raise EngineError(f"run {' '.join(argv)}: out of time")
        stdout, stderr = b"".join(iter(process.stdout.get, None)), bytes(process.errors)
        if each is not None:
            each("stdout", stdout)
            each("stderr", stderr)
            return ExecResult(running.exit_code, b"", b"")
        return ExecResult(running.exit_code, stdout[:limit], stderr[:limit])

    def logs(self, container_id: str, *, follow: bool = False, last: int | None = None) -> FakeLogs:
        return FakeLogs(self._container(container_id).process.log, follow=follow, last=last)

    def meter(self, container_id: str) -> FakeMeter:
        return FakeMeter(self.logs(container_id, follow=True))

    def disk_used(self, container_id: str) -> int:
        return sum(map(len, self._container(container_id).process.files.values()))

    def processes(self, container_id: str) -> int:
        return int(self._container(container_id).runs)

    def copy_out(self, container_id: str, path: str, target: BinaryIO, limit: int) -> None:
        container = self._container(container_id)
        files, inside = self._place(container, path)
        if inside not in files:
            raise EngineError(f"read {path} of container {container_id[:12]}: no such file")
        if (size := len(files[inside])) > limit:
            raise EngineError(
                f"read {path} of container {container_id[:12]}: "
                f"it has {size:,} bytes; at most {limit:,} are read"
            )
        target.write(files[inside])

    def exists(self, container_id: str, path: str) -> bool:
        files, inside = self._place(self._container(container_id), path.rstrip("/"))
        return any(name == inside or name.startswith(inside + "/") for name in files)

    def put_archive(self, container_id: str, path: str, archive: BinaryIO) -> None:
        container = self._container(container_id)
        what = f"put files into {path} of container {container_id[:12]}"
        mount = _mount_at(container, path)
        if mount.read_only if mount is not None else container.spec.read_only:
            raise EngineError(f"{what}: it is marked read-only")
        with tarfile.open(fileobj=archive) as unpacked:
            for entry in unpacked:
                content = unpacked.extractfile(entry)
                if content is not None:
                    files, inside = self._place(container, f"{path.rstrip('/')}/{entry.name}")
                    files[inside] = content.read()

    # Volumes

    def volumes(self, labels: Mapping[str, str | None]) -> list[VolumeState]:
        with self._lock:
            return [state for state, _ in self._volumes.values() if _carries(state.labels, labels)]

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        with self._lock:
            if name in self._volumes:
                raise EngineError(f"create volume {name}: the name is already in use")
            self._volumes[name] = (VolumeState(name, dict(labels)), {})

    def remove_volume(self, name: str) -> None:
        with self._lock:
            if any(m.volume == name for c in self._containers.values() for m in c.spec.mounts):
                raise EngineError(f"remove volume {name}: volume is in use")
            self._volumes.pop(name, None)

    def _place(self, container: FakeContainer, path: str) -> tuple[dict[str, bytes], str]:
        """The files that a path of the container is among, and its name there."""
        mount = _mount_at(container, path)
        if mount is None:
            return container.process.files, path
        return self._volumes[mount.volume][1], path[len(mount.target) :]

    def _running(self, container_id: str) -> FakeContainer:
        container = self._container(container_id)
        if not container.runs:
            raise EngineError(f"container {container_id[:12]} is not running")
        return container

    def _container(self, container_id: str) -> FakeContainer:
        with self._lock:
            if container_id not in self._containers:
                raise EngineError(f"no such container: {container_id[:12]}")
            return self._containers[container_id]

    def _new_id(self) -> str:
        return f"{next(self._numbers):064x}"


def _carries(labels: Mapping[str, str], wanted: Mapping[str, str | None]) -> bool:
    return all(key in labels and value in (None, labels[key]) for key, value in wanted.items())


def _mount_at(container: FakeContainer, path: str) -> Mount | None:
    for mount in container.spec.mounts:
        if path == mount.target or path.startswith(mount.target + "/"):
            return mount
    return None
