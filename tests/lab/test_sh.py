"""`lab sh`: what is piped into it reaches the command, and what the command says comes back as it comes."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from tests.lab.commands import ROOT, argv, lab, results

pytestmark = pytest.mark.docker

SCENARIO = """\
lab: 1
name: standing
hosts:
  web: {service: {command: [python3, -m, http.server, "80"], ready: {listening: 80}}}
steps:
  - {do: listen, at: server, port: 8001, as: listener}
  - {do: connect, at: client, to: "server:8001", as: c}
"""
PATIENCE = 30.0


@pytest.fixture(scope="module")
def run(engine: DockerEngine, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The id of a lab that stands."""
    folder = tmp_path_factory.mktemp("standing")
    (folder / "standing.yml").write_text(SCENARIO)
    done = lab("run", "-q", "--keep", folder / "standing.yml", "--out", folder / "runs")
    assert done.exit_code == 0, done.stdout + done.stderr
    result, _ = results(folder / "runs")["standing"]
    yield result.run
    assert lab("down", result.run).exit_code == 0


def sh(run: str, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv("sh", "--run", run, *words),
        cwd=ROOT,
        input=given,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("host", ["client", "wire", "web/web"])
def test_what_is_piped_in_reaches_the_command(run: str, host: str) -> None:
    given = os.urandom(3_000_000)
    done = sh(run, host, "cat", given=given)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == given


def test_the_service_of_a_lab_that_was_kept_answers(run: str) -> None:
    code = "import urllib.request as u; print(u.urlopen('http://web/', timeout=5).status)"
    done = sh(run, "client", "python3", "-c", code)
    assert (done.returncode, done.stdout) == (0, b"200\n"), done.stderr


def test_up_starts_the_services_and_down_leaves_nothing(engine: DockerEngine, tmp_path: Path) -> None:
    (tmp_path / "up.yml").write_text(SCENARIO.replace("web", "www"))
    done = lab("up", tmp_path / "up.yml")
    assert done.exit_code == 0, done.stderr
    assert "www/www" in done.stdout
    mine = {one.labels["lab.run"] for one in engine.containers({"lab.host": "www"})}
    (run,) = (one for one in mine if one in done.stdout)
    code = "import urllib.request as u; print(u.urlopen('http://www/', timeout=5).status)"
    assert sh(run, "client", "python3", "-c", code).stdout == b"200\n"
    assert sh(run, "www/www", "cat", "/proc/1/cmdline").stdout.split(b"\0")[:3] == [
        b"python3",
        b"-m",
        b"http.server",
    ]
    assert lab("down", run).exit_code == 0
    assert engine.containers({"lab.run": run}) == []
    assert [one.name for one in engine.networks() if one.labels.get("lab.run") == run] == []


def test_a_file_reaches_the_command(run: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one\ntwo\n")
    with (tmp_path / "file").open("rb") as file:
        done = subprocess.run(
            argv("sh", "--run", run, "client", "wc", "-l"),
            cwd=ROOT,
            stdin=file,
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )
    assert done.stdout == b"2\n"


def test_streams_and_the_exit_status_come_back(run: str) -> None:
    done = sh(run, "server", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_a_script_is_given_to_a_shell(run: str) -> None:
    done = sh(run, "client", given=b"hostname\nexit 4\n")
    assert (done.returncode, done.stdout) == (4, b"client\n")


def test_input_goes_on_while_the_command_runs(run: str) -> None:
    """It is a stream both ways: an answer comes before the end of what is asked."""
    command = argv("sh", "--run", run, "client", "cat")
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for line in (b"one\n", b"two\n"):
            program.stdin.write(line)
            program.stdin.flush()
            assert program.stdout.readline() == line
        program.stdin.close()
        assert program.wait(PATIENCE) == 0


def test_a_command_that_reads_nothing_ends_it(run: str) -> None:
    """What stdin is open for is never waited for."""
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            argv("sh", "--run", run, "client", "true"), cwd=ROOT, stdin=reading, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0
    finally:
        os.close(reading)
        os.close(writing)


def test_a_terminal_is_not_read(run: str) -> None:
    """A command without stdin sees its end at once: cat does not wait for keys."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            argv("sh", "--run", run, "client", "cat"),
            cwd=ROOT,
            stdin=theirs,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, b"")
    finally:
        os.close(ours)
        os.close(theirs)


def test_clean_names_what_stands_and_removes_nothing(run: str) -> None:
    for _ in range(2):
        done = lab("clean", "--check")
        assert done.exit_code == 1
        assert f"left by run {run} (kept): " in done.stdout
        assert "left something behind\n" in done.stdout
