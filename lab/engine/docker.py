"""The engine's verbs on a Docker engine, through the SDK's low-level client: one request a verb."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import Any, BinaryIO

from docker.errors import APIError, NotFound
from urllib3.exceptions import HTTPError

from lab.clock import Deadline
from lab.engine.base import (
    ContainerSpec,
    ContainerState,
    ContainerStatus,
    EngineInfo,
    ExecResult,
    NetworkSpec,
    NetworkState,
    StreamName,
    VolumeState,
)
from lab.engine.bodies import container_body, exit_code, status_of
from lab.engine.endpoint import Endpoint
from lab.engine.logs import DockerLogs
from lab.engine.store import DockerImages, calling
from lab.engine.stream import STDERR, DockerMeter, DockerStream, Frames, feed, hijack
from lab.errors import EngineError, SubnetTaken, SysctlRefused
from lab.files import Unfit

#: What 20.10 (Debian 12) speaks; 29.0 to 29.2 want 1.44, so the engine's own minimum wins where higher.
API_VERSION = "1.41"
#: A local engine answers /version in 1 to 5 ms; one that takes longer than this is stuck.
ANSWER_PATIENCE = 10.0
_CHUNK = 64 * 1024  # bytes

#: What runc and crun say about a sysctl that the kernel does not accept.
_SYSCTL = re.compile(
    r"(?P<verb>open|write(?: to)?) [`'\"]?/proc/sys/(?P<path>net/[^:`'\"\s]+)[`'\"]?: (?P<why>[^:]+)"
)
_NO_SYSCTL = "the kernel has no such sysctl"


@contextmanager
def _fine_if(words: str) -> Iterator[None]:
    """Takes the engine's refusal with these words for success: what was asked for is so already."""
    try:
        yield
    except APIError as error:
        if words not in str(error).lower():
            raise


def _copy_member(archive: tarfile.TarFile, target: BinaryIO, limit: int) -> None:
    """The file that the archive begins with. Raises `Unfit` where it is none, or too large."""
    member = archive.next()
    content = archive.extractfile(member) if member is not None and member.isfile() else None
    if member is None or content is None:
        raise Unfit(errno.EINVAL, "it is not a file")
    if member.size > limit:
        raise Unfit(errno.EFBIG, f"it has {member.size:,} bytes; at most {limit:,} are read")
    shutil.copyfileobj(content, target, 1 << 20)


def connect(endpoint: Endpoint, *, patience: float = ANSWER_PATIENCE) -> DockerEngine:
    """The engine at an endpoint, asked once who it is. Raises `EngineError` where none answers."""
    what = f"{endpoint.address} ({endpoint.found})"
    if endpoint.address.startswith("unix:"):
        # The SDK's words for a socket that is not there are long, and it leaves its own open.
        endpoint.connect(patience).close()
    try:
        with calling(what):
            client: Any = endpoint.client(API_VERSION, patience)
            try:
                answer: dict[str, Any] = client.version(api_version=False)
            finally:
                client.close()
    except (OSError, ValueError) as error:  # an address that the SDK cannot parse, a certificate not there
        raise EngineError(f"{what}: {error}", hint="see `docker context ls` and DOCKER_HOST") from error
    version = max(API_VERSION, str(answer.get("MinAPIVersion") or API_VERSION), key=_numbers)
    if _numbers(str(answer.get("ApiVersion", "0"))) < _numbers(version):
        raise EngineError(
            f"{what}: Docker {answer.get('Version')} speaks API {answer.get('ApiVersion')}, "
            f"the lab needs {API_VERSION} (Docker 20.10)",
            hint="install a newer Docker engine",
        )
    return DockerEngine(endpoint, version, _info(answer, version, endpoint))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _info(answer: Mapping[str, Any], version: str, endpoint: Endpoint) -> EngineInfo:
    system = str((answer.get("Platform") or {}).get("Name") or "")
    return EngineInfo(
        name="docker",
        version=str(answer.get("Version", "")),
        api_version=version,
        kernel=str(answer.get("KernelVersion", "")),
        operating_system=system or f"{answer.get('Os', '')}/{answer.get('Arch', '')}",
        address=endpoint.address,
    )


class DockerEngine(DockerImages):
    """`Engine` on Docker 20.10 or newer. The connections are pooled; threads share them."""

    def __init__(self, endpoint: Endpoint, version: str, info: EngineInfo) -> None:
        super().__init__(endpoint, version)
        self._info = info
        self._network_names: dict[str, str] = {}
        self._limits_layers = True  # until the engine refuses it

    def close(self) -> None:
        self._api.close()

    def info(self) -> EngineInfo:
        return self._info

    def storage(self) -> tuple[str, str]:
        """The engine's data folder on its machine, and its storage driver."""
        with calling("ask the engine about itself"):
            answer: dict[str, Any] = self._api.info()
        return str(answer.get("DockerRootDir", "")), str(answer.get("Driver", ""))

    def networks(self) -> list[NetworkState]:
        with calling("list the networks"):
            listed: list[dict[str, Any]] = self._api.networks()
        return [
            NetworkState(item["Id"], item["Name"], item.get("Labels") or {}, _subnets(item))
            for item in listed
        ]

    def containers(self, labels: Mapping[str, str | None]) -> list[ContainerState]:
        with calling("list the containers"):
            listed: list[dict[str, Any]] = self._api.containers(all=True, filters={"label": _wanted(labels)})
        return [
            ContainerState(
                id=item["Id"],
                name=str((item.get("Names") or [""])[0]).lstrip("/"),
                running=item["State"] in ("running", "paused", "restarting"),
                exit_code=exit_code(item),
                labels=item.get("Labels") or {},
                image=item["Image"],
            )
            for item in listed
        ]

    def inspect(self, container_id: str) -> ContainerStatus:
        with calling(f"look at container {container_id[:12]}"):
            return status_of(self._api.inspect_container(container_id))

    def create_network(self, spec: NetworkSpec) -> str:
        body = {
            "Name": spec.name,
            "Driver": "bridge",
            "CheckDuplicate": True,
            "Internal": True,
            "IPAM": {"Driver": "default", "Config": [{"Subnet": str(spec.subnet)}]},
            # The engine's machine must not be reachable at the first address.
            "Options": {
                "com.docker.network.bridge.inhibit_ipv4": "true",
                # Docker 28 announces every endpoint by three gratuitous ARPs, which captures would show.
                # 20.10 accepts the option and ignores it: it announces nothing.
                "com.docker.network.advertise_addr_nmsgs": "0",
            },
            "Labels": dict(spec.labels),
        }
        try:
            identity = str(self._post(f"create network {spec.name}", "/networks/create", body)["Id"])
        except EngineError as error:
            # "Pool overlaps with other one on this address space", "networks have overlapping IPv4".
            if "overlap" in str(error).lower():
                raise SubnetTaken(f"{spec.subnet} is taken: {error}") from error
            raise
        self._network_names[identity] = spec.name
        return identity

    def remove_network(self, network_id: str) -> None:
        with calling(f"remove network {network_id[:12]}"), suppress(NotFound):
            self._api.remove_network(network_id)

    def create(self, spec: ContainerSpec) -> str:
        what = f"create container {spec.name}"
        network = self._network_name(spec.network) if spec.network is not None else None
        body = container_body(spec, network, limit_layer=self._limits_layers)
        try:
            answer = self._post(what, "/containers/create", body, name=spec.name)
        except EngineError as error:
            # "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
            if "StorageOpt" not in body["HostConfig"] or "storage" not in str(error).lower():
                raise
            self._limits_layers = False
            answer = self._post(what, "/containers/create", container_body(spec, network), name=spec.name)
        return str(answer["Id"])

    def attach(self, container_id: str) -> DockerStream:
        path = f"/v{self.api_version}/containers/{container_id}/attach?stream=1&stdin=1&stdout=1&stderr=1"
        connection, rest = hijack(self.endpoint, path)
        return DockerStream(connection, rest, f"container {container_id[:12]}")

    def start(self, container_id: str) -> None:
        try:
            with calling(f"start container {container_id[:12]}"):
                self._api.start(container_id)
        except EngineError as error:
            if refused := _SYSCTL.search(str(error)):
                unknown = refused["verb"] == "open"
                why = _NO_SYSCTL if unknown else f"the kernel refuses the value ({refused['why']})"
                raise SysctlRefused(refused["path"].replace("/", "."), why) from error
            raise

    def kill(self, container_id: str, signal: str = "KILL") -> None:
        with calling(f"kill container {container_id[:12]}"), suppress(NotFound), _fine_if("not running"):
            self._api.kill(container_id, signal)

    def pause(self, container_id: str) -> None:
        with calling(f"pause container {container_id[:12]}"):
            self._api.pause(container_id)

    def unpause(self, container_id: str) -> None:
        with calling(f"unpause container {container_id[:12]}"), _fine_if("not paused"):
            self._api.unpause(container_id)

    def wait(self, container_id: str, timeout: float) -> int:
        with calling(f"wait for container {container_id[:12]} to stop ({timeout:g} s)"):
            answer = self._api.wait(container_id, timeout=timeout)
        return int(answer["StatusCode"])

    def remove(self, container_id: str) -> None:
        with calling(f"remove container {container_id[:12]}"), suppress(NotFound):
            try:
                self._api.remove_container(container_id, force=True, v=True)
            except APIError as error:
                if "already in progress" not in str(error).lower():
                    raise
                self._api.wait(container_id, timeout=10, condition="removed")  # someone else began it

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
        deadline = Deadline.after(timeout, f"run {' '.join(argv)} in container {container_id[:12]}")
        more: dict[str, Any] = {}
        if user is not None:
            more["User"] = user
        if environment:
            more["Env"] = [f"{name}={value}" for name, value in environment.items()]
        output: dict[StreamName, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}

        def keep(stream: StreamName, data: bytes) -> None:
            output[stream] += data[: limit - len(output[stream])]

        source = (stdin,) if stdin else None
        status = self._run(
            deadline, container_id, argv, source, each or keep, note=f" (limit {timeout:g} s)", **more
        )
        return ExecResult(status, bytes(output["stdout"]), bytes(output["stderr"]))

    def logs(self, container_id: str, *, follow: bool = False, last: int | None = None) -> DockerLogs:
        return DockerLogs(self.endpoint, self.api_version, container_id, follow=follow, last=last)

    def meter(self, container_id: str) -> DockerMeter:
        path = f"/v{self.api_version}/containers/{container_id}/attach?stream=1&stdout=1&stderr=1"
        return DockerMeter(*hijack(self.endpoint, path))

    def disk_used(self, container_id: str) -> int:
        with calling(f"measure container {container_id[:12]}"):
            url = self._api._url("/containers/{0}/json", container_id)
            answer = self._api._result(self._api._get(url, params={"size": True}), json=True)
        return int(answer.get("SizeRw") or 0)

    def processes(self, container_id: str) -> int:
        with calling(f"count the processes of container {container_id[:12]}"):
            answer: dict[str, Any] = self._api.stats(container_id, stream=False, one_shot=True)
        return int((answer.get("pids_stats") or {}).get("current") or 0)

    def exec_attached(
        self,
        container_id: str,
        argv: Sequence[str],
        stdin: int | None,
        write: Callable[[StreamName, bytes], object],
    ) -> int:
        """Runs a command as a shell would, for as long as it takes; its exit status.

        `stdin` is a descriptor that is read to its end for the command's stdin (None: the command has none).
        Output goes to `write` as it comes.
        """
        source = None if stdin is None else iter(partial(os.read, stdin, _CHUNK), b"")
        forever = Deadline(f"run {' '.join(argv)} in container {container_id[:12]}", None)
        return self._run(forever, container_id, argv, source, write)

    def _run(
        self,
        deadline: Deadline,
        container_id: str,
        argv: Sequence[str],
        source: Iterable[bytes] | None,
        write: Callable[[StreamName, bytes], object],
        *,
        note: str = "",
        **more: Any,
    ) -> int:
        """Runs a command with `source` as its stdin; its exit status. Errors of reading end with `note`."""
        streams = {"AttachStdin": source is not None, "AttachStdout": True, "AttachStderr": True}
        body = {**streams, "Cmd": list(argv), **more}
        identity = str(self._post(deadline.what, f"/containers/{container_id}/exec", body)["Id"])
        start = f"/v{self.api_version}/exec/{identity}/start"
        connection, rest = hijack(self.endpoint, start, {"Detach": False, "Tty": False})

        def recv(size: int) -> bytes:
            left = deadline.timeout()
            connection.settimeout(None if left is None else max(0.001, left))
            try:
                return connection.recv(size)
            except OSError as error:
                raise EngineError(f"{deadline.what}: {error}{note}") from error

        with connection:
            if source is not None:
                # A daemon: its read may outlast the command, and must not keep the lab from ending.
                threading.Thread(target=feed, args=(source, connection), daemon=True).start()
            frames = Frames(recv, rest)
            while (frame := frames.read()) is not None:
                write("stderr" if frame[0] == STDERR else "stdout", frame[1])
        if deadline.at_ns is None:
            deadline = Deadline.after(ANSWER_PATIENCE, deadline.what)
        return self._exec_status(identity, deadline)

    def copy_out(self, container_id: str, path: str, target: BinaryIO, limit: int) -> None:
        what = f"read {path} of container {container_id[:12]}"
        url = self._api._url("/containers/{0}/archive", container_id)
        plain = {"Accept-Encoding": "identity"}  # the engine would spend its time on gzip
        with calling(what), self._api._get(url, params={"path": path}, headers=plain, stream=True) as answer:
            self._api._raise_for_status(answer)
            try:
                with tarfile.open(fileobj=answer.raw, mode="r|") as members:
                    _copy_member(members, target, limit)
            except (tarfile.TarError, HTTPError) as error:
                raise EngineError(f"{what}: the engine's answer broke off: {error}") from error
            except Unfit as error:
                raise EngineError(f"{what}: {error.strerror}") from error

    def _post(self, what: str, path: str, body: object, **params: str) -> dict[str, Any]:
        """A request that the SDK has no thin call for: its own inspects the container after most of them."""
        with calling(what):
            answer = self._api._post_json(self._api._url(path), data=body, params=params)
            result: dict[str, Any] = self._api._result(answer, json=True)
            return result

    def exists(self, container_id: str, path: str) -> bool:
        with calling(f"look for {path} in container {container_id[:12]}"):
            answer = self._api.head(
                self._api._url("/containers/{0}/archive", container_id), params={"path": path}, timeout=60
            )
            if answer.status_code == 404:
                self._api.inspect_container(container_id)  # the 404 of a container that does not exist
                return False
            self._api._raise_for_status(answer)
        return True

    def put_archive(self, container_id: str, path: str, archive: BinaryIO) -> None:
        with calling(f"put files into {path} of container {container_id[:12]}"):
            self._api.put_archive(container_id, path, archive)

    def volumes(self, labels: Mapping[str, str | None]) -> list[VolumeState]:
        with calling("list the volumes"):
            listed: dict[str, Any] = self._api.volumes(filters={"label": _wanted(labels)})
        return [
            VolumeState(str(item["Name"]), item.get("Labels") or {}) for item in listed.get("Volumes") or []
        ]

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        with calling(f"create volume {name}"):
            try:
                self._api.inspect_volume(name)
            except NotFound:
                self._api.create_volume(name, driver="local", labels=dict(labels))
                return
        # The engine would return the existing one, with what somebody left in it.
        raise EngineError(f"create volume {name}: the name is already in use")

    def remove_volume(self, name: str) -> None:
        with calling(f"remove volume {name}"), suppress(NotFound):
            self._api.remove_volume(name)

    def _network_name(self, identity: str) -> str:
        """20.10 gives a container its MAC only where it is told the network by name, not by id."""
        name = self._network_names.get(identity)
        if name is None:
            with calling(f"look up network {identity[:12]}"):
                name = str(self._api.inspect_network(identity)["Name"])
            self._network_names[identity] = name
        return name

    def _exec_status(self, identity: str, deadline: Deadline) -> int:
        """The output ends a moment before the engine knows the exit status; no call waits for it."""
        while True:
            with calling(deadline.what):
                state: dict[str, Any] = self._api.exec_inspect(identity)
            if not state.get("Running") and state.get("ExitCode") is not None:
                return int(state["ExitCode"])
            if deadline.expired():
                raise EngineError(f"{deadline.what}: out of time")
            time.sleep(0.002)


def _subnets(item: Mapping[str, Any]) -> list[IPv4Network]:
    found = []
    for config in (item.get("IPAM") or {}).get("Config") or []:
        try:
            found.append(IPv4Network(config["Subnet"]))
        except (KeyError, AddressValueError, NetmaskValueError):
            continue  # IPv6, or an address plan without a subnet
    return found


def _wanted(labels: Mapping[str, str | None]) -> list[str]:
    """Labels as the engine's filter takes them."""
    return [key if value is None else f"{key}={value}" for key, value in labels.items()]
