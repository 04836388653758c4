"""A container in Docker's words, and back; lines of a log put together from the engine's pieces."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from lab.engine.base import LINE_LIMIT, ContainerSpec, Healthcheck, Limits, LogLine, Mount
from lab.engine.bodies import container_body, signal_of, stamp_ns, status_of
from lab.engine.logs import LinesOf
from lab.engine.service import SERVICE_CAPABILITIES, service_capabilities
from lab.errors import EngineError, UsageError

SPEC = ContainerSpec("web", "nginx:1", {"lab.run": "r"})
#: All that the lab ever sends, by API 1.41. What is new here is to be looked up in every version to 1.52.
KNOWN = {
    *("AttachStderr", "AttachStdin", "AttachStdout", "Cmd", "Entrypoint", "Env", "Healthcheck", "HostConfig"),
    *(
        "Hostname",
        "Image",
        "Labels",
        "MacAddress",
        "NetworkingConfig",
        "OpenStdin",
        "StdinOnce",
        "StopSignal",
    ),
    *("Tty", "User", "WorkingDir"),
}
KNOWN_HOST = {
    *(
        "Binds",
        "CapAdd",
        "CapDrop",
        "Devices",
        "Dns",
        "ExtraHosts",
        "Init",
        "LogConfig",
        "Memory",
        "MemorySwap",
    ),
    *(
        "NetworkMode",
        "PidsLimit",
        "ReadonlyRootfs",
        "SecurityOpt",
        "StorageOpt",
        "Sysctls",
        "Tmpfs",
        "Ulimits",
    ),
}


def test_nothing_is_said_that_an_engine_does_not_know() -> None:
    full = ContainerSpec(
        "web",
        "nginx:1",
        {},
        command=["x"],
        entrypoint=["y"],
        network="n",
        mac="02:00:00:00:00:01",
        hostname="web",
        hosts={"db": "198.18.0.2"},
        user="1",
        working_dir="/",
        healthcheck=Healthcheck(("CMD", "x"), 1, 2, 3, 4),
        limits=Limits(1, 2, 3, 4, 5),
    )
    body = container_body(full, "n", limit_layer=True)
    assert set(body) == KNOWN
    assert set(body["HostConfig"]) == KNOWN_HOST
    assert body["HostConfig"]["StorageOpt"] == {"size": "5"}
    assert "StorageOpt" not in container_body(full, "n")["HostConfig"]
    assert body["Healthcheck"] == {
        "Test": ["CMD", "x"],
        "Interval": 1_000_000_000,
        "Timeout": 2_000_000_000,
        "StartPeriod": 3_000_000_000,
        "Retries": 4,
    }


def test_an_agent_has_stdin_and_no_log_and_a_service_the_opposite() -> None:
    agent, service = container_body(SPEC, None), container_body(replace(SPEC, stdin=False), None)
    assert [(b["OpenStdin"], b["StdinOnce"], b["AttachStdout"]) for b in (agent, service)] == [
        (True, True, True),
        (False, False, False),
    ]
    assert agent["HostConfig"]["LogConfig"] == {"Type": "none"}
    assert service["HostConfig"]["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-size": "4194304", "max-file": "2"},
    }
    assert not container_body(replace(SPEC, outlives_lab=True), None)["StdinOnce"]


def test_what_is_not_said_is_the_images() -> None:
    body = container_body(replace(SPEC, stop_signal=None), None)
    assert not {"Cmd", "Entrypoint", "User", "WorkingDir", "Healthcheck", "StopSignal", "Hostname"} & set(
        body
    )
    assert container_body(replace(SPEC, entrypoint=()), None)["Entrypoint"] == [""]


@pytest.mark.parametrize(
    ("ulimits", "most", "fsize"),
    [
        ({}, None, None),
        ({}, 100, (100, 100)),
        ({"fsize": 50}, 100, (50, 50)),
        ({"fsize": (50, -1)}, 100, (50, 100)),
        ({"fsize": (-1, 500)}, 100, (100, 100)),
        ({"fsize": -1}, None, (-1, -1)),
    ],
)
def test_the_limit_of_a_file_is_the_smaller_one(
    ulimits: dict[str, Any], most: int | None, fsize: tuple[int, int] | None
) -> None:
    spec = replace(SPEC, ulimits={"nofile": (1, 2), **ulimits}, limits=Limits(file_size=most))
    limits = {u["Name"]: (u["Soft"], u["Hard"]) for u in container_body(spec, None)["HostConfig"]["Ulimits"]}
    assert limits.pop("nofile") == (1, 2)
    assert limits == ({} if fsize is None else {"fsize": fsize})


def test_volumes_by_name() -> None:
    mounts = [Mount("v", "/a"), Mount("w", "/b", read_only=True, copy=False)]
    binds = container_body(replace(SPEC, mounts=mounts, binds=["/x:/y:ro"]), None)["HostConfig"]["Binds"]
    assert binds == ["/x:/y:ro", "v:/a:rw", "w:/b:ro,nocopy"]


def test_states() -> None:
    never = {"Running": False, "ExitCode": 0, "StartedAt": "0001-01-01T00:00:00Z"}
    state = status_of({"Id": "i", "State": never, "Config": {}})
    assert (state.exit_code, state.started_ns, state.finished_ns, state.stop_signal) == (
        None,
        None,
        None,
        "SIGTERM",
    )
    failed = status_of(
        {"Id": "i", "State": {**never, "ExitCode": 127, "Error": "no such file"}, "Config": {}}
    )
    assert (failed.exit_code, failed.signal, failed.error) == (127, None, "no such file")
    killed = {
        "Running": False,
        "ExitCode": 137,
        "OOMKilled": True,
        "StartedAt": "2026-03-01T12:00:00.5Z",
        "FinishedAt": "2026-03-01T12:00:01.000000001Z",
        "Health": {"Status": "unhealthy", "Log": [{"Output": "a"}, {"Output": "b"}]},
    }
    state = status_of({"Id": "i", "State": killed, "Config": {"StopSignal": "SIGQUIT"}})
    assert (state.signal, state.oom_killed, state.health, state.health_output) == (9, True, "unhealthy", "b")
    assert state.started_ns is not None
    assert state.finished_ns == state.started_ns + 500_000_001
    assert state.stop_signal == "SIGQUIT"
    off = {**never, "Health": {"Status": "none", "Log": None}}
    assert status_of({"Id": "i", "State": off}).health is None


@pytest.mark.parametrize(
    ("code", "signal"), [(None, None), (0, None), (128, None), (143, 15), (192, 64), (255, None)]
)
def test_a_signal_is_a_status_above_128(code: int | None, signal: int | None) -> None:
    assert signal_of(code) == signal


def test_stamps() -> None:
    assert stamp_ns("1970-01-01T00:00:02.000000003Z") == 2_000_000_003
    assert stamp_ns("1970-01-01T00:01:00Z") == 60_000_000_000
    assert stamp_ns("") is stamp_ns("0001-01-01T00:00:00Z") is None
    with pytest.raises(EngineError, match="yesterday"):
        stamp_ns("yesterday")


def test_pieces_of_a_line() -> None:
    lines = LinesOf("stdout")
    assert lines.add(1, b"x" * LINE_LIMIT) is None
    assert lines.add(2, b"y\n") == LogLine("stdout", 1, b"x" * LINE_LIMIT, whole=False)
    assert lines.add(3, b"\n") == LogLine("stdout", 3, b"")
    assert lines.add(4, b"rest") is None
    assert lines.end() == LogLine("stdout", 4, b"rest")
    assert lines.end() is None


@pytest.mark.parametrize(
    ("drop", "add", "left"),
    [
        ([], [], set(SERVICE_CAPABILITIES)),
        (["ALL"], [], set()),
        (["all"], ["CAP_CHOWN", "setuid"], {"CHOWN", "SETUID"}),
        (["CAP_KILL", "NET_RAW"], [], set(SERVICE_CAPABILITIES) - {"KILL"}),
        (["KILL"], ["KILL"], set(SERVICE_CAPABILITIES)),
    ],
)
def test_capabilities_of_a_service(drop: list[str], add: list[str], left: set[str]) -> None:
    assert set(service_capabilities(drop, add)) == left


@pytest.mark.parametrize("name", ["NET_RAW", "NET_ADMIN", "ALL", "SYS_PTRACE", "MKNOD"])
def test_no_other_capability_can_be_added(name: str) -> None:
    with pytest.raises(UsageError, match=f"cap_add: {name}: a service may have no other than AUDIT_WRITE, "):
        service_capabilities([], [name])
