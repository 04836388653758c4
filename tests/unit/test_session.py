"""The session and the case runner on an engine in memory: what breaks, when, and that nothing is left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.clock import Deadline
from lab.errors import AgentError
from lab.evidence.model import StepRecord
from lab.link import Impairment, Link
from lab.result import Phase, Result
from lab.scenario.load import load
from lab.scenario.model import HostSpec
from lab.scenario.steps import parse_step
from lab.session.events import Event, Events, Said, StepBegan
from lab.session.folder import make_case_folder
from lab.session.opening import open_session
from lab.session.plan import Plan
from lab.session.record import Record
from lab.units import Duration
from lab.verdict import Verdict
from tests.unit.fake_lab import IMAGES, Answer, FakeAgent, FakeLab, Refusal, at, dies, hangs, when

SCENARIO = """\
lab: 1
timeout: 20s
hosts:
  client: {link: {delay: 5ms}}
steps:
  - {do: listen, at: server, port: 8001, as: srv}
  - {do: connect, at: client, to: "server:8001", as: c}
  - {do: sleep, for: 1ms}
"""


def run(lab: FakeLab, folder: Path, text: str = SCENARIO) -> Result:
    file = folder / "s.yml"
    file.write_text(text)
    (case,) = load(file)
    return lab.runner().run(case, "12345678", make_case_folder(folder / "run"), 0)


def test_a_case_passes_and_leaves_only_its_folder(tmp_path: Path) -> None:
    lab = FakeLab()
    result = run(lab, tmp_path)
    assert (result.verdict, result.reason) == (Verdict.PASS, "")
    assert lab.left() == []
    told = (tmp_path / "run" / "logs" / "lab.log").read_text()
    assert "steps[1] client connect: returned" in told
    compose = (tmp_path / "run" / "compose.yml").read_text()
    assert f"image: {IMAGES.host.tag}\n" in compose
    assert f"image: {IMAGES.wire.tag}\n" in compose
    assert {"network", "bring-up", "steps", "settle", "evidence", "down"} <= {p.name for p in result.phases}


def test_a_case_that_impairs_nothing_only_routes(tmp_path: Path) -> None:
    lab = FakeLab()
    result = run(lab, tmp_path, SCENARIO.replace("{link: {delay: 5ms}}", "{}"))
    assert result.verdict is Verdict.PASS
    assert result.environment is not None
    assert result.environment.wire == "kernel"


@pytest.mark.parametrize("op", ["set_up", "join", "start_capture", "reach", "pin"])
def test_a_host_that_dies_half_started_is_an_error_that_names_it(op: str, tmp_path: Path) -> None:
    lab = FakeLab({op: at("server", dies)})
    result = run(lab, tmp_path)
    assert result.verdict is Verdict.ERROR
    assert result.error is not None
    assert result.error.kind == "AgentError"
    assert f"server: {op}: the agent is gone" in result.error.message
    assert "the agent of server dies" in result.error.message
    assert lab.left() == []


def test_of_two_hosts_that_die_both_are_named(tmp_path: Path) -> None:
    result = run(FakeLab({"set_up": dies}), tmp_path)
    assert result.error is not None
    assert "client: set_up" in result.error.message
    assert "server: set_up" in result.error.message


def test_an_agent_that_dies_in_a_call_is_an_error(tmp_path: Path) -> None:
    lab = FakeLab({"call": at("client", dies)})
    result = run(lab, tmp_path)
    assert result.verdict is Verdict.ERROR
    assert "client: call: the agent is gone" in result.reason
    assert lab.left() == []


def test_an_agent_that_dies_in_the_evidence_is_an_error(tmp_path: Path) -> None:
    lab = FakeLab({"stop_capture": at("server", dies)})
    result = run(lab, tmp_path)
    assert (result.verdict, lab.left()) == (Verdict.ERROR, [])
    assert "server: stop_capture" in result.reason


def test_a_call_that_hangs_fails_when_the_time_of_the_scenario_is_over(tmp_path: Path) -> None:
    lab = FakeLab({"call": at("client", hangs)})
    result = run(lab, tmp_path, SCENARIO.replace("20s", "200ms"))
    assert (result.verdict, lab.left()) == (Verdict.FAIL, [])
    assert result.reason == "connect at client hangs: the scenario's 200ms are over"
    assert ("client", "cancel") in lab.heard


PHASES: dict[str, Callable[[Event], bool]] = {
    "bring-up": lambda event: isinstance(event, Phase) and event.name == "network",
    "steps": lambda event: isinstance(event, StepBegan) and event.do == "connect",
    "settle": lambda event: isinstance(event, Phase) and event.name == "steps",
}


@pytest.mark.parametrize("phase", PHASES)
def test_an_interrupt_ends_any_phase_and_takes_all_down(phase: str, tmp_path: Path) -> None:
    busy: dict[str, dict[str, Answer]] = {
        "bring-up": {"reach": hangs},
        "steps": {"call": at("client", hangs)},
        "settle": {"quiet": lambda agent, request: 0},
    }
    lab = FakeLab(busy[phase])
    lab.listener = when(PHASES[phase], lambda: lab.interrupt.set("SIGINT"))
    result = run(lab, tmp_path)
    assert (result.verdict, lab.left()) == (Verdict.ERROR, [])
    assert result.error is not None
    assert result.error.kind in ("Interrupted", "AgentError", "WireError")
    assert result.seconds < 10


def test_an_interrupt_before_the_first_container_starts_none(tmp_path: Path) -> None:
    lab = FakeLab()
    lab.interrupt.set("SIGTERM")
    result = run(lab, tmp_path)
    assert result.reason == "interrupted by SIGTERM"
    assert (lab.heard, lab.left()) == ([], [])


@pytest.mark.parametrize("name", ["imports", "host", "network", "down"])
def test_a_host_may_have_any_name(name: str, tmp_path: Path) -> None:
    lab = FakeLab()
    text = SCENARIO.replace("server", name).replace("steps:", f"  {name}: {{}}\nsteps:")
    result = run(lab, tmp_path, text)
    assert result.verdict is Verdict.PASS
    assert (name, "reach") in lab.heard


# --- the session itself -----------------------------------------------------------------------------------


def test_a_session_needs_no_scenario_and_takes_steps_from_any_thread(tmp_path: Path) -> None:
    lab, record = FakeLab(), Record()
    said: list[Event] = []
    events = Events(record, said.append)
    slow = Link(up=Impairment(delay=Duration(5_000_000)))
    hosts = {name: HostSpec(name, slow) for name in ("a", "b")}
    plan = Plan("12345678", hosts, "auto", {"lab.run": "12345678"})
    arguments = (lab.engine, IMAGES, lab.site, plan, events, record, lab.interrupt)
    with open_session(*arguments) as session:
        session.deadline = Deadline.after(10, "the test")
        steps = [
            parse_step({"do": "listen", "at": host, "port": 80 + n, "as": "s", "id": f"{host}{n}"})
            for host in hosts
            for n in range(5)
        ]
        threads = [threading.Thread(target=session.act, args=(step,)) for step in steps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        session.act(parse_step({"do": "cut", "host": "b", "id": "cut"}))
        session.finish()
        assert session.settle()
        so_far = session.snapshot()
        assert {call.step for call in so_far.records.calls} == {step.id for step in steps}
        assert ("a", "stop_capture") not in lab.heard
        evidence, broken = session.collect(make_case_folder(tmp_path))
        assert session.judge((), evidence) == ()
    assert broken is None
    assert {call.step for call in evidence.records.calls} == {step.id for step in steps}
    assert [event.action for event in evidence.records.wire_events][-1] == "cut"
    assert sum(isinstance(event, StepRecord) for event in said) == 11
    assert lab.left() == []


def test_a_session_is_taken_down_when_its_block_raises() -> None:
    lab, record = FakeLab(), Record()
    plan = Plan("12345678", {"a": HostSpec("a")}, "auto", {"lab.run": "12345678"})
    arguments = (lab.engine, IMAGES, lab.site, plan, Events(record), record, lab.interrupt)

    def breaks() -> None:
        with open_session(*arguments):
            assert len(lab.left()) == 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        breaks()
    assert lab.left() == []


def test_a_session_whose_agent_died_says_so_at_the_next_step() -> None:
    lab, record = FakeLab({"call": dies}), Record()
    plan = Plan("12345678", {"a": HostSpec("a")}, "auto", {"lab.run": "12345678"})
    arguments = (lab.engine, IMAGES, lab.site, plan, Events(record), record, lab.interrupt)
    listen = parse_step({"do": "listen", "at": "a", "port": 80, "as": "s", "id": "one"})
    with open_session(*arguments) as session:
        for _ in range(2):
            with pytest.raises(AgentError, match="a: call: the agent is gone"):
                session.act(listen)


def test_260_hosts_have_260_places() -> None:
    lab, record = FakeLab(), Record()
    hosts = {f"h{number}": HostSpec(f"h{number}") for number in range(260)}
    plan = Plan("12345678", hosts, "auto", {"lab.run": "12345678"}, only_routes=True)
    arguments = (lab.engine, IMAGES, lab.site, plan, Events(record), record, lab.interrupt)
    with open_session(*arguments) as session:
        (network,) = lab.engine.networks()
        places = session.bed.attachments.values()
        assert len({place.address for place in places}) == 260
        assert all(place.address in network.subnets[0] for place in places)


def test_what_is_said_comes_in_the_order_in_which_it_happens(tmp_path: Path) -> None:
    said: list[Event] = []
    lab = FakeLab(listener=said.append)
    run(lab, tmp_path)
    texts = [event.text for event in said if isinstance(event, Said)]
    assert texts == ["s: bringing up client, server", "s: steps begin"]
    steps = [(type(e).__name__, e.step) for e in said if isinstance(e, StepBegan | StepRecord)]
    assert steps[:2] == [("StepBegan", "steps[0]"), ("StepRecord", "steps[0]")]


@pytest.mark.parametrize("kind", ["name", "process", "run"])
def test_a_step_that_cannot_be_done_fails_at_its_place(kind: str, tmp_path: Path) -> None:
    def refuses(agent: FakeAgent, request: object) -> object:
        raise Refusal("cannot", kind)

    lab = FakeLab({"call": at("client", refuses)})
    result = run(lab, tmp_path)
    assert (result.verdict, result.reason, lab.left()) == (Verdict.FAIL, "client: call: cannot", [])
    (finding,) = [one for one in result.findings if one.verdict is Verdict.FAIL]
    assert (finding.name, finding.place.line > 0) == ("connect.refused", True)


def test_a_refusal_of_the_agent_is_an_error_and_not_a_verdict(tmp_path: Path) -> None:
    def refuses(agent: FakeAgent, request: object) -> object:
        raise Refusal("cannot")

    result = run(FakeLab({"call": refuses}), tmp_path)
    assert (result.verdict, result.reason) == (Verdict.ERROR, "server: call: cannot")
