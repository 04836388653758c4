"""Programs of a user's own on real containers: what holds, what does not get ready, what takes too much."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from lab.report import render
from lab.result import Result
from lab.scenario.load import load_all
from lab.verdict import Verdict
from tests.lab.commands import ROOT, SCENARIOS, lab, results, start

pytestmark = pytest.mark.docker

HERE = Path(__file__).parent
GOOD = [case.name for case in load_all([HERE / "services"])]

#: What is said of each: the verdict, and words of the reason.
BAD = {
    "badfile": (Verdict.ERROR, ["build of web: dockerfile_inline:3", "returned a non-zero code: 1", "two"]),
    "bomb": (Verdict.FAIL, ["reached its limit of 512 processes (limits.pids in lab.yml)"]),
    "disk": (Verdict.FAIL, ["reached its limit of 300MB of disk (limits.disk in lab.yml)"]),
    "exits": (
        Verdict.FAIL,
        ["ended before it was ready", "exit status 3", "no config", "its output says why"],
    ),
    "flood": (Verdict.PASS, ["wrote more than is kept: the first 20,000 lines are there"]),
    "memory": (Verdict.FAIL, ["reached its limit of memory (limits.memory in lab.yml)"]),
    "never": (
        Verdict.FAIL,
        ["not ready within 1s: something listens on port 80", "starting", "another port"],
    ),
    "nevercmd": (Verdict.FAIL, ["not ready within 1s: test -f /ready exits with 0 inside", "starting"]),
    "neverexit": (Verdict.FAIL, ["it ends with exit status 0", "exit status 2", "starting"]),
    "neverhealth": (Verdict.FAIL, ["not ready within 3s: its healthcheck says healthy", "starting"]),
    "neverlog": (Verdict.FAIL, ["a line of its log matches /started/", "starting"]),
    "noimage": (Verdict.ERROR, ["image nowhere/nothing:1: it is not on the engine", "no registry gives it"]),
    "noprogram": (Verdict.FAIL, ["could not be started", "nonesuch", "look at command and entrypoint"]),
}


def left(engine: DockerEngine, run: str) -> list[str]:
    """Containers and volumes of a run that are still there."""
    wanted = {"lab.run": run}
    return [one.name for one in engine.containers(wanted)] + [one.name for one in engine.volumes(wanted)]


@pytest.fixture(scope="module")
def good(images: Images, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Result, Path]]:
    out = tmp_path_factory.mktemp("services")
    lab("run", HERE / "services", "-j", "2", "--out", out, timeout=400)
    return results(out)


@pytest.fixture(scope="module")
def bad(images: Images, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Result, Path]]:
    out = tmp_path_factory.mktemp("services-bad")
    lab("run", HERE / "services_bad", "-j", "2", "--out", out, timeout=400)
    return results(out)


@pytest.mark.parametrize("name", GOOD)
def test_it_holds(good: dict[str, tuple[Result, Path]], name: str, engine: DockerEngine) -> None:
    result, folder = good[name]
    assert result.verdict is Verdict.PASS, render(result, folder=folder)
    assert left(engine, result.run) == []
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
    assert left(engine, result.run) == []


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


def test_a_killed_lab_leaves_no_service(images: Images, engine: DockerEngine, tmp_path: Path) -> None:
    file = tmp_path / "long.yml"
    file.write_text(
        "lab: 1\nhosts:\n  web:\n    service: {command: [sh, -c, 'echo up; sleep 60'], ready: {log: /up/},"
        " volumes: ['/data']}\nsteps:\n  - {do: sleep, for: 30s}\n"
    )
    with start("run", "--verbose", file, "--out", tmp_path / "out") as running:
        assert running.stderr is not None
        said = ""
        while "steps begin" not in said:
            line = running.stderr.readline()
            assert line, f"it ended before its steps began: {said}"
            said += line
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=30)
    mine = {"lab.pid": str(running.pid)}
    assert {one.labels["lab.role"] for one in engine.containers(mine)} >= {"host", "service", "wire"}
    assert len(engine.volumes(mine)) == 1
    assert lab("run", SCENARIOS / "truncated-recv.yml", "--out", tmp_path / "out").exit_code == 0
    assert [one.name for one in engine.containers(mine)] == []
    assert [one.name for one in engine.volumes(mine)] == []
