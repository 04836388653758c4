"""Programs of a user's own on real containers: what holds, what does not get ready, what takes too much."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.clock import Deadline
from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from lab.report import render
from lab.result import Result
from lab.scenario.load import load_all
from lab.verdict import Verdict
from tests.lab.commands import ROOT, lab, results, start

pytestmark = pytest.mark.docker

HERE = Path(__file__).parent
GOOD = [case.name for case in load_all([HERE / "services"])]

#: What is said of whatever took too much.
OVER = ["raise the limit in lab.yml"]
#: What is said of each: the verdict, and words of the reason.
BAD = {
    "badfile": (
        Verdict.ERROR,
        ["build of web: dockerfile_inline:3", "returned a non-zero code: 1", "two", "mend what"],
    ),
    "bomb": (Verdict.FAIL, ["web reached its limit of 512 processes (limits.pids in lab.yml)", *OVER]),
    "disk": (Verdict.FAIL, ["web reached its limit of 300MB of disk (limits.disk in lab.yml)", *OVER]),
    "exits": (
        Verdict.FAIL,
        ["ended before it was ready", "exit status 3", "no config", "its output says why"],
    ),
    "flood": (
        Verdict.FAIL,
        [
            "web/writer reached its limit of 64MB of output (limits.logs in lab.yml)",
            "its last output:\n                   0123",
            "writer of web wrote more than is kept: the first 20,000 lines are there, and the last 20",
            *OVER,
        ],
    ),
    "memory": (
        Verdict.FAIL,
        ["killed by the kernel: web reached its limit of 512MB of memory (limits.memory in lab.yml)", *OVER],
    ),
    "never": (
        Verdict.FAIL,
        ["not ready within 2s (wanted: something listens on port 80)", "0.0.0.0:8080", "name the port"],
    ),
    "nevercmd": (
        Verdict.FAIL,
        ["not ready within 1s (wanted: test -f /ready exits with 0 inside)", "starting", "more time"],
    ),
    "neverexit": (
        Verdict.FAIL,
        ["it ends with exit status 0", "exit status 2", "starting", "its output says why"],
    ),
    "neverhealth": (
        Verdict.FAIL,
        [
            "not ready within 3s (wanted: its healthcheck says healthy)",
            "unhealthy; its last check said: sick",
            "starting",
            "by hand",
        ],
    ),
    "neverlog": (Verdict.FAIL, ["a line of its log matches /started/", "starting", "more time"]),
    "noimage": (
        Verdict.ERROR,
        ["image nowhere/nothing:1: it is not on the engine", "no registry gives it", "docker load -i FILE"],
    ),
    "noprogram": (
        Verdict.FAIL,
        ['could not be started: exec: "nonesuch": executable', "look at command and entrypoint"],
    ),
    "reloaded": (Verdict.FAIL, ["no step ended it, but it ended with exit status 3", "broken", "in a check"]),
}


def left(engine: DockerEngine, **labels: str) -> list[str]:
    """Containers, networks and volumes of a run that are still there."""
    wanted = {f"lab.{name}": value for name, value in labels.items()}
    names = [one.name for one in engine.containers(wanted)] + [one.name for one in engine.volumes(wanted)]
    return names + [one.name for one in engine.networks() if wanted.items() <= one.labels.items()]


def untagged(engine: DockerEngine) -> set[str]:
    """Images without a name: what a build that failed may leave."""
    listed = engine.endpoint.client(engine.api_version, timeout=10).images(filters={"dangling": True})
    return {str(one["Id"]) for one in listed}


@pytest.fixture(scope="module")
def good(images: Images, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Result, Path]]:
    out = tmp_path_factory.mktemp("services")
    lab("run", HERE / "services", "-j", "2", "--out", out, timeout=400)
    return results(out)


@pytest.fixture(scope="module")
def bad(
    images: Images, engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Result, Path]]:
    out = tmp_path_factory.mktemp("services-bad")
    # The steps of a build that went well stay, for the next try: so it fails once before.
    lab("run", HERE / "services_bad" / "badfile.yml", "--out", tmp_path_factory.mktemp("first"))
    before = untagged(engine)
    lab("run", HERE / "services_bad", "-j", "2", "--out", out, timeout=400)
    assert untagged(engine) <= before, "a build that failed has left an image"
    return results(out)


@pytest.mark.parametrize("name", GOOD)
def test_it_holds(good: dict[str, tuple[Result, Path]], name: str, engine: DockerEngine) -> None:
    result, folder = good[name]
    assert result.verdict is Verdict.PASS, render(result, folder=folder)
    assert left(engine, run=result.run) == []
    assert lab("recheck", folder).exit_code == 0


@pytest.mark.parametrize("name", BAD)
def test_what_goes_wrong_is_said(
    bad: dict[str, tuple[Result, Path]], name: str, engine: DockerEngine
) -> None:
    result, folder = bad[name]
    verdict, words = BAD[name]
    said = render(result, folder=folder)
    assert result.verdict is verdict, said
    assert [word for word in words if word not in said] == [], said
    assert left(engine, run=result.run) == []


def test_every_bad_one_is_told_apart() -> None:
    assert {path.stem for path in (HERE / "services_bad").glob("*.yml")} == set(BAD)


def test_the_log_of_a_service_lies_in_the_run_folder(bad: dict[str, tuple[Result, Path]]) -> None:
    _, folder = bad["exits"]
    (line,) = (folder / "logs" / "web.log").read_text().splitlines()
    assert line.endswith(" stderr no config")


def test_somebodys_compose_file_with_80_ms_to_its_database(images: Images, tmp_path: Path) -> None:
    done = lab("run", ROOT / "examples" / "shop.yml", "--out", tmp_path, timeout=300)
    assert done.exit_code == 0, done.stdout + done.stderr
    assert "ports means nothing here" in done.stderr
    (result, folder) = results(tmp_path)["shop"]
    delays = {(one.source, one.direction): one for one in result.links if one.quantity == "delay"}
    assert delays["db", "down"].configured == "40ms"
    assert "did job 1" in (folder / "logs" / "worker.log").read_text()


#: Labs that are killed in the middle: all that they have, programs that go on without end, a full log.
KILLED = {
    "long": "hosts: {web: {service: {command: [sh, -c, 'echo up; sleep 60'], ready: {log: /up/}, "
    "volumes: ['/data']}}}",
    "bomb": (HERE / "services_bad" / "bomb.yml").read_text().split("steps:")[0].removeprefix("lab: 1\n"),
    "flood": "hosts: {web: {service: {command: ['yes']}}}",
}


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_lab_leaves_nothing(images: Images, engine: DockerEngine, tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.yml"
    file.write_text(f"lab: 1\n{KILLED[name]}\nsteps:\n  - {{do: sleep, for: 30s}}\n")
    with start("run", "--verbose", file, "--out", tmp_path / "out") as running:
        _read_to(running, "steps begin")
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=30)
    mine = {"lab.pid": str(running.pid)}
    assert {one.labels["lab.role"] for one in engine.containers(mine)} >= {"host", "service", "wire"}
    assert len(engine.volumes(mine)) == (name == "long")
    assert lab("clean").exit_code == 0
    assert left(engine, pid=str(running.pid)) == []


def test_a_killed_lab_leaves_no_build(engine: DockerEngine, images: Images, tmp_path: Path) -> None:
    """The connection is the build: the engine ends it with whoever asked for it."""
    word = f"sleep 60.{time.time_ns()}"
    file = tmp_path / "slow.yml"
    text = f"FROM lab-base\\nRUN {word}"
    file.write_text(
        f'lab: 1\nhosts: {{web: {{service: {{build: {{dockerfile_inline: "{text}"}}}}}}}}\nsteps: []\n'
    )
    before = untagged(engine)
    with start("run", "--verbose", file, "--out", tmp_path / "out") as running:
        _read_to(running, "build of web begins")
        assert _in_time(lambda: _that_run(engine, word) != [])
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=30)
    assert _in_time(lambda: _that_run(engine, word) == [])
    assert lab("clean").exit_code == 0
    assert left(engine, pid=str(running.pid)) == []
    assert untagged(engine) <= before


def _read_to(running: subprocess.Popen[str], word: str) -> None:
    assert running.stderr is not None
    said = ""
    while word not in said:
        line = running.stderr.readline()
        assert line, f"it ended before {word!r}: {said}"
        said += line


def _that_run(engine: DockerEngine, word: str) -> list[str]:
    """Containers that run this command, of whoever: those of builds have no label."""
    listed = engine.endpoint.client(engine.api_version, timeout=10).containers(all=True)
    return [str(one["Id"]) for one in listed if word in str(one["Command"])]


def _in_time(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether it comes to hold: the engine tells nobody what becomes of the containers of builds."""
    deadline = Deadline.after(seconds, "a build")
    while not true():
        if deadline.expired():
            return False
        time.sleep(0.1)
    return True
