"""A container in the words of Docker's API: the body that creates one, and what the API says about one.

Only what API 1.41 (Docker 20.10) knows, and nothing that a newer engine has dropped: no KernelMemory, no
health check with a start interval (1.44), no part of a volume as a mount (1.45).
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from lab.clock import NS
from lab.engine.base import ContainerSpec, ContainerStatus, Health, Healthcheck, Mount
from lab.errors import EngineError

_LOG_FILES = 2  # the engine drops the older one, so between half of the limit and all of it is kept


def container_body(spec: ContainerSpec, network: str | None, *, limit_layer: bool = False) -> dict[str, Any]:
    """The body of the create call; `network` is the name of the spec's network."""
    host = _host_config(spec)
    if limit_layer and spec.limits.layer is not None:
        host["StorageOpt"] = {"size": str(spec.limits.layer)}
    body: dict[str, Any] = {
        "Image": spec.image,
        "Labels": dict(spec.labels),
        "Env": [f"{name}={value}" for name, value in spec.environment.items()],
        "AttachStdin": spec.stdin,
        "AttachStdout": spec.stdin,
        "AttachStderr": spec.stdin,
        "OpenStdin": spec.stdin,
        # When the lab dies the engine closes stdin, and an agent that sees its end ends.
        "StdinOnce": spec.stdin and not spec.outlives_lab,
        "Tty": False,
        "HostConfig": host,
        # Otherwise an engine that ends or restarts waits ten seconds for an agent, which has nothing to save.
        "StopSignal": spec.stop_signal,
        "Cmd": None if spec.command is None else list(spec.command),
        # An empty list keeps the image's; one empty word takes it away.
        "Entrypoint": None if spec.entrypoint is None else list(spec.entrypoint) or [""],
        "WorkingDir": spec.working_dir,
        "User": spec.user,
        "Healthcheck": None if spec.healthcheck is None else _healthcheck(spec.healthcheck),
        "Hostname": spec.hostname,
    }
    _networking(spec, network, body, host)
    return _given(body)


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is None: the engine or the image decides that."""
    return {name: value for name, value in body.items() if value is not None}


def _host_config(spec: ContainerSpec) -> dict[str, Any]:
    limits = spec.limits
    host = {
        "CapDrop": ["ALL"],
        "CapAdd": list(spec.capabilities),
        "Sysctls": dict(spec.sysctls),
        "Tmpfs": dict(spec.tmpfs),
        "Binds": [*spec.binds, *(_mount(mount) for mount in spec.mounts)],
        "Devices": [
            {"PathOnHost": device, "PathInContainer": device, "CgroupPermissions": "rwm"}
            for device in spec.devices
        ],
        "Ulimits": _ulimits(spec),
        "ReadonlyRootfs": spec.read_only,
        "Init": spec.init,
        "SecurityOpt": ["no-new-privileges"] if spec.no_new_privileges else [],
        "LogConfig": _log_config(spec),
        "PidMode": None if spec.sees is None else f"container:{spec.sees}",
        "GroupAdd": list(spec.groups) or None,
        "CpusetCpus": None if spec.cpu is None else str(spec.cpu),
        # The same number for both: no swap. An engine without swap accounting warns of it and goes on.
        "Memory": limits.memory,
        "MemorySwap": limits.memory,
        "PidsLimit": limits.pids,
        "ExtraHosts": [f"{name}:{address}" for name, address in spec.hosts.items()] or None,
    }
    return _given(host)


def _mount(mount: Mount) -> str:
    options = ["ro" if mount.read_only else "rw"]
    if not mount.copy:
        options.append("nocopy")
    return f"{mount.volume}:{mount.target}:{','.join(options)}"


def _ulimits(spec: ContainerSpec) -> list[dict[str, Any]]:
    wanted = {
        name: limit if isinstance(limit, tuple) else (limit, limit) for name, limit in spec.ulimits.items()
    }
    if (most := spec.limits.file_size) is not None:
        soft, hard = wanted.get("fsize", (-1, -1))
        wanted["fsize"] = (_at_most(soft, most), _at_most(hard, most))
    return [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in sorted(wanted.items())]


def _at_most(limit: int, most: int) -> int:
    return most if limit < 0 else min(limit, most)  # -1 is "unlimited"


def _log_config(spec: ContainerSpec) -> dict[str, Any]:
    if spec.stdin:
        # What it writes is read from the attached stream; the engine need not keep it too.
        return {"Type": "none"}
    size = max(spec.limits.log // _LOG_FILES, 1)
    return {"Type": "json-file", "Config": {"max-size": str(size), "max-file": str(_LOG_FILES)}}


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    times = {"Interval": check.interval, "Timeout": check.timeout, "StartPeriod": check.start_period}
    body = {name: None if seconds is None else int(seconds * NS) for name, seconds in times.items()}
    return _given({"Test": list(check.test), **body, "Retries": check.retries})


def _networking(spec: ContainerSpec, network: str | None, body: dict[str, Any], host: dict[str, Any]) -> None:
    if spec.join is not None:
        host["NetworkMode"] = f"container:{spec.join}"
        return
    if network is None:
        host["NetworkMode"] = "none"
        return
    host["NetworkMode"] = network
    # 20.10 forwards outside names out of an internal network; the lab's own names resolve all the same.
    host["Dns"] = ["127.0.0.1"]
    endpoint: dict[str, Any] = {}
    if spec.address is not None:
        endpoint["IPAMConfig"] = {"IPv4Address": str(spec.address)}
    if spec.mac is not None:
        # Both places: before API 1.44 the endpoint's alone is ignored, from then on they must agree.
        endpoint["MacAddress"] = spec.mac
        body["MacAddress"] = spec.mac
    if spec.hostname is not None:
        endpoint["Aliases"] = [spec.hostname]
    body["NetworkingConfig"] = {"EndpointsConfig": {network: endpoint}}


def exit_code(item: Mapping[str, Any]) -> int | None:
    """A list says it in words only: "Exited (137) 2 seconds ago"."""
    status = str(item.get("Status", ""))
    if item["State"] not in ("exited", "dead") or "(" not in status:
        return None
    number = status.partition("(")[2].partition(")")[0]
    return int(number) if number.isdigit() else None


def status_of(answer: Mapping[str, Any]) -> ContainerStatus:
    """What `inspect` answers, in the lab's own words."""
    state: Mapping[str, Any] = answer["State"]
    running = bool(state.get("Running"))
    started = stamp_ns(str(state.get("StartedAt") or ""))
    code = int(state["ExitCode"]) if not running and (started is not None or state.get("Error")) else None
    health: Mapping[str, Any] = state.get("Health") or {}
    checks: list[Mapping[str, Any]] = health.get("Log") or []
    return ContainerStatus(
        id=str(answer["Id"]),
        running=running,
        paused=bool(state.get("Paused")),
        exit_code=code,
        signal=signal_of(code),
        oom_killed=bool(state.get("OOMKilled")),
        health=_health(str(health.get("Status") or "")),
        health_output=str(checks[-1].get("Output", "")) if checks else "",
        started_ns=started,
        finished_ns=None if running else stamp_ns(str(state.get("FinishedAt") or "")),
        error=str(state.get("Error") or ""),
        stop_signal=str((answer.get("Config") or {}).get("StopSignal") or "SIGTERM"),
    )


def signal_of(code: int | None) -> int | None:
    """The signal in an exit status as engines and shells give it: 128 and its number."""
    return code - 128 if code is not None and 128 < code <= 128 + 64 else None


def _health(word: str) -> Health | None:
    match word:
        case "starting" | "healthy" | "unhealthy":
            return word
        case _:  # "none" where the image's own check was switched off
            return None


def stamp_ns(text: str) -> int | None:
    """ "2026-03-01T12:00:00.123456789Z" as wall-clock ns; None for the year 1, which stands for "never"."""
    if not text or text.startswith("0001-"):
        return None
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    try:
        return _whole(seconds) * NS + int(fraction.ljust(9, "0")[:9] or "0")
    except ValueError as error:
        raise EngineError(f"the engine gives a time that is none: {text!r}") from error


@lru_cache(maxsize=16)
def _whole(seconds: str) -> int:
    """Cached, as a log has thousands of lines from the same second: strptime took half of the reading."""
    return timegm(datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").timetuple())
