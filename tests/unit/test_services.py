"""Services on an engine in memory: order, readiness, ends, power; and that nothing of them is left."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lab.result import Result, read_result
from lab.scenario.load import load
from lab.session.events import StepBegan
from lab.session.folder import make_case_folder
from lab.verdict import Verdict
from tests.fake_engine import FakeProcess
from tests.unit.fake_lab import FakeLab, when

IMAGE = "program:1"


class Programs:
    """What the containers of `IMAGE` do, by their command; what was started, in order."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.go_on = threading.Event()

    def __call__(self, process: FakeProcess) -> int:
        what = " ".join(process.argv)
        self.began.append(what)
        process.write(f"{what} begins\n".encode())
        match process.argv[0]:
            case "exits":
                return int(process.argv[1])
            case "true":
                return 0
            case "false":
                return 1
            case _:
                process.next_signal()
                return 0


def test_what_runs_is_not_started_again_and_what_has_ended_is_not_stopped(tmp_path: Path) -> None:
    services = "{s: {image: program:1, command: [serve]}}"
    twice = run(tmp_path, services, "[{do: start, at: a}]")
    reason = "a/s runs already; end it first, by `stop` or `kill`"
    assert (twice.verdict, twice.reason) == (Verdict.FAIL, reason)
    gone = run(tmp_path / "gone", services, "[{do: stop, at: a}, {do: kill, at: a, service: s}]")
    assert (gone.verdict, gone.reason) == (Verdict.FAIL, "a/s has ended; start it first, by `start`")


def run(
    folder: Path,
    services: str,
    steps: str = "[]",
    checks: str = "[]",
    till_ended: bool = False,
    **lab: object,
) -> Result:
    """`till_ended`: the first step begins when all programs have ended."""
    programs = Programs()
    fake = FakeLab(**lab)  # type: ignore[arg-type]  # the keys of its own fields
    fake.engine._images[IMAGE] = programs
    folder.mkdir(exist_ok=True)
    file = folder / "s.yml"
    text = f"lab: 1\ntimeout: 20s\nhosts:\n  a: {{services: {services}}}\nsteps: {steps}\nchecks: {checks}\n"
    file.write_text(text)
    (case,) = load(file)
    if till_ended:
        fake.listener = lambda event: all_end(fake) if isinstance(event, StepBegan) else None
    if "interrupted" in folder.name:
        fake.listener = when(
            lambda event: "starting services" in str(event), lambda: fake.interrupt.set("INT")
        )
    result = fake.runner().run(case, "12345678", make_case_folder(folder / "run"), 0)
    assert fake.left() == []
    assert fake.engine.volumes({}) == []
    (folder / "began").write_text("\n".join(programs.began))
    return result


def all_end(fake: FakeLab) -> None:
    for container in fake.engine.containers({}):
        if container.image == IMAGE:
            fake.engine.wait(container.id, 10)


def test_each_starts_behind_those_that_it_needs(tmp_path: Path) -> None:
    services = (
        "{web: {image: 'program:1', command: [web], depends_on: {job: {condition: "
        "service_completed_successfully}, db: {condition: service_started}}}, "
        "db: {image: 'program:1', command: [db], ready: {log: /begins/}}, "
        "job: {image: 'program:1', command: [exits, '0'], depends_on: [db]}}"
    )
    result = run(tmp_path, services)
    assert result.verdict is Verdict.PASS, result.reason
    assert (tmp_path / "began").read_text().splitlines() == ["db", "exits 0", "web"]


def test_a_dependency_that_fails_is_told_by_both(tmp_path: Path) -> None:
    services = (
        "{job: {image: 'program:1', command: [exits, '3'], ready: {exit: 0}}, "
        "web: {image: 'program:1', command: [web], depends_on: {job: "
        "{condition: service_completed_successfully}}}}"
    )
    result = run(tmp_path, services, "[{do: sleep, for: 10s}]")
    assert result.verdict is Verdict.FAIL
    reasons = [finding.reason for finding in result.findings]
    assert any("a/job: it ended before it was ready" in reason for reason in reasons)
    assert any("a/web: it needs a/job" in reason for reason in reasons)
    assert result.seconds < 8
    assert "web" not in (tmp_path / "began").read_text()


@pytest.mark.parametrize(
    ("command", "checks", "verdict"),
    [
        ("exits, '0'", "[]", Verdict.FAIL),
        ("exits, '3'", "[{check: service, at: a, exit: 3}]", Verdict.PASS),
        ("exits, '3'", "[{check: service, at: a, exit: 0}]", Verdict.FAIL),
        ("serve", "[{check: service, at: a, running: true}]", Verdict.PASS),
        ("serve", "[{check: service, at: a, running: false}]", Verdict.FAIL),
        ("serve", "[{check: log, at: a, match: /serve begins/, count: 1}]", Verdict.PASS),
        ("serve", "[{check: log, at: a, match: /never/, count: 0}]", Verdict.PASS),
    ],
)
def test_how_a_service_may_end(command: str, checks: str, verdict: Verdict, tmp_path: Path) -> None:
    services = f"{{one: {{image: 'program:1', command: [{command}], ready: {{log: /begins/}}}}}}"
    steps, ends = "[{do: sleep, for: 1ms}]", command.startswith("exits")
    result = run(tmp_path, services, steps, checks, till_ended=ends)
    assert result.verdict is verdict, result.reason
    assert read_result(tmp_path / "run").verdict is verdict


def test_power_ends_services_and_starts_them_again(tmp_path: Path) -> None:
    services = "{one: {image: 'program:1', command: [serve], ready: {log: /begins/}}}"
    steps = "[{do: power, at: a, state: off}, {do: power, at: a, state: on}]"
    result = run(tmp_path, services, steps, "[{check: log, at: a, match: /serve begins/, count: 2}]")
    assert result.verdict is Verdict.PASS, result.reason
    assert (tmp_path / "began").read_text().splitlines() == ["serve", "serve"]


def test_a_run_in_a_service_is_judged_by_its_status(tmp_path: Path) -> None:
    services = "{one: {image: 'program:1', command: [serve]}}"
    good = "{do: run, at: a, in: one, command: ['true'], record: {n: '/(begins)/'}}"
    result = run(tmp_path, services, f"[{good}]")
    assert (result.verdict, result.values) == (Verdict.PASS, {"n": "begins"})
    (tmp_path / "again").mkdir()
    result = run(tmp_path / "again", services, "[{do: run, at: a, in: one, command: ['false']}]")
    assert (result.verdict, result.reason) == (Verdict.FAIL, "exit status: 1, and not 0")


def test_an_interrupt_while_services_start_takes_all_down(tmp_path: Path) -> None:
    folder = tmp_path / "interrupted"
    folder.mkdir()
    services = "{one: {image: 'program:1', command: [serve], ready: {log: /never/, timeout: 30s}}}"
    result = run(folder, services)
    assert result.verdict is Verdict.ERROR
    assert result.seconds < 10
