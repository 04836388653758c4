"""What the lab promises about verdicts and about what it leaves behind, on real containers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine.base import LABEL_RUN
from lab.engine.clean import Owner, leftovers
from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from lab.verdict import Verdict
from tests.lab.commands import SCENARIOS, lab, results, start

pytestmark = pytest.mark.docker

#: A scenario, a line of it, what is put in its place, and the finding that must say no.
FALSIFIED = [
    ("timeout", "error: ETIMEDOUT, elapsed: 3s", "error: ECONNREFUSED, elapsed: 3s", "connect.error"),
    ("timeout", "error: timeout, elapsed: 400ms", "error: timeout, elapsed: 800ms", "recv.elapsed"),
    ("timeout", "state: FIN_WAIT2}", "state: TIME_WAIT}", "state"),
    ("handshake", "{elapsed: 1rtt}", "{elapsed: 2rtt}", "connect.elapsed"),
    ("handshake", "match: syn-ack, at: sender, count: 1", "match: syn-ack, at: sender, count: 2", "packets"),
    ("truncated-recv", 'size: 5, expect: {data: "hello"}', 'size: 5, expect: {data: "hallo"}', "recv.data"),
    ("truncated-recv", "match: data, at: sender, count: 1", "match: data, at: sender, count: 4", "packets"),
    ("orderly-close", "first: client, how: fin", "first: server, how: fin", "close"),
    ("orderly-close", "expect: {eof: true}", "expect: {eof: false}", "recv.eof"),
    ("loss", "from: client, to: server, rate: 5%", "from: client, to: server, rate: 25%", "loss"),
    ("loss", "at: lost, count: {min: 1}", "at: lost, count: 0", "packets"),
]


def scenario_text(name: str) -> str:
    """A shipped scenario that can stand in a folder with `topologies()`."""
    return (SCENARIOS / f"{name}.yml").read_text().replace("../compose/", "compose/")


def topologies(folder: Path) -> None:
    """The shipped topologies: what a scenario names lies in its own project."""
    shutil.copytree(SCENARIOS.parent / "compose", folder / "compose")


@pytest.fixture(autouse=True)
def _nothing_left(engine: DockerEngine, images: Images) -> Iterator[None]:
    """Whatever a test did, no container and no network of a dead run is there afterwards."""
    yield
    assert [left for left in leftovers(engine) if left.owner is Owner.DEAD] == []


def test_a_case_without_hosts_runs_too(tmp_path: Path) -> None:
    (tmp_path / "empty.yml").write_text("lab: 1\nsteps: [{do: sleep, for: 10ms}]\n")
    done = lab("run", "-q", tmp_path / "empty.yml", "--out", tmp_path / "runs")
    assert done.exit_code == 0, done.stdout + done.stderr


def test_a_datagram_in_fragments_is_compared_as_the_application_got_it(tmp_path: Path) -> None:
    text = """\
lab: 1
params: {size: [5000, 100]}
steps:
  - {do: bind, at: server, as: u, port: 5000, kind: udp}
  - {do: connect, at: client, as: c, kind: udp, to: "server:5000"}
  - {do: send, at: client, on: c, data: {repeat: y, times: 5000}}
  - {do: recv, at: server, on: u, size: "${size}", timeout: 5s}
  - {do: sendto, at: client, on: other, to: "server:5000", data: hi}
  - {do: recv, at: server, on: u, size: 100, timeout: 5s}
checks: [{check: bytes, from: client, to: "server:5000"}]
"""
    (tmp_path / "udp.yml").write_text(text)
    lab("run", "-q", tmp_path / "udp.yml", "--out", tmp_path / "runs")
    found = {name: result.findings[-1] for name, (result, _) in results(tmp_path / "runs").items()}
    whole, cut = found["udp[size=5000]"], found["udp[size=100]"]
    assert whole.verdict is Verdict.PASS, whole
    assert "5,000 bytes" in whole.actual
    assert "2 bytes" in whole.actual
    assert cut.verdict is Verdict.FAIL
    assert "5,000 bytes were sent and 100 received" in cut.reason


@pytest.mark.parametrize(("name", "old", "new", "finding"), FALSIFIED, ids=lambda value: str(value)[:28])
def test_a_falsified_expectation_fails_and_names_its_line(
    tmp_path: Path, name: str, old: str, new: str, finding: str
) -> None:
    text = scenario_text(name)
    assert text.count(old) == 1
    line = text[: text.index(old)].count("\n") + 1
    topologies(tmp_path)
    copy = tmp_path / f"{name}.yml"
    copy.write_text(text.replace(old, new))
    done = lab("run", "-q", copy, "--out", tmp_path / "runs")
    assert done.exit_code == 1, done.stdout + done.stderr
    assert re.search(rf"{re.escape(str(copy))}:{line}:\d+: {re.escape(finding)}\b", done.stdout), done.stdout
    result, _ = results(tmp_path / "runs")[name]
    assert result.first_failure is not None
    assert (result.first_failure.name, result.first_failure.place.line) == (finding, line)
    assert result.first_failure.reason


WITHOUT_A_CHANCE = """\
lab: 1
hosts:
  client:
    link: {delay: 5ms}
steps:
  - {do: listen, at: server, port: 8001, as: srv}
  - {do: connect, at: client, to: "server:8001", as: c}
checks:
  - {check: handshake, from: client, to: "server:8001"}
"""


def test_a_wire_that_is_not_there_is_an_error_and_no_pass(tmp_path: Path) -> None:
    """This machine's kernel may have netem; then it is asked for and the test has nothing to say."""
    file = tmp_path / "plain.yml"
    file.write_text(WITHOUT_A_CHANCE)
    done = lab("run", "-q", file, "--wire", "kernel", "--out", tmp_path / "runs")
    result, _ = results(tmp_path / "runs")["plain"]
    if result.verdict == "PASS":
        assert result.environment is not None
        assert result.environment.wire == "kernel"
        return
    assert done.exit_code == 3
    assert "cannot impair" in done.stdout
    assert "lab doctor" in done.stdout


def test_what_requires_netem_is_skipped_where_nothing_impairs(tmp_path: Path) -> None:
    file = tmp_path / "plain.yml"
    file.write_text(WITHOUT_A_CHANCE + "requires: [netem]\n")
    done = lab("run", "-q", file, "--wire", "kernel", "--out", tmp_path / "runs")
    result, _ = results(tmp_path / "runs")["plain"]
    assert done.exit_code == 0
    if result.verdict == "PASS":
        assert result.environment is not None
        assert result.environment.wire == "kernel"
        return
    assert result.verdict == "SKIP"
    assert result.reason.startswith("requires netem: wire: kernel: the machine's kernel ")


SYSCTL = """\
lab: 1
hosts: {client: {sysctls: {GIVEN}}}
steps: [{do: run, at: client, command: ["true"]}]
"""


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("net.ipv4.tcp_syn_retriez: 2", "the kernel has no such sysctl"),
        ("net.ipv4.tcp_syn_retries: 900", "the kernel refuses the value (invalid argument)"),
    ],
)
def test_a_sysctl_that_the_kernel_refuses_is_named_with_its_host_and_place(
    tmp_path: Path, given: str, why: str
) -> None:
    file = tmp_path / "sysctl.yml"
    file.write_text(SYSCTL.replace("GIVEN", given))
    done = lab("run", file, "--out", tmp_path / "runs")
    name, _ = given.split(":")
    assert done.exit_code == 3
    place = f"sysctl.yml:2:{len('hosts: {client: {sysctls: {') + len(name) + 3}"
    assert f"{place}: host client: sysctl {name}: {why}" in done.stdout


TEN_MISTAKES = """\
lab: 1
name: ten
timeot: 5s
hosts:
  client:
    link: {delay: 5}
  server:
    link: {loss: 120%}
steps:
  - {do: listen, at: server, port: 80011, as: srv}
  - {do: conect, at: client, to: "server:8001", as: c}
  - {do: accept, at: servr, on: srv, as: s}
  - {do: recv, at: server, on: nobody, size: 5}
  - {do: recv, at: client, on: d, size: 5, expect: {error: ECONNREFUSD}}
  - {do: sleep, for: 1rtt}
  - {do: setsockopt, at: server, on: srv, option: SO_LINGR, value: 1}
checks:
  - {check: handshake, from: client}
"""


def test_ten_mistakes_are_ten_lines_with_their_places(tmp_path: Path) -> None:
    file = tmp_path / "ten.yml"
    file.write_text(TEN_MISTAKES)
    done = lab("check", file)
    assert done.exit_code == 2
    lines = [int(n) for n in re.findall(rf"^{re.escape(str(file))}:(\d+):\d+: ", done.stderr, re.MULTILINE)]
    assert set(lines) >= {3, 6, 8, 10, 11, 12, 13, 14, 15, 16, 18}
    assert done.stdout == ""


LONG = """\
lab: 1
steps:
  - {do: listen, at: server, port: 8001, as: srv}
  - {do: run, at: client, command: [echo, "the steps run"]}
  - {do: sleep, for: 50s}
checks:
  - {check: packets, match: any, count: 0}
"""


def wait_until_steps_run(process: subprocess.Popen[str], engine: DockerEngine) -> str:
    """The run id, once its hosts are up and the steps have begun."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("long: steps begin"):
            (found,) = {
                c.labels[LABEL_RUN]
                for c in engine.containers({LABEL_RUN: None})
                if c.labels.get("lab.pid") == str(process.pid)
            }
            return found
    raise AssertionError(f"the run ended before its steps: {process.wait()}")


def of_run(engine: DockerEngine, run: str) -> int:
    """How many containers and networks of a run there are."""
    containers = engine.containers({LABEL_RUN: run})
    return len(containers) + sum(n.labels.get(LABEL_RUN) == run for n in engine.networks())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_takes_everything_down(tmp_path: Path, engine: DockerEngine, number: int) -> None:
    file = tmp_path / "long.yml"
    file.write_text(LONG)
    process = start("run", "--verbose", file, "--out", tmp_path / "runs")
    run = wait_until_steps_run(process, engine)
    assert of_run(engine, run) == 5  # two hosts, the programs of one, the wire; a network
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr
    assert of_run(engine, run) == 0


def test_what_a_killed_run_left_is_swept_by_the_next(tmp_path: Path, engine: DockerEngine) -> None:
    file = tmp_path / "long.yml"
    file.write_text(LONG)
    process = start("run", "--verbose", file, "--out", tmp_path / "runs")
    run = wait_until_steps_run(process, engine)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert of_run(engine, run) > 0
    done = lab("run", SCENARIOS / "truncated-recv.yml", "--out", tmp_path / "runs")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert run in done.stderr
    assert of_run(engine, run) == 0


def test_two_runs_at_once_do_not_touch_each_other(tmp_path: Path) -> None:
    first = start("run", "-q", SCENARIOS / "orderly-close.yml", "--out", tmp_path / "a")
    second = start("run", "-q", SCENARIOS / "orderly-close.yml", "--out", tmp_path / "b")
    outputs = [process.communicate(timeout=120) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    (one,) = results(tmp_path / "a").values()
    (other,) = results(tmp_path / "b").values()
    assert one[0].run != other[0].run


def test_a_scenario_that_hangs_fails_at_the_step_that_hangs(tmp_path: Path) -> None:
    file = tmp_path / "hangs.yml"
    file.write_text(WITHOUT_A_CHANCE.replace("hosts:", "timeout: 2s\nhosts:", 1).replace(
        "checks:", "  - {do: recv, at: client, on: c, size: 1}\nchecks:"
    ))  # fmt: skip
    done = lab("run", "-q", file, "--out", tmp_path / "runs")
    assert done.exit_code == 1, done.stdout
    assert f"{file}:9:" in done.stdout
    assert "recv at client hangs: the scenario's 2s are over" in done.stdout


def test_a_lab_that_is_kept_stands_until_it_is_taken_down(tmp_path: Path, engine: DockerEngine) -> None:
    file = tmp_path / "kept.yml"
    file.write_text(WITHOUT_A_CHANCE)
    done = lab("run", "-q", "--keep", file, "--out", tmp_path / "runs")
    assert done.exit_code == 0, done.stdout
    result, _ = results(tmp_path / "runs")["kept"]
    try:
        assert f"lab down {result.run}" in done.stdout
        assert lab("run", "-q", SCENARIOS / "truncated-recv.yml", "--out", tmp_path / "other").exit_code == 0
        route = lab("sh", "--run", result.run, "client", "ip", "route")
        assert "via" in route.stdout, route.stderr
        ping = lab("sh", "--run", result.run, "client", "ping", "-c", "1", "server")
        assert "ttl=63" in ping.stdout, ping.stdout + ping.stderr
    finally:
        assert lab("down", result.run).exit_code == 0
    assert of_run(engine, result.run) == 0


def test_selection_and_repetition(tmp_path: Path) -> None:
    file = tmp_path / "swept.yml"
    text = WITHOUT_A_CHANCE.replace("hosts:", "params:\n  delay: [1ms, 2ms]\nhosts:", 1)
    file.write_text(text.replace("{delay: 5ms}", '{delay: "${delay}"}'))
    done = lab(
        "run", "-q", file, "--param", "delay=2ms", "--repeat", "2", "-j", "2", "--out", tmp_path / "runs"
    )
    assert done.exit_code == 0, done.stdout
    newest = (tmp_path / "runs" / "latest").resolve()
    names = [json.loads(p.read_text())["name"] for p in sorted(newest.glob("*/result.json"))]
    assert names == ["swept[delay=2ms]"] * 2
    assert (newest / "index.html").is_file()
    assert lab("run", "-q", file, "-k", "nothing", "--out", tmp_path / "runs").exit_code == 2


def test_a_wire_that_is_changed_behind_the_labs_back_is_an_error(
    tmp_path: Path, engine: DockerEngine
) -> None:
    """The configured delay halved on the wire itself, after its read-back: the packets tell."""
    file = tmp_path / "long.yml"
    file.write_text(
        """\
lab: 1
hosts:
  client:
    link: {delay: 40ms}
steps:
  - {do: listen, at: server, port: 8001, as: srv}
  - {do: run, at: server, command: [sleep, "3"]}
  - {do: connect, at: client, to: "server:8001", as: c}
  - {do: accept, at: server, on: srv, as: s}
  - {do: sendall, at: client, on: c, data: {random: 100kB}}
  - {do: recv_exactly, at: server, on: s, size: 100kB}
"""
    )
    process = start("run", "--verbose", file, "--out", tmp_path / "runs")
    run = wait_until_steps_run(process, engine)
    (wire,) = [c for c in engine.containers({LABEL_RUN: run}) if c.labels["lab.role"] == "wire"]
    halve = "echo tc qdisc change dev up10 root handle 1: netem limit 50000 delay 20ms >/run/lab/sh.in"
    done = engine.exec(wire.id, ["sh", "-c", halve])
    stdout, _ = process.communicate(timeout=60)
    assert done.exit_code == 0, done
    assert process.returncode == 3, stdout
    assert "did not impair as configured" in stdout
    assert "configured 40ms" in stdout
