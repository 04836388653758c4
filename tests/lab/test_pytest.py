"""The pytest plugin on real containers, by workers of xdist too: each kind of failure, what it leaves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine.clean import Owner, leftovers
from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from tests.lab.commands import ROOT, lab
from tests.lab.pages import BLOCK
from tests.process.test_pytest_plugin import PLUGIN

pytestmark = pytest.mark.docker

BEGIN = "lab: 1\nsteps:\n  - {do: listen, at: server, port: 8001, as: srv}\n"
CONNECT = '  - {do: connect, at: client, to: "server:8001", as: c}\n'

#: Scenario files by their name, each failing in its own way.
FILES = {
    "expectation": BEGIN + CONNECT + "  - {do: recv, at: client, on: c, size: 1, timeout: 50ms}\n",
    "check": BEGIN + CONNECT + 'checks: [{check: close, from: client, to: "server:8001", how: rst}]\n',
    "bad": "lab: 1\nsteps: [{do: conect}]\nchecks: [{check: clos}]\n",
    "hangs": f"timeout: 1s\n{BEGIN}{CONNECT}  - {{do: recv, at: client, on: c, size: 1}}\n",
    "broken": BEGIN.replace("steps", "hosts: {server: {sysctls: {net.ipv4.tcp_fin_timeout: none}}}\nsteps"),
    "good": BEGIN + CONNECT,
}  # fmt: skip

KILLED = """
import os, signal

def test_killed(lab):
    lab.up(hosts={"a": {}, "b": {}}).start()
    os.kill(os.getpid(), signal.SIGKILL)
"""

WAITS = """
import pathlib, time

def test_waits(lab):
    with lab.up(hosts={"a": {}, "b": {}}) as net:
        pathlib.Path("up").write_text(net.run_id)
        net["a"].process("p").listen(80).accept()
"""

BREAKS = """
from lab.engine.base import LABEL_RUN
from lab.engine.private import find_engine

def test_breaks(lab):
    net = lab.up(hosts={"a": {}, "b": {}}).start()
    engine = find_engine(print, start=False)
    for one in engine.containers({LABEL_RUN: net.run_id}):
        if one.labels.get("lab.host") == "b":
            engine.remove(one.id)
    net["b"].listen(80)
"""


@pytest.fixture(autouse=True)
def _somewhere(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _nothing_left(engine: DockerEngine, images: Images) -> Iterator[None]:
    """Whatever failed, nothing of a lab stands afterwards but what was to be kept."""
    yield
    assert [left for left in leftovers(engine) if left.owner is Owner.DEAD] == []


def started(*arguments: str) -> subprocess.Popen[str]:
    """pytest in the working directory, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider", "--lab-out", "there", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(*arguments: str) -> tuple[int, str]:
    process = started(*arguments)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def steady(text: str) -> set[str]:
    """The lines of a report without what differs from run to run: times, ids, folders."""
    lines = (
        re.sub(r"\d[\d.,]*( (ms|s|us|µs))?|\b[0-9a-f]{8}\b", "#", " ".join(line.split()))
        for line in text.splitlines()
    )
    return {
        line for line in lines if line and not line.startswith(("Folder", "Next", "Wire", "Time", "open "))
    }


def test_each_kind_of_failure_reads_as_in_the_terminal(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / f"{name}.yml").write_text(text)
    status, output = ended("--lab", "-n", "2")
    assert status == 1, output
    assert "5 failed, 1 passed" in output, output
    assert "Traceback" not in output
    for name in FILES.keys() - {"good"}:
        said = subprocess.run(
            [sys.executable, "-m", "lab", "run", "-q", f"{name}.yml", "--out", "other"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode in (1, 2, 3)
        terminal = steady(said.stdout or said.stderr)
        assert len(terminal) > 1
        assert terminal <= steady(output), (name, terminal - steady(output), output)


def test_a_lab_that_breaks_in_a_test_fails_it_by_name(tmp_path: Path, engine: DockerEngine) -> None:
    (tmp_path / "test_it.py").write_text(BREAKS)
    status, output = ended("-n", "2")
    assert status == 1, output
    assert "lab.errors.AgentError: b: call: the agent is gone" in output, output
    assert "lab/session" not in output
    assert "run folder: " in output


def test_what_a_killed_worker_left_is_removed(tmp_path: Path, engine: DockerEngine) -> None:
    (tmp_path / "test_it.py").write_text(KILLED)
    status, output = ended("-n", "2")
    assert status == 1, output
    assert "crashed while running 'test_it.py::test_killed'" in output, output
    assert "removing what run " in output, output


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["here", "xdist"])
def test_an_interrupt_takes_everything_down(
    tmp_path: Path, engine: DockerEngine, workers: tuple[str, ...]
) -> None:
    (tmp_path / "test_it.py").write_text(WAITS)
    process = started(*workers)
    until = time.monotonic() + 60
    while not (tmp_path / "up").is_file() or not (tmp_path / "up").read_text():
        assert time.monotonic() < until, process.communicate(timeout=5)
        assert process.poll() is None, process.communicate(timeout=5)
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "KeyboardInterrupt" in output
    run = (tmp_path / "up").read_text()
    assert [left for left in leftovers(engine) if left.run == run] == []
    assert len(list((tmp_path / "there").glob("*-test_waits-*/result.json"))) == 1


def test_a_lab_that_is_kept_stands_until_it_is_taken_down(tmp_path: Path, engine: DockerEngine) -> None:
    (tmp_path / "expectation.yml").write_text(FILES["expectation"])
    status, output = ended("--lab", "--lab-keep", "-n", "2")
    assert status == 1, output
    found = re.search(r"lab down (\S+)", output)
    assert found, output
    run = found[1]
    try:
        assert [left.owner for left in leftovers(engine) if left.run == run] == [Owner.KEPT]
        assert ":8001" in lab("sh", "--run", run, "server", "ss", "-tln").stdout
    finally:
        assert lab("down", run).exit_code == 0
    assert [left for left in leftovers(engine) if left.run == run] == []


def blocks(page: str) -> str:
    """The Python of a page of the documentation, as one file."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return "\n\n".join(text for kind, _, text in BLOCK.findall(text) if kind == "python")


@pytest.mark.parametrize(("page", "tests"), [("tutorial-pytest.md", 3), ("how-to/share-a-lab.md", 1)])
def test_the_tests_of_a_page_pass(tmp_path: Path, page: str, tests: int) -> None:
    shutil.copytree(ROOT / "compose", tmp_path / "compose")
    (tmp_path / "test_page.py").write_text(blocks(page))
    status, output = ended("-n", "2", "--strict-markers")
    assert status == 0, output
    assert f"{tests} passed" in output


def test_the_example_of_the_reference_runs(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "compose", tmp_path / "compose")
    (tmp_path / "example.py").write_text(blocks("reference/python.md"))
    done = subprocess.run(
        [sys.executable, "example.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said, report = done.stdout.splitlines()
    assert said == "[Errno 111] Connection refused"
    assert Path(report).is_file()
