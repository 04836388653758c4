"""Processes of the agent that are killed, paused and cancelled; programs; states; the agent's own end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from images.host.lab_agent.counters import read_sysctls
from lab.errors import AgentError, DeadlineExceeded
from lab.host import CallSpec, Host, Identity, Programs, RunSpec
from lab.host.channel import AgentRefused
from lab.units import Duration
from tests.process.agent_process import PipeStream, launcher
from tests.process.test_agent_calls import PATIENCE, Caller, caller, host

__all__ = ["caller", "host"]  # the fixtures


def test_kill_ends_pending_calls_and_the_kernel_closes_the_sockets(caller: Caller) -> None:
    port = caller.listen()
    far = Caller(caller.host)
    far.process = "victim"
    far.ok("connect", to=["127.0.0.1", port], as_="c")
    caller.ok("accept", on="srv", as_="s")
    far.ok("sendall", on="c", data="all there is")
    _, pending = far.begin("recv", on="c", size=1)
    caller.host.signal("victim", "KILL")
    record = pending.result(PATIENCE)
    assert record.error is not None
    assert (record.error.name, record.socket, record.kind) == ("killed", "c", "tcp")
    assert "SIGKILL" in record.error.message
    assert record.end_mono_ns > record.start_mono_ns
    assert caller.ok("recv", on="s", size=99).data == b"all there is"
    assert caller.ok("recv", on="s", size=99).eof  # the FIN of the kernel
    mine = [stream for stream in caller.host.streams() if stream.process == "victim"]
    assert mine[-1].sent_bytes == 12  # known after the death
    with pytest.raises(AgentRefused, match="no process 'victim' is alive"):
        caller.host.signal("victim", "KILL")
    assert far.ok("socket", as_="c").fd == 3  # a new life, with nothing of the old one


def test_no_other_process_holds_the_sockets_of_a_killed_one(caller: Caller) -> None:
    """A process forked after a connection was made must not keep it from being closed."""
    port = caller.listen()
    victim, bystander = Caller(caller.host), Caller(caller.host)
    victim.process, bystander.process = "victim", "bystander"
    victim.ok("connect", to=["127.0.0.1", port], as_="c")
    bystander.ok("socket", as_="any")
    caller.ok("accept", on="srv", as_="s")
    caller.host.signal("victim", "KILL")
    assert caller.ok("recv", on="s", size=1, timeout="1s").eof


def test_a_signal_that_terminates(caller: Caller) -> None:
    caller.listen()
    _, pending = caller.begin("accept", on="srv", as_="s")
    caller.host.signal("main", "TERM")
    assert "SIGTERM" in pending.result(PATIENCE).error.message
    assert caller.ok("socket", as_="another_life").fd == 3
    caller.host.signal("main", "URG")  # harmless
    with pytest.raises(AgentRefused, match="'NONSENSE' is not a signal"):
        caller.host.signal("main", "NONSENSE")


def test_a_paused_process_makes_no_calls_till_it_goes_on(caller: Caller) -> None:
    caller.pair()
    step, pending = caller.begin("recv", on="s", size=5)
    caller.host.signal("main", "STOP")
    spec = caller.spec("getsockopt", {"on": "c", "option": "SO_TYPE"}, None)
    waiting = caller.host.call(spec)
    caller.host.counters()  # a whole round trip later …
    assert not waiting.done()
    assert caller.host.cancel(step) == 1  # … and still it can be given up
    assert pending.result(PATIENCE).error.name == "cancelled"
    caller.host.signal("main", "CONT")
    assert waiting.result(PATIENCE).result == 1


def test_cancel_what_is_not_there(caller: Caller) -> None:
    assert caller.host.cancel("steps[99]") == 0


def test_begun_needs_a_call(caller: Caller) -> None:
    with pytest.raises(AgentError, match="has neither begun nor ended"):
        caller.host.begun("nonesuch", 0.001)


def test_a_program_holds_no_more_files_than_the_processes(own: tuple[Host, PipeStream]) -> None:
    host, _ = own
    script = ["sh", "-c", "ulimit -Sn; sleep 0.05; ulimit -Hn"]

    def limits(step: str) -> list[str]:
        return host.run(RunSpec(step, script)).result(PATIENCE).stdout.split()

    before = limits("one")
    host.limit_open_files(64)
    assert limits("two") == ["64", "64"]
    host.limit_open_files(None)
    assert limits("three") == before


def test_a_small_file_comes_as_it_is_and_a_large_one_does_not(host: Host, tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(bytes(range(256)) * 1024)
    large.write_bytes(bytes(256 * 1024 + 1))
    assert host.small_file(str(small)) == bytes(range(256)) * 1024
    assert host.small_file(str(large)) is None


def _cpus(pid: int | str) -> set[int]:
    (line,) = [
        x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("Cpus_allowed_list")
    ]
    ranges = [part.split("-") for part in line.split(":")[1].strip().split(",")]
    return {cpu for ends in ranges for cpu in range(int(ends[0]), int(ends[-1]) + 1)}


def test_all_that_sends_is_on_one_cpu_once_it_is_pinned(own: tuple[Host, PipeStream]) -> None:
    host, stream = own
    agent = stream.process.pid
    children = Path(f"/proc/{agent}/task/{agent}/children")
    (main,) = children.read_text().split()
    everywhere = os.sched_getaffinity(0)
    assert _cpus(main) == everywhere
    cpu = host.pin(3)
    assert cpu == sorted(everywhere)[3 % len(everywhere)]
    assert _cpus(main) == {cpu}
    Caller(host).ok("socket", as_="one")
    later = Caller(host)
    later.process = "later"
    later.ok("socket", as_="two")
    assert len(children.read_text().split()) == 2
    assert all(_cpus(pid) == {cpu} for pid in children.read_text().split())
    text = host.run(RunSpec("program", ["cat", "/proc/self/status"])).result(PATIENCE).stdout
    assert f"Cpus_allowed_list:\t{cpu}\n" in text
    assert _cpus(agent) == everywhere  # which stamps and samples


def test_programs(host: Host) -> None:
    text = "line\n" * 30_000  # more than a pipe holds
    record = host.run(RunSpec("cat", ["sh", "-c", "cat; echo no >&2; exit 3"], stdin=text)).result(PATIENCE)
    assert (record.exit_code, record.stdout, record.stderr, record.error) == (3, text, "no\n", None)
    late = host.run(RunSpec("late", ["sleep", "60"], timeout=Duration.parse("10ms"))).result(PATIENCE)
    assert (late.exit_code, late.error) == (-signal.SIGKILL, "timeout")
    missing = host.run(RunSpec("missing", ["nonesuch-program"])).result(PATIENCE)
    assert missing.exit_code is None
    assert missing.error == "nonesuch-program could not be started: No such file or directory"


def test_a_program_in_the_background_is_signalled_and_cancelled(host: Host) -> None:
    one = host.run(RunSpec("one", ["sleep", "60"]))
    host.signal_run("one", "TERM")
    assert one.result(PATIENCE).exit_code == -signal.SIGTERM
    with pytest.raises(AgentRefused, match="'one' has ended already"):
        host.signal_run("one", "TERM")
    with pytest.raises(AgentRefused, match="no program was started by step 'two'"):
        host.signal_run("two", "TERM")
    two = host.run(RunSpec("two", ["sleep", "60"]))
    assert host.cancel("two") == 1
    assert two.result(PATIENCE).exit_code == -signal.SIGKILL


def test_states_counters_and_sysctls(caller: Caller) -> None:
    host = caller.host
    host.watch()
    before = host.counters()
    port = caller.pair()
    assert host.wait_for(1, listening=port).wall_ns > 0
    host.wait_for(1, state="ESTABLISHED", port=port)
    assert host.counters()["TcpActiveOpens"] > before["TcpActiveOpens"]
    caller.ok("close", on="c")
    host.wait_for(1, state="FIN_WAIT2", port=port)
    caller.ok("close", on="s")
    host.wait_for(1, state="TIME_WAIT", port=port)
    seen = [
        s.state for s in host.states() if s.remote is not None and s.remote.port == port and s.kind == "tcp"
    ]
    passing = ("SYN_SENT", "FIN_WAIT1")  # too short on a loopback to be seen each time
    assert [state for state in seen if state not in passing] == ["ESTABLISHED", "FIN_WAIT2", "TIME_WAIT"]
    final = [s for s in host.final_states() if s.local.port == port and s.state == "LISTEN"]
    assert len(final) == 1
    assert final[0].final
    assert read_sysctls(["net.ipv4.tcp_syn_retries", "net.no.such"]).keys() == {"net.ipv4.tcp_syn_retries"}


def test_a_packet_between_two_looks_is_not_taken_for_quiet(caller: Caller) -> None:
    """The counters are read when they are asked for, not up to 10 ms before."""
    caller.host.watch()
    caller.ok("socket", kind="udp", as_="u")
    for _ in range(5):
        before = time.monotonic_ns()
        caller.ok("sendto", on="u", to=["127.0.0.1", 9], data="x")
        quiet = caller.host.quiet_ns()
        assert 0 <= quiet <= time.monotonic_ns() - before


def test_an_accept_queue_is_seen_to_grow(caller: Caller) -> None:
    caller.host.watch()
    port = caller.listen()
    caller.ok("connect", to=["127.0.0.1", port], as_="c")
    queues = [s.recv_queue for s in caller.host.states() if s.local.port == port and s.state == "LISTEN"]
    assert queues == [0, 1]


def test_waiting_for_a_state_that_does_not_come(caller: Caller) -> None:
    with pytest.raises(DeadlineExceeded, match=r"h: no tcp socket in LISTEN with port 1 within 0.01 s"):
        caller.host.wait_for(0.01, listening=1)


def test_requests_that_cannot_be(host: Host) -> None:
    with pytest.raises(AgentRefused, match="the host was not set up"):
        host.start_capture()
    with pytest.raises(AgentRefused, match="no capture was started"):
        host.stop_capture()
    with pytest.raises(AgentRefused, match="the host was not set up"):
        host.power_off()


@pytest.fixture
def own() -> Iterator[tuple[Host, PipeStream]]:
    """An agent that a test may kill."""
    stream, programs = PipeStream(), list[PipeStream]()
    with Host(stream, "h", Programs("h", launcher(programs))) as host:
        host.wait_ready()
        yield host, stream
    for one in (stream, *programs):
        one.release()


def test_the_end_of_stdin_ends_everything(own: tuple[Host, PipeStream]) -> None:
    host, stream = own
    pids = f"/proc/{stream.process.pid}/task/{stream.process.pid}/children"
    host.signal("main", "CONT")  # a round trip: the agent is at work
    with open(pids, encoding="ascii") as file:
        children = [int(pid) for pid in file.read().split()]
    assert len(children) == 1
    host.close()
    assert stream.process.returncode == 0
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_the_end_of_a_host_ends_its_programs() -> None:
    stream, programs = PipeStream(), list[PipeStream]()
    with Host(stream, "h", Programs("h", launcher(programs))) as host:
        host.wait_ready()
        future = host.run(RunSpec("program", ["sleep", "60"]))
        host.begun("program")
    with pytest.raises(AgentError, match=r"^programs of h: run: the agent is gone"):
        future.result(PATIENCE)
    with pytest.raises(AgentError, match="its programs have ended with it"):
        host.run(RunSpec("late", ["true"]))
    for one in (stream, *programs):
        one.release()


def test_programs_of_other_capabilities_have_another_container() -> None:
    stream, programs = PipeStream(), list[PipeStream]()
    with Host(stream, "h", Programs("h", launcher(programs))) as host:
        host.wait_ready()
        host.programs_ready()
        for number, capabilities in enumerate([(), ("NET_ADMIN",), (), ("NET_ADMIN",)]):
            spec = RunSpec(f"step-{number}", ["true"], identity=Identity(capabilities))
            assert host.run(spec).result(PATIENCE).exit_code == 0
        assert len(programs) == 2
    for one in (stream, *programs):
        one.release()


FLOOD = ["sh", "-c", "head -c 70000000 /dev/zero; echo never"]


def test_what_a_program_prints_is_bounded(host: Host) -> None:
    record = host.run(RunSpec("flood", FLOOD)).result(PATIENCE)
    assert record.error == "h reached its limit of 64MB of output (limits.logs in lab.yml)"
    assert len(record.stdout) < (1 << 20) + 64
    assert "bytes more)" in record.stdout[-40:]
    assert record.exit_code == -signal.SIGKILL


def test_what_writes_on_after_its_end_is_not_waited_for(host: Host) -> None:
    script = ["sh", "-c", "(exec setsid timeout 5 yes) & exit 3"]
    record = host.run(RunSpec("left", script)).result(PATIENCE)
    assert (record.exit_code, record.error) == (3, None)


def test_a_dead_agent_is_an_error_with_its_last_words() -> None:
    ready = 'print(\'{"event":"ready"}\', flush=True)'
    code = f"import sys; {ready}; sys.stdin.readline(); raise SystemExit('ouch')"
    stream = PipeStream([sys.executable, "-S", "-E", "-c", code])
    with Host(stream, "server", Programs("server", launcher([]))) as host:
        host.wait_ready()
        with pytest.raises(AgentError, match=r"(?s)^server: call: the agent is gone.*ouch"):
            host.call(CallSpec("a", "socket", {"as": "x"})).result(PATIENCE)
    stream.release()
