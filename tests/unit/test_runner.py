"""The runner without an engine: settling, plans, folders, interrupts, progress, arguments of calls."""

from __future__ import annotations

import io
import os
import signal
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import cast

import pytest

from lab.attachment import attach_all, attach_wire, prefix_length
from lab.cli.progress import Progress
from lab.engine.base import ContainerSpec, NetworkSpec
from lab.errors import EngineError, LabError, UsageError
from lab.link import Impairment, Link
from lab.result import Result
from lab.runner.case import CaseRunner
from lab.runner.selection import Selection
from lab.runner.suite import Outcome, plan_jobs, run_jobs
from lab.scenario.calls import Call
from lab.scenario.load import Case, load
from lab.scenario.steps import parse_step
from lab.session.arguments import arguments
from lab.session.events import Events, Listener, Said
from lab.session.folder import RunFolder, file_name, link_latest, make_folder
from lab.session.interrupt import Interrupt, Interrupted, signals_set
from lab.session.plan import plan_case
from lab.session.record import Record
from lab.session.settle import quiet_time, settle
from lab.session.testbed import in_parallel, take_down_run
from lab.site import WireChoice
from lab.units import Duration
from tests.fake_engine import FakeEngine
from tests.unit.report_helpers import result as report_result

SUBNET = IPv4Network("198.18.7.0/24")


class FakeClock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now = 0

    def monotonic_ns(self) -> int:
        return self.now

    def wall_ns(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


# --- settling ---------------------------------------------------------------------------------------------


def delayed(milliseconds: int) -> Link:
    side = Impairment(delay=Duration(milliseconds * 1_000_000))
    return Link(side, side)


def test_quiet_is_the_largest_round_trip_and_50_ms() -> None:
    assert quiet_time([delayed(10), delayed(20), delayed(1)]) == pytest.approx(0.060 + 0.050)
    assert quiet_time([Link()]) == pytest.approx(0.050)


def test_settling_waits_for_the_last_packet_and_for_the_queues() -> None:
    clock = FakeClock()
    last_packet = 400_000_000
    held = [3, 1, 0]
    rested = settle(lambda: max(0, clock.now - last_packet), lambda: held.pop(0), 0.1, clock.sleep, clock)
    assert rested
    assert held == []
    assert clock.now >= last_packet + 100_000_000


@pytest.mark.parametrize(("quiet_ns", "in_flight"), [(0, 0), (10**9, 1)])
def test_settling_gives_up_after_3_s_and_says_so(quiet_ns: int, in_flight: int) -> None:
    clock = FakeClock()
    assert not settle(lambda: quiet_ns, lambda: in_flight, 0.1, clock.sleep, clock)
    assert clock.now == 3_000_000_000


# --- plans ------------------------------------------------------------------------------------------------

SCENARIO = """\
lab: 1
hosts:
  client:
    link: {delay: 5ms}
    sysctls: {net.ipv4.tcp_syn_retries: 1}
  idle: {}
steps:
  - {do: listen, at: server, port: 8001, as: srv}
  - {do: parallel, steps: [{do: drop, from: client, to: server, match: syn}, {do: sleep, for: 1ms}]}
  - {do: connect, at: client, to: "server:8001", as: c}
"""


def test_a_plan_has_the_used_hosts_their_links_and_what_drops_need(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text(SCENARIO)
    plan = plan_case(load(file)[0].scenario, "12345678", "auto", {"lab.run": "12345678"})
    assert list(plan.hosts) == ["client", "server"]
    assert plan.hosts["client"].sysctls == {"net.ipv4.tcp_syn_retries": "1"}
    assert plan.links["client"] == delayed(5)
    assert plan.drops
    assert plan.labels_of("host", "client") == {
        "lab.run": "12345678",
        "lab.role": "host",
        "lab.host": "client",
    }


SENDALL = "  - {{do: sendall, at: client, on: c, data: {{random: {}, seed: 1}}}}\n"
ROUTED = """\
lab: 1
steps:
  - {do: listen, at: server, port: 8001, as: srv}
  - {do: connect, at: client, to: "server:8001", as: c}
"""


@pytest.mark.parametrize(
    ("changed", "wire", "keep", "kind"),
    [
        (ROUTED, "auto", False, "route"),
        (ROUTED, "auto", True, "auto"),  # whoever looks around may impair it by hand
        (ROUTED, "kernel", False, "kernel"),
        (ROUTED, "uml", False, "uml"),
        (
            ROUTED.replace("steps:", "hosts:\n  server: {link: {down: {mtu: 600}}}\nsteps:"),
            "auto",
            False,
            "auto",
        ),
        (ROUTED + "  - {do: link, host: client, delay: 5ms}\n", "auto", False, "auto"),
        (ROUTED + "  - {do: cut, host: client}\n", "auto", False, "auto"),
        (ROUTED + "  - {do: partition, between: [client, server]}\n", "auto", False, "auto"),
        (ROUTED + "  - {do: drop, from: client, to: server, match: fin}\n", "auto", False, "auto"),
        (ROUTED + "  - {do: power, at: server, state: 'off'}\n", "auto", False, "auto"),
        (ROUTED + "  - {do: parallel, steps: [{do: cut, host: client}]}\n", "auto", False, "auto"),
        (ROUTED + "  - {do: run, at: client, command: [nc, server, '8001']}\n", "auto", False, "auto"),
        (ROUTED + SENDALL.format(14_000), "auto", False, "route"),
        (ROUTED + SENDALL.format(14_001), "auto", False, "auto"),  # bulk overtakes itself between CPUs
        (ROUTED + SENDALL.format(7_001) * 2, "auto", False, "auto"),
    ],
)
def test_a_case_that_impairs_nothing_gets_a_wire_that_only_routes(
    tmp_path: Path, changed: str, wire: WireChoice, keep: bool, kind: str
) -> None:
    file = tmp_path / "s.yml"
    file.write_text(changed)
    assert plan_case(load(file)[0].scenario, "12345678", wire, {}, keep=keep).wire_kind == kind


def test_addresses_and_macs_follow_the_subnet_and_the_number() -> None:
    places = attach_all(SUBNET, {"client": delayed(5), "server": Link()})
    client = places["client"]
    assert (str(client.address), client.mac, client.number) == ("198.18.7.10", "02:c6:c6:12:07:0a", 10)
    assert (client.link, client.subnet) == (delayed(5), SUBNET)
    assert str(places["server"].address) == "198.18.7.11"
    assert str(attach_wire(SUBNET).address) == "198.18.7.2"


@pytest.mark.parametrize(("hosts", "length"), [(1, 24), (245, 24), (246, 23), (501, 23), (502, 22)])
def test_a_network_has_room_for_its_hosts(hosts: int, length: int) -> None:
    assert prefix_length(hosts) == length
    subnet = IPv4Network(f"198.18.8.0/{length}")
    places = attach_all(subnet, {f"h{number}": Link() for number in range(hosts)})
    addresses = {place.address for place in places.values()}
    assert len(addresses) == len({place.mac for place in places.values()}) == hosts
    assert all(address in subnet and address != subnet.broadcast_address for address in addresses)


# --- folders ----------------------------------------------------------------------------------------------


def test_a_case_name_becomes_a_file_name() -> None:
    assert file_name("timeout[delay=5ms,loss=1%]") == "timeout-delay=5ms,loss=1"
    assert file_name("///") == "case"


def test_a_folder_is_named_by_time_scenario_and_run(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "timeout", "ab12", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert folder == tmp_path / "20260102T030405Z-timeout-ab12"
    link_latest(folder)
    link_latest(folder)
    assert (tmp_path / "latest").resolve() == folder
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name, "latest"]


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made") as caught:
        make_folder(tmp_path / "file", "timeout", "ab12")
    assert "--out" in caught.value.hint


def test_many_cases_have_folders_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text(
        SCENARIO.replace("hosts:", "params: {delay: [1ms, 2ms]}\nhosts:", 1).replace("5ms", '"${delay}"')
    )
    cases = load(file)
    folder, jobs = plan_jobs(cases, tmp_path / "runs", repeat=2)
    assert [job.folder.path.relative_to(folder).as_posix() for job in jobs] == [
        "s-delay=1ms-1",
        "s-delay=2ms-1",
        "s-delay=1ms-2",
        "s-delay=2ms-2",
    ]
    assert len({job.run for job in jobs}) == 4
    alone, (job,) = plan_jobs(cases[:1], tmp_path / "runs", repeat=1)
    assert job.folder.path == alone


@dataclass
class Bench:
    """In place of a `CaseRunner`: cases that end when another one has come, and which CPU each had."""

    result: Result
    side_by_side: int
    listener: Listener = lambda event: None
    busy: set[int] = field(default_factory=set)
    most: list[tuple[str, int]] = field(default_factory=list)  #: case, how many ran then
    met: threading.Barrier = field(init=False)

    def __post_init__(self) -> None:
        self.met = threading.Barrier(self.side_by_side)

    def run(self, case: Case, run: str, folder: RunFolder, cpu: int) -> Result:
        place = cpu % self.side_by_side
        assert place not in self.busy
        self.busy.add(place)
        if not case.scenario.alone:
            self.met.wait(10)
        self.most.append((case.scenario.name, len(self.busy)))
        if not case.scenario.alone:
            self.met.wait(10)
        self.busy.remove(place)
        return self.result


def test_cases_side_by_side_have_cpus_of_their_own_and_some_run_alone(tmp_path: Path) -> None:
    files = {"a": "", "alone": "alone: true\n", "b": ""}
    for name, more in files.items():
        (tmp_path / f"{name}.yml").write_text(SCENARIO + more)
    cases = [case for name in files for case in load(tmp_path / f"{name}.yml")]
    _, jobs = plan_jobs(cases, tmp_path / "runs", repeat=3)
    bench, done = Bench(report_result(), side_by_side=2), list[Outcome]()
    outcomes = run_jobs(jobs, cast(CaseRunner, bench), Interrupt(), 2, done.append)
    assert [outcome.folder for outcome in outcomes] == [job.folder.path for job in jobs]
    assert len(done) == 9
    assert sorted(bench.most) == [("a", 2)] * 3 + [("alone", 1)] * 3 + [("b", 2)] * 3


def test_a_selection_of_nothing_is_an_error_that_says_what_was_asked(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text(SCENARIO)
    assert [case.name for case in Selection((file,), keyword="S").cases()] == ["s"]
    with pytest.raises(UsageError, match="none of 1 case matches -k other --tag slow"):
        Selection((file,), keyword="other", tags=("slow",)).cases()


# --- interrupts -------------------------------------------------------------------------------------------


def test_an_interrupt_calls_back_once_and_ends_waits() -> None:
    interrupt = Interrupt()
    called: list[str] = []
    with interrupt.calling(lambda: called.append("in")):
        interrupt.check()
        threading.Thread(target=interrupt.set, args=("SIGINT",)).start()
        with pytest.raises(Interrupted, match="interrupted by SIGINT"):
            interrupt.wait(60)
    interrupt.set("SIGTERM")
    assert (interrupt.reason, called) == ("SIGINT", ["in"])
    with interrupt.calling(lambda: called.append("late")):
        pass
    assert called == ["in", "late"]


def test_a_signal_sets_the_interrupt_even_where_it_was_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interrupt = Interrupt()
        with signals_set(interrupt):
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(Interrupted):
                interrupt.wait(60)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_of_parallel_jobs_all_are_run_and_the_first_error_names_the_others() -> None:
    done: list[str] = []

    def fails(text: str) -> None:
        raise EngineError(text)

    with pytest.raises(LabError, match="one") as caught:
        in_parallel(
            [("a", lambda: fails("one")), ("b", lambda: fails("two")), ("c", lambda: done.append("c"))]
        )
    assert caught.value.__notes__ == ["b: two"]
    assert done == ["c"]


# --- taking down ------------------------------------------------------------------------------------------


def lab_of(engine: FakeEngine, run: str, subnet: str) -> str:
    labels = {"lab.run": run}
    network = engine.create_network(NetworkSpec(f"lab-{run}", IPv4Network(subnet), labels))
    return engine.create(
        ContainerSpec(
            name=f"lab-{run}-a",
            image="lab-host:1",
            labels=labels,
            network=network,
            address=IPv4Network(subnet)[10],
            mac="02:c6:12:07:00:0a",
        )
    )


def test_only_the_objects_of_the_run_are_removed() -> None:
    engine = FakeEngine({"lab-host:1": lambda process: 0})
    lab_of(engine, "one", "198.18.1.0/24")
    lab_of(engine, "two", "198.18.2.0/24")
    take_down_run(engine, "one")
    assert [c.name for c in engine.containers({"lab.run": None})] == ["lab-two-a"]
    assert [n.name for n in engine.networks() if "lab.run" in n.labels] == ["lab-two"]


# --- small things -----------------------------------------------------------------------------------------


def test_phases_are_events_that_come_when_they_end() -> None:
    clock, record = FakeClock(), Record()
    events = Events(record, clock=clock)
    with events.phase("outer"):
        clock.sleep(1)
        with events.phase("inner"):
            clock.sleep(2)
    assert [(p.name, p.start, p.seconds) for p in record.phases] == [
        ("inner", 1.0, 2.0),
        ("outer", 0.0, 3.0),
    ]


def test_progress_overwrites_its_status_on_a_terminal_only() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, pipe, verbose = Terminal(), io.StringIO(), io.StringIO()
    for progress in (Progress(terminal), Progress(pipe), Progress(verbose, verbose=True)):
        progress(Said("working"))
        progress(Said("done", lasting=True))
        progress.clear()
    assert terminal.getvalue() == "working\r       \rdone\n"
    assert pipe.getvalue() == "done\n"
    assert verbose.getvalue() == "working\ndone\n"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"do": "listen", "at": "a", "port": 80, "as": "s"}, {"port": 80, "as": "s", "backlog": 5}),
        ({"do": "connect", "at": "a", "to": "b:80", "as": "c"}, {"to": ["b", 80], "as": "c"}),
        ({"do": "send", "at": "a", "on": "c", "data": "x"}, {"on": "c", "data": {"text": "x"}}),
        ({"do": "recv", "at": "a", "on": "c", "size": "1kB", "timeout": "1s"}, {"on": "c", "size": 1000}),
        ({"do": "settimeout", "at": "a", "on": "c", "value": "none"}, {"on": "c", "value": None}),
        ({"do": "settimeout", "at": "a", "on": "c", "value": "5ms"}, {"on": "c", "value": 5_000_000}),
        (
            {
                "do": "setsockopt",
                "at": "a",
                "on": "c",
                "option": "SO_LINGER",
                "value": {"onoff": 1, "seconds": 0},
            },
            {"on": "c", "option": "SO_LINGER", "value": {"onoff": 1, "seconds": 0}},
        ),
    ],
)
def test_the_arguments_of_a_call_are_plain_json(keys: dict[str, object], expected: dict[str, object]) -> None:
    step = parse_step(keys)
    assert isinstance(step, Call)
    assert arguments(step) == expected
