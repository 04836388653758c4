"""The lab's own dockerd: up, used, killed, up again, down; in a network namespace of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from lab.engine.base import ContainerSpec, NetworkSpec
from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from lab.engine.private import PrivateEngine, find_engine
from lab.errors import LabEnvironmentError
from tests.conftest import without_docker

pytestmark = pytest.mark.docker


@pytest.fixture
def private(tmp_path: Path) -> Iterator[PrivateEngine]:
    """Apart from the machine's iptables, which dockerd would set anew under the feet of another engine."""
    if os.geteuid() != 0 or shutil.which("dockerd", path="/usr/sbin:/usr/bin:/usr/local/bin") is None:
        without_docker("starting a dockerd needs root and dockerd")
    engine = PrivateEngine(tmp_path / "engine", launcher=("unshare", "--net"))
    yield engine
    engine.down()
    shutil.rmtree(tmp_path / "engine")


def test_up_used_killed_up_again_and_down(
    private: PrivateEngine, engine: DockerEngine, images: Images, tmp_path: Path
) -> None:
    assert not private.status().running
    said: list[str] = []
    own = private.up(said.append)
    first = private.status()
    assert (first.running, own.info().address) == (True, first.address)
    assert said == [f"engine: starting the lab's own dockerd (data in {private.folder})"]
    private.up(said.append).close()
    assert (len(said), private.status().pid) == (1, first.pid), "what runs is not started again"

    found = find_engine(private=private, environ={"HOME": str(tmp_path), "DOCKER_HOST": first.address})
    assert found.info().address == first.address
    found.close()

    assert own.containers({}) == []
    own.import_image(root_of(engine, images.base.tag, tmp_path), "lab-test-base:1")
    network = own.create_network(NetworkSpec("labtest", IPv4Network("198.18.0.0/24"), {"lab.run": "t"}))
    spec = ContainerSpec(
        "labtest",
        "lab-test-base:1",
        {"lab.run": "t"},
        command=["cat"],
        network=network,
        address=IPv4Address("198.18.0.10"),
    )
    container = own.create(spec)
    stream = own.attach(container)
    own.start(container)
    stream.write(b"hello\n")
    assert stream.read_line() == b"hello"

    # As after a crash of the machine: the socket and the pid file stay behind.
    assert first.pid is not None
    handle = os.pidfd_open(first.pid)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.waitid(os.P_PIDFD, handle, os.WEXITED) if _is_child(first.pid) else None
    os.close(handle)
    stream.close()
    own.close()
    assert (private.runtime / "docker.pid").exists()
    assert not private.status().running
    again = private.up()
    assert private.status().pid != first.pid
    again.remove(container)
    again.remove_network(network)
    again.close()

    assert private.down()
    assert not private.status().running
    assert not (private.runtime / "docker.sock").exists()
    assert not private.down(), "down twice is fine"


def test_a_pid_file_that_names_another_process_is_stale(private: PrivateEngine) -> None:
    private.runtime.mkdir(parents=True)
    (private.runtime / "docker.pid").write_text(str(os.getpid()))
    assert not private.status().running
    private.up().close()
    assert private.status().pid != os.getpid()


def test_a_start_that_fails_shows_the_last_words(tmp_path: Path, private: PrivateEngine) -> None:
    broken = PrivateEngine(tmp_path / "engine", launcher=("sh", "-c", "echo no cgroup mounted >&2; exit 1"))
    with pytest.raises(LabEnvironmentError, match="exit status 1\nno cgroup mounted") as caught:
        broken.up()
    assert "mount the control groups" in caught.value.hint


def root_of(engine: DockerEngine, image: str, folder: Path) -> Path:
    """An image's files as a tar, without a registry between the two engines."""
    archive = folder / "root.tar"
    container = engine.create(ContainerSpec(f"labtest-{os.getpid()}-root", image, {}, command=["true"]))
    try:
        with archive.open("wb") as output:
            address = engine.info().address
            subprocess.run(
                ["docker", "-H", address, "export", container], stdout=output, check=True, timeout=60
            )
    finally:
        engine.remove(container)
    return archive


def _is_child(pid: int) -> bool:
    return f"\nPPid:\t{os.getpid()}\n" in Path(f"/proc/{pid}/status").read_text()
