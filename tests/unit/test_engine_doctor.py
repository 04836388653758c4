"""What `lab doctor` makes of what it saw."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from lab.clock import NS
from lab.doctor import (
    Disk,
    Finding,
    Lateness,
    Machine,
    WireTrial,
    diagnose,
    lateness_of,
    measure_lateness,
    render,
    try_wire,
)
from lab.engine.base import EngineInfo
from lab.engine.clean import Leftover, Owner
from lab.engine.fake import FakeEngine, FakeProcess
from lab.site import load_site

INFO = EngineInfo("docker", "20.10.24", "1.41", "6.18.0", "linux/amd64", "unix:///var/run/docker.sock")
WELL = Machine(
    architecture="x86_64",
    wire_wanted="auto",
    pool=IPv4Network("198.18.0.0/15"),
    lateness=[Lateness("nanosleep", 60_000, 150_000, 900_000)],
    disks=[Disk("this folder", "/here", 50 * 10**9)],
    engine=INFO,
    storage_driver="overlay2",
    images=[("lab-base:1", "sha256:1"), ("lab-host:1", "sha256:2"), ("lab-wire:1", "sha256:3")],
    wire=WireTrial("kernel", "netem works", 0.4, "6.18.0"),
    free_subnets=500,
)


def of(machine: Machine, name: str) -> Finding:
    (found,) = [finding for finding in diagnose(machine) if finding.name == name]
    return found


def test_a_machine_that_has_everything() -> None:
    found = diagnose(WELL)
    assert {finding.level for finding in found} == {"ok"}
    assert {f.name for f in found} == {
        "engine",
        "images",
        "netem",
        "wire",
        "timers",
        "addresses",
        "runs",
        "disk",
    }
    assert render(found).endswith("\nthe lab can run here\n")


def test_no_engine_is_bad_and_says_how_to_mend_it() -> None:
    machine = replace(
        WELL, engine=None, engine_error="no Docker engine is installed", engine_hint="apt-get …"
    )
    found = of(machine, "engine")
    assert (found.level, found.what, found.mend) == ("bad", "no Docker engine is installed", "apt-get …")
    assert "addresses" not in {finding.name for finding in diagnose(machine)}
    assert render(diagnose(machine)).endswith("\nthe lab cannot run here: 1 to mend\n")


def test_user_mode_linux_in_place_of_netem() -> None:
    trial = WireTrial("uml", "Specified qdisc kind is unknown", 1.5, "6.1.176")
    machine = replace(WELL, wire=trial)
    assert of(machine, "netem").level == "warn"
    wire = of(machine, "wire")
    assert (wire.level, wire.what) == (
        "ok",
        "uml: Specified qdisc kind is unknown (kernel 6.1.176, up in 1.5 s)",
    )
    assert of(replace(machine, wire_wanted="uml"), "netem").level == "ok"


def test_no_wire_is_bad_and_elsewhere_than_on_x86_it_says_why() -> None:
    machine = replace(WELL, wire=WireTrial(None, "no netem, no tun"))
    assert of(machine, "wire").level == "bad"
    assert "keeps user-mode Linux from starting" in of(machine, "wire").mend
    arm = of(replace(machine, architecture="aarch64"), "wire")
    assert "x86-64 only, not for aarch64" in arm.mend


def test_images_that_are_missing_are_named() -> None:
    machine = replace(WELL, wire=None, images=[("lab-base:1", "sha256:1"), ("lab-host:2", None)])
    found = of(machine, "images")
    assert (found.level, found.what) == ("warn", "to be built: lab-host:2")
    assert of(machine, "wire").level == "warn"


def test_late_timers_give_the_tolerance_to_set() -> None:
    late = Lateness("epoll", 100_000, 6_200_000, 9_000_000)
    found = of(replace(WELL, lateness=[*WELL.lateness, late]), "timers")
    assert found.level == "warn"
    assert "epoll 100 µs, 6.2 ms, 9 ms" in found.what
    assert "tolerance: {machine: 7ms}" in found.mend
    assert lateness_of("x", list(range(200))) == Lateness("x", 100, 198, 199)


def test_lateness_is_what_a_wait_took_over_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ticking:
        """Each wait ends 1 ms late; the fourth 3 ms."""

        now, waits = 0, 0

        def monotonic_ns(self) -> int:
            return self.now

        def wall_ns(self) -> int:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.waits += 1
            self.now += round(seconds * NS) + (3_000_000 if self.waits == 4 else 1_000_000)

    clock = Ticking()
    monkeypatch.setattr("lab.doctor.WAYS", {"test": lambda: clock.sleep})
    late = measure_lateness("test", count=4, interval=0.005, clock=clock)
    assert late == Lateness("test", 1_000_000, 3_000_000, 3_000_000)


@pytest.mark.parametrize(("free", "level"), [(500, "ok"), (7, "warn"), (0, "bad")])
def test_subnets(free: int, level: str) -> None:
    found = of(replace(WELL, free_subnets=free), "addresses")
    assert (found.level, found.what) == (level, f"{free} of 512 subnets of 198.18.0.0/15 are free")


def test_what_is_left_of_runs() -> None:
    runs = [Leftover(owner.value, owner, {"1": "a"}, {}, None) for owner in Owner]
    found = {f.what.split(":")[0]: f for f in diagnose(replace(WELL, runs=runs)) if f.name == "runs"}
    assert {owner: found[owner].level for owner in found} == {
        "alive": "ok",
        "dead": "warn",
        "kept": "ok",
        "unknown": "warn",
    }
    assert "lab clean" in found["dead"].mend


def test_a_full_disk_and_a_slow_store_are_remarks() -> None:
    machine = replace(WELL, disks=[Disk("this folder", "/here", 10**9)], storage_driver="vfs")
    assert (of(machine, "disk").level, of(machine, "storage").level) == ("warn", "warn")
    assert render(diagnose(machine)).endswith("\nthe lab can run here (2 remarks)\n")


def test_the_text_fits_80_columns() -> None:
    machine = replace(WELL, wire=WireTrial(None, "cannot impair " * 12), lateness=[WELL.lateness[0]] * 5)
    text = render(diagnose(machine))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert render([Finding("name", "bad", "what is", "do this")]) == (
        "bad  name       what is\n                mend: do this\nthe lab cannot run here: 1 to mend\n"
    )


def says(*lines: str, status: int = 0) -> FakeEngine:
    """An engine whose wire says these lines and waits for the end of its stdin."""

    def wire(process: FakeProcess) -> int:
        for line in lines:
            process.write(line.encode() + b"\n")
        if not status:
            while process.read_line() is not None:
                pass
        return status

    return FakeEngine({"lab-wire:1": wire})


def test_a_wire_is_tried_and_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    hello = "wire hello kind=uml dev=eth0 mac=02:00:00:00:00:02 mtu=1500 machine=6.18.0 reason=no netem"
    engine = says(hello, "wire ready kernel=6.1.176")
    trial = try_wire(engine, "lab-wire:1", load_site())
    assert (trial.kind, trial.reason, trial.kernel) == ("uml", "no netem", "6.1.176")
    assert (engine.containers({}), engine.networks()) == ([], [])


def test_a_wire_that_fails_gives_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    engine = says("wire failed there is no network interface", status=1)
    trial = try_wire(engine, "lab-wire:1", load_site())
    assert trial.kind is None
    assert "no network interface" in trial.reason
    assert (engine.containers({}), engine.networks()) == ([], [])
