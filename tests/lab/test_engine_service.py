"""A program of a user's on a real engine: what it may do, what it may take, and what it leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lab.engine.base import ContainerSpec, Limits, Mount, NetworkSpec
from lab.engine.clean import RunLock, leftovers, remove_run
from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from lab.engine.service import SERVICE_CAPABILITIES, archive_of, fill_volume, service_capabilities
from lab.engine.subnets import free_subnets
from tests.lab.test_engine_docker import POOL

pytestmark = pytest.mark.docker
LABELS = {"lab.test": "test_engine_service"}
MINE: dict[str, str | None] = dict(LABELS)

Start = Callable[..., str]


@pytest.fixture
def start(engine: DockerEngine, images: Images) -> Iterator[Start]:
    """Starts a service of the base image; all of them are removed when the test is over."""

    def started(*command: str, **more: Any) -> str:
        spec = ContainerSpec(
            named(),
            images.base.tag,
            LABELS,
            command=command,
            stdin=False,
            capabilities=SERVICE_CAPABILITIES,
            no_new_privileges=True,
        )
        container = engine.create(replace(spec, **more))
        engine.start(container)
        return container

    yield started
    for container in engine.containers(MINE):
        engine.remove(container.id)
    for volume in engine.volumes(MINE):
        engine.remove_volume(volume.name)


def named() -> str:
    return f"labtest-{time.monotonic_ns()}"


def ended(engine: DockerEngine, container: str, patience: float = 30) -> tuple[int, list[str]]:
    """Exit status of a container, when it has ended, and its lines: stdout's, then stderr's."""
    status = engine.wait(container, patience)
    lines = sorted(iter(engine.logs(container).read, None), key=lambda line: line.stream == "stderr")
    return status, [line.text.decode() for line in lines]


def test_a_service_has_no_power_over_the_network(engine: DockerEngine, start: Start) -> None:
    status, lines = ended(engine, start("cat", "/proc/self/status"))
    assert status == 0
    # Docker's 14 default capabilities are a80425fb; less NET_RAW (bit 13) and MKNOD (bit 27).
    have = 0xA80425FB & ~(1 << 13) & ~(1 << 27)
    assert {f"CapEff:\t{have:016x}", f"CapBnd:\t{have:016x}", "NoNewPrivs:\t1", "Seccomp:\t2"} <= set(lines)
    _, lines = ended(engine, start("cat", "/proc/self/status", user="65534"))
    assert {"CapEff:\t0000000000000000", f"CapBnd:\t{have:016x}"} <= set(lines)


def test_what_is_dropped_is_gone(engine: DockerEngine, start: Start) -> None:
    left = service_capabilities(["ALL"], ["NET_BIND_SERVICE"])
    container = start("grep", "CapBnd", "/proc/self/status", capabilities=left)
    assert ended(engine, container) == (0, [f"CapBnd:\t{1 << 10:016x}"])


def test_a_fork_bomb_stays_in_its_container(engine: DockerEngine, start: Start) -> None:
    bomb = "i=0; while [ $i -lt 60 ]; do sleep 20 & i=$((i+1)); done; echo 60 of them"
    status, lines = ended(engine, start("sh", "-c", bomb, limits=Limits(pids=30)))
    assert status == 2
    assert "60 of them" not in lines
    assert any("fork" in line.lower() for line in lines)


def test_every_container_has_limits_unless_told_otherwise(engine: DockerEngine, start: Start) -> None:
    host = engine.api.inspect_container(start("true"))["HostConfig"]
    assert (host["Memory"], host["PidsLimit"]) == (Limits().memory, Limits().pids)
    assert host["LogConfig"]["Type"] == "json-file"
    none = Limits(memory=None, pids=None)
    host = engine.api.inspect_container(start("true", limits=none))["HostConfig"]
    assert (host["Memory"], host["PidsLimit"]) == (0, None)


def test_one_file_has_a_limit(engine: DockerEngine, start: Start) -> None:
    container = start("head", "-c", "3000000", "/dev/zero", limits=Limits(file_size=1 << 20))
    assert ended(engine, container)[0] == 0, "no file, no limit"
    command = ("sh", "-c", "head -c 3000000 /dev/zero > /tmp/f; echo $?; wc -c < /tmp/f")
    _, lines = ended(engine, start(*command, limits=Limits(file_size=1 << 20)))
    assert lines[0] != "0"
    assert lines[1] == str(1 << 20)


def test_soft_and_hard_limits(engine: DockerEngine, start: Start) -> None:
    container = start(
        "sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -Sc", ulimits={"nofile": (20, 30), "core": 0}
    )
    assert ended(engine, container) == (0, ["20", "30", "0"])


def test_a_flood_of_output_is_bounded_and_does_not_hold_the_program(
    engine: DockerEngine, start: Start
) -> None:
    flood = "head -c 100000000 /dev/zero | tr '\\0' x | fold -w 999; echo the end"
    container = start("sh", "-c", flood, limits=Limits(log=2 << 20))
    log = engine.logs(container, follow=True)
    first = log.read()
    log.close()
    assert first is not None
    status, lines = ended(engine, container, 120)
    assert status == 0
    assert lines[-1].endswith("the end")
    assert sum(map(len, lines)) <= 2 << 20


def test_a_service_shares_the_network_and_the_names_of_its_host(
    engine: DockerEngine, images: Images, start: Start
) -> None:
    subnet = next(free_subnets(POOL, engine.networks()))
    network = engine.create_network(NetworkSpec(named(), subnet, LABELS))
    try:
        host = engine.create(
            ContainerSpec(
                named(),
                images.base.tag,
                LABELS,
                command=["cat"],
                network=network,
                address=IPv4Address(subnet[10]),
                hostname="web",
                hosts={"db": "198.18.0.99"},
            )
        )
        engine.start(host)
        service = start("sleep", "100", join=host)
        assert engine.exec(host, ["sh", "-c", "echo 198.18.0.98 later >> /etc/hosts"]).exit_code == 0
        known = engine.exec(service, ["cat", "/etc/hosts"]).stdout.decode().splitlines()
        pairs = {tuple(line.split()) for line in known}
        assert {(str(subnet[10]), "web"), ("198.18.0.99", "db"), ("198.18.0.98", "later")} <= pairs
        assert engine.exec(service, ["cat", "/etc/hostname"]).stdout == b"web\n"
        for path in ("/proc/net/route", "/proc/net/dev"):
            one, two = (engine.exec(it, ["wc", "-l", path]).stdout for it in (host, service))
            assert one == two
    finally:
        for container in engine.containers(MINE):
            engine.remove(container.id)
        engine.remove_network(network)


def test_a_read_only_root_with_a_volume_over_what_the_image_has(
    engine: DockerEngine, images: Images, start: Start
) -> None:
    """One file of a folder of the image replaced, the others as they are."""
    volume = named()
    engine.create_volume(volume, LABELS)
    changed = archive_of({"issue.net": b"changed\n"})
    fill_volume(engine, volume, changed, image=images.base.tag, labels=LABELS, target="/etc/skel")
    command = (
        "sh",
        "-c",
        "cat /etc/skel/issue.net; ls -A /etc/skel | wc -l; echo > /etc/skel/x || echo > /x",
    )
    mounts = [Mount(volume, "/etc/skel", read_only=True)]
    status, lines = ended(engine, start(*command, read_only=True, mounts=mounts))
    assert status != 0, "neither can be written to"
    assert "changed" in lines
    assert [int(line) > 1 for line in lines if line.isdigit()] == [True], "what the image has there is there"


def test_a_copy_of_an_empty_folder_is_empty(engine: DockerEngine, start: Start) -> None:
    volume = named()
    engine.create_volume(volume, LABELS)
    container = start("ls", "-A", "/etc/skel", mounts=[Mount(volume, "/etc/skel", copy=False)])
    assert ended(engine, container) == (0, [])


def test_an_init_and_no_entrypoint(engine: DockerEngine, images: Images, start: Start) -> None:
    status, lines = ended(engine, start("sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline", init=True))
    assert status == 0
    assert "init" in lines[0]
    plain = start("echo", "no agent", image=images.host.tag, entrypoint=())
    assert ended(engine, plain) == (0, ["no agent"])


def test_a_program_that_is_not_there(engine: DockerEngine, start: Start) -> None:
    with pytest.raises(Exception, match="no-such-program"):
        start("no-such-program")
    (state,) = engine.containers(MINE)
    status = engine.inspect(state.id)
    assert (status.running, status.exit_code) == (False, 127)
    assert "no-such-program" in status.error


def test_a_limit_of_the_layer_is_held_or_measured(engine: DockerEngine, start: Start) -> None:
    write = "head -c 8000000 /dev/zero > /big; echo $?; sleep 100"
    container = start("sh", "-c", write, limits=Limits(layer=4 << 20))
    log = engine.logs(container, follow=True)
    line = log.read()
    log.close()
    (state,) = engine.containers(MINE, sizes=True)
    assert line is not None
    assert state.layer is not None
    assert (line.text != b"0" and state.layer <= 4 << 20) or state.layer >= 8_000_000


def test_what_a_run_leaves_is_listed_and_removed(
    engine: DockerEngine, images: Images, tmp_path: Path
) -> None:
    run = named()
    with RunLock.take(run) as lock:
        labels = lock.labels()
        engine.create_volume(f"{run}-data", labels)
        spec = ContainerSpec(f"{run}-web", images.base.tag, labels, command=["sleep", "100"], stdin=False)
        engine.start(engine.create(replace(spec, mounts=[Mount(f"{run}-data", "/data")])))
        (left,) = [left for left in leftovers(engine) if left.run == run]
        assert (list(left.containers.values()), left.volumes) == ([f"{run}-web"], (f"{run}-data",))
        gone = remove_run(engine, run)
        assert (gone.containers, gone.volumes, gone.failures) == ((f"{run}-web",), (f"{run}-data",), ())
        assert not [left for left in leftovers(engine) if left.run == run]
