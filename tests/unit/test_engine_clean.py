"""Ownership: only what a dead owner left is removed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab.engine import clean
from lab.engine.base import LABEL_BOOT, LABEL_LOCK, ContainerSpec, NetworkSpec
from lab.engine.clean import LABEL_MACHINE, Owner, RunLock, leftovers, owner, sweep
from lab.errors import EngineError, LabEnvironmentError
from tests.engine_compliance import CAT, shell
from tests.fake_engine import FakeEngine

IMAGE = "lab-test:1"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine({IMAGE: shell})


def furnish(engine: FakeEngine, labels: dict[str, str], number: int = 1) -> None:
    """A network and a running container of a run."""
    subnet = IPv4Network(f"198.18.{number}.0/24")
    network = engine.create_network(NetworkSpec(f"net-{number}", subnet, labels))
    spec = ContainerSpec(f"host-{number}", IMAGE, labels, command=CAT, network=network, address=subnet[10])
    engine.start(engine.create(spec))


def names(engine: FakeEngine) -> set[str]:
    return {c.name for c in engine.containers({})} | {n.name for n in engine.networks()}


@pytest.fixture
def dead(tmp_path: Path) -> dict[str, str]:
    """The labels of a run that died: its lock file is there, nobody holds it."""
    lock = RunLock.take("dead")
    labels = lock.labels()
    lock._close()
    return labels


def test_a_living_owner_keeps_its_things(engine: FakeEngine, tmp_path: Path) -> None:
    with RunLock.take("living") as lock:
        furnish(engine, lock.labels())
        assert owner(lock.labels()) is Owner.ALIVE
        assert not sweep(engine, owners=tuple(Owner))
        assert names(engine) == {"host-1", "net-1"}


def test_what_a_dead_owner_left_goes(engine: FakeEngine, dead: dict[str, str], tmp_path: Path) -> None:
    said: list[str] = []
    with RunLock.take("living") as lock:
        furnish(engine, lock.labels(), 1)
        furnish(engine, dead, 2)
        swept = sweep(engine, progress=said.append)
    assert swept == clean.Swept(("host-2",), ("net-2",))
    assert said == ["removing what run dead left (dead)"]
    assert names(engine) == {"host-1", "net-1"}
    assert not Path(dead[LABEL_LOCK]).exists()


def test_a_lock_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, json; from pathlib import Path; from lab.engine.clean import RunLock; "
        "lock = RunLock.take('killed'); print(json.dumps(lock.labels()), flush=True); "
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        labels = json.loads(holder.stdout.readline())
        assert owner(labels) is Owner.ALIVE
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
    assert owner(labels) is Owner.DEAD


def test_another_boot_is_dead_and_another_machine_unknown(dead: dict[str, str], tmp_path: Path) -> None:
    with RunLock.take("living") as lock:
        labels = lock.labels()
        assert owner({**labels, LABEL_BOOT: "before"}) is Owner.DEAD
        assert owner({**labels, LABEL_MACHINE: "elsewhere"}) is Owner.UNKNOWN
    assert owner({**dead, LABEL_LOCK: str(tmp_path / "gone")}) is Owner.UNKNOWN
    assert owner({}) is Owner.UNKNOWN
    assert clean.owner({}) is clean.Owner.UNKNOWN
    assert clean.owner(dead) is clean.Owner.DEAD


def test_the_unknown_goes_only_when_asked(engine: FakeEngine, dead: dict[str, str]) -> None:
    furnish(engine, {**dead, LABEL_MACHINE: "elsewhere"})
    assert not sweep(engine)
    assert sweep(engine, owners=(Owner.DEAD, Owner.UNKNOWN)).containers == ("host-1",)
    assert names(engine) == set()


def test_a_kept_lab_stays_until_it_is_asked_for(engine: FakeEngine, tmp_path: Path) -> None:
    lock = RunLock.take("kept")
    furnish(engine, lock.labels())
    lock.keep()
    assert [left.owner for left in leftovers(engine)] == [Owner.KEPT]
    assert not sweep(engine)
    assert not sweep(engine, owners=(Owner.KEPT,), run="another")
    assert sweep(engine, owners=(Owner.KEPT,), run="kept").networks == ("net-1",)
    assert list(clean.locks_dir().iterdir()) == []


def test_two_sweeps_at_once_remove_once(dead: dict[str, str]) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow(FakeEngine):
        def remove(self, container_id: str) -> None:
            inside.set()
            assert go_on.wait(10)
            super().remove(container_id)

    engine = Slow({IMAGE: shell})
    furnish(engine, dead)
    done: list[clean.Swept] = []
    first = threading.Thread(target=lambda: done.append(sweep(engine)))
    first.start()
    assert inside.wait(10)
    assert not sweep(engine), "the first sweep holds the lock"
    go_on.set()
    first.join(10)
    assert done == [clean.Swept(("host-1",), ("net-1",))]


def test_a_failure_does_not_stop_the_rest(dead: dict[str, str]) -> None:
    class Stubborn(FakeEngine):
        def remove_network(self, network_id: str) -> None:
            raise EngineError("it has active endpoints")

    engine = Stubborn({IMAGE: shell})
    furnish(engine, dead)
    swept = sweep(engine)
    assert (swept.containers, swept.networks) == (("host-1",), ())
    assert swept.failures == ("net-1: it has active endpoints",)
    assert Path(dead[LABEL_LOCK]).exists(), "a later sweep must find the owner dead"


def test_a_run_id_is_locked_once(tmp_path: Path) -> None:
    with RunLock.take("one"), pytest.raises(LabEnvironmentError, match="already going on"):
        RunLock.take("one")
    RunLock.take("one").release()


def test_a_lock_file_that_a_sweep_took_away_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the owner's open and its lock the file may go: the owner must not hold a nameless file."""
    real, calls = os.open, [0]

    def racing(path: str | Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real(path, flags, mode)
        calls[0] += 1
        if calls[0] == 1:
            os.unlink(path)
        return descriptor

    monkeypatch.setattr(os, "open", racing)
    with RunLock.take("raced") as lock:
        assert lock.path.exists()
        assert calls[0] == 2


@pytest.fixture(autouse=True)
def nothing_in_the_real_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))
    return


def test_volumes_of_a_dead_owner_go_too(engine: FakeEngine, dead: dict[str, str], tmp_path: Path) -> None:
    with RunLock.take("living") as lock:
        engine.create_volume("of-the-living", lock.labels())
        engine.create_volume("of-nobody", {})
        engine.create_volume("of-the-dead", dead)
        furnish(engine, dead, 2)
        (left,) = [left for left in leftovers(engine) if left.run == "dead"]
        assert left.volumes == ("of-the-dead",)
        swept = sweep(engine)
        assert swept == clean.Swept(("host-2",), ("net-2",), (), ("of-the-dead",))
        assert {volume.name for volume in engine.volumes({})} == {"of-the-living", "of-nobody"}
        assert clean.remove_run(engine, "living").volumes == ("of-the-living",)


def test_a_volume_alone_is_a_leftover(engine: FakeEngine, dead: dict[str, str]) -> None:
    engine.create_volume("of-the-dead", dead)
    assert [(left.run, left.volumes) for left in leftovers(engine)] == [("dead", ("of-the-dead",))]
    assert sweep(engine)
    assert leftovers(engine) == []
