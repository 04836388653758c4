"""What a killed run leaves on a real engine goes with the next sweep, and nothing else does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.engine.base import LABEL_RUN
from lab.engine.clean import Owner, Swept, leftovers, sweep
from lab.engine.docker import DockerEngine
from lab.engine.images import Images

pytestmark = pytest.mark.docker

RUN = """
import sys, time
from ipaddress import IPv4Network
from pathlib import Path
from lab.engine.base import ContainerSpec, NetworkSpec
from lab.engine.clean import RunLock
from lab.engine.private import find_engine
from lab.engine.subnets import create_in_free_subnet

run, image = sys.argv[1:]
engine = find_engine(start=False)
lock = RunLock.take(run)
pool = IPv4Network("198.18.0.0/15")
network, subnet = create_in_free_subnet(engine, pool, lambda free: NetworkSpec(run, free, lock.labels()))
streams = []
for number in (10, 11):
    spec = ContainerSpec(
        f"{run}-{number}", image, lock.labels(), command=["cat"], network=network, address=subnet[number]
    )
    container = engine.create(spec)
    streams.append(engine.attach(container))
    engine.start(container)
print("up", flush=True)
sys.stdin.read()
lock.release()
"""


@pytest.fixture
def runs(engine: DockerEngine, images: Images, tmp_path: Path) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Two runs, each a process with a network and two containers."""
    going: dict[str, subprocess.Popen[str]] = {}
    for which in "ab":
        name = f"labtest-{tmp_path.name[-12:].strip('_')}-{which}"
        going[name] = subprocess.Popen(
            [sys.executable, "-c", RUN, name, images.base.tag],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    for process in going.values():
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
    yield going
    for name, process in going.items():
        with process:
            process.kill()
        sweep(engine, owners=(Owner.DEAD, Owner.UNKNOWN), run=name)


def mine(engine: DockerEngine, names: list[str]) -> dict[str, tuple[Owner, int, int]]:
    return {
        left.run: (left.owner, len(left.containers), len(left.networks))
        for left in leftovers(engine)
        if left.run in names
    }


def test_a_killed_run_is_swept_and_a_living_one_is_not(
    engine: DockerEngine, runs: dict[str, subprocess.Popen[str]]
) -> None:
    dead, living = runs
    names = [dead, living]
    assert mine(engine, names) == {dead: (Owner.ALIVE, 2, 1), living: (Owner.ALIVE, 2, 1)}
    assert sweep(engine, run=dead) == Swept()
    runs[dead].kill()
    runs[dead].wait(10)
    # Its containers see the end of their stdin: an agent ends by itself when the lab is killed.
    for container in engine.containers({LABEL_RUN: dead}):
        assert engine.wait(container.id, 10) == 0
    assert mine(engine, names) == {dead: (Owner.DEAD, 2, 1), living: (Owner.ALIVE, 2, 1)}
    with ThreadPoolExecutor(2) as pool:
        swept = list(pool.map(lambda _: sweep(engine, run=dead), range(2)))
    assert sorted(len(each.containers) for each in swept) in ([0, 2], [2, 2])
    assert not any(each.failures for each in swept)
    assert mine(engine, names) == {living: (Owner.ALIVE, 2, 1)}
    assert all(container.running for container in engine.containers({LABEL_RUN: living}))
