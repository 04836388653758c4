"""The verdict on a whole case, and on a stored run: rechecked, and with its expectations falsified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lab.checks.common import Context
from lab.checks.common import failed as finding_of
from lab.errors import UsageError
from lab.evidence.model import Endpoint, StepRecord, WireEvent
from lab.evidence.store import Evidence, load_evidence, write_records
from lab.judging.case import judge_case, live_findings
from lab.judging.recheck import recheck, recheck_file
from lab.judging.steps import StepJudge
from lab.link import Impairment
from lab.result import RESULT_VERSION, Result, read_result, write_result
from lab.scenario.element import NOWHERE
from lab.scenario.load import load
from lab.scenario.model import Scenario
from lab.units import Duration
from lab.verdict import Verdict
from tests.unit.check_helpers import ADDRESSES, T0, Connection, Story, call, program, sample
from tools.mutation.mutate import judge_mutants, mutants, mutate

TEXT = """\
lab: 1
name: echo
params: {word: [hello, bye]}
hosts:
  client: {link: {delay: 5ms}}
  server: {link: {delay: 5ms}}
steps:
  - {do: listen, at: server, port: 8001, as: srv, id: listening}
  - {do: accept, at: server, on: srv, as: s, background: true, id: acc, expect: {peer: client}}
  - {do: connect, at: client, to: "server:8001", as: c, expect: {elapsed: 1rtt}}
  - {do: await, id: acc, expect: {elapsed: {min: 20ms, max: 40ms}}}
  - do: parallel
    steps:
      - {do: sendall, at: client, on: c, data: "${word}", id: sent}
      - {do: recv, at: server, on: s, size: 100, expect: {data: {same_as: sent}}, id: got}
  - {do: recv, at: server, on: s, size: 100, timeout: 100ms, expect: {error: timeout, elapsed: 100ms}}
  - {do: close, at: client, on: c}
  - {do: recv, at: server, on: s, size: 100, expect: {eof: true}}
  - {do: run, at: server, command: ["true"], expect: {exit: 0, stdout: ""}}
  - {do: sleep, for: 10ms}
checks:
  - {check: handshake, from: client, to: "server:8001", syn: 1, elapsed: 1rtt}
  - {check: close, from: client, to: "server:8001", first: client, how: fin, segments: 4}
  - {check: packets, from: client, to: server, match: syn, count: 1}
  - {check: retransmissions, from: client, to: server, count: 0}
  - {check: state, at: client, to: "server:8001", state: TIME_WAIT, count: 1}
  - {check: state, at: server, port: 8001, state: LAST_ACK, when: ever}
  - {check: order, of: [listening, sent, got]}
"""
PASSING = 9  #: findings of the steps


def scenario(folder: Path, text: str = TEXT, word: str = "hello") -> Scenario:
    path = folder / "scenario.yml"
    path.write_text(text)
    (case,) = load(path, params={"word": word})
    return case.scenario


def happened(folder: Path, **changes: Any) -> Evidence:
    """A run of TEXT; `changes` puts other records in place of those of a step (None: no record)."""
    client = Endpoint(ADDRESSES["client"], 40000)
    far: dict[str, Any] = {"remote": Endpoint(ADDRESSES["server"], 8001)}
    near: dict[str, Any] = {"remote": client}
    calls = {
        "listening": call("listening", "listen", "server", at=-50, socket="srv"),
        "acc": call("acc", "accept", "server", at=-1, took=31.5, socket="srv", peer=client),
        "connect": call("steps[2]", "connect", at=0, took=20.4, **far),
        "sent": call("sent", "sendall", at=40, data=b"hello", **far),
        "got": call("got", "recv", "server", at=40, took=12, data=b"hello", socket="s", **near),
        "timeout": call("steps[5]", "recv", "server", at=60, took=101, error="timeout", socket="s"),
        "close": call("steps[6]", "close", at=170, took=0.1),
        "eof": call("steps[7]", "recv", "server", at=165, took=15, data=b"", eof=True, socket="s"),
    }
    calls.update({name: change for name, change in changes.items() if name != "run"})
    steps = tuple(
        StepRecord(name, do, NOWHERE, None, T0, T0, 0, 0)
        for name, do in (("listening", "listen"), ("steps[4]", "parallel"), ("steps[9]", "sleep"))
    )
    story = Story(
        folder,
        more={
            "calls": tuple(record for record in calls.values() if record is not None),
            "runs": (changes.get("run", program("steps[8]", 0, "", host="server")),),
            "states": (sample("client", "TIME_WAIT", at=220, final=True),),
            "steps": steps,
        },
    )
    one = Connection(story)
    one.data(max(40.0, one.handshake()), "client", b"hello")
    one.close(170, "client")
    return story.evidence()


def verdicts(evidence: Evidence, case: Scenario, **more: Any) -> dict[str, Verdict]:
    return {f"{f.source} {f.name}": f.verdict for f in judge_case(case, evidence, **more)}


def bad(evidence: Evidence, case: Scenario, **more: Any) -> list[tuple[str, str]]:
    return [(f.source, f.name) for f in judge_case(case, evidence, **more) if f.verdict is not Verdict.PASS]


def test_a_whole_case_passes(tmp_path: Path) -> None:
    case = scenario(tmp_path)
    findings = judge_case(case, happened(tmp_path))
    assert [f for f in findings if f.verdict is not Verdict.PASS] == []
    assert [f.name for f in findings[:3]] == ["connect.elapsed", "accept.peer", "accept.elapsed"]
    assert len(findings) == PASSING + len(case.checks)
    assert findings[0].place.line == 10


def test_the_first_step_that_fails_ends_the_steps_but_not_the_checks(tmp_path: Path) -> None:
    late = call("steps[2]", "connect", took=40)
    assert bad(happened(tmp_path, connect=late, got=None, eof=None), scenario(tmp_path)) == [
        ("steps[2]", "connect.elapsed"),
        ("checks[6]", "order"),
    ]


def test_a_step_without_a_record_fails_if_nothing_else_did(tmp_path: Path) -> None:
    case = scenario(tmp_path)
    evidence = happened(tmp_path, eof=None)
    assert bad(evidence, case) == [("steps[7]", "recv.record")]
    assert bad(evidence, case, broken=True) == []


def test_an_interrupted_step_is_judged_on_its_record(tmp_path: Path) -> None:
    cut = call("steps[7]", "recv", "server", took=5, error="killed", socket="s")
    assert bad(happened(tmp_path, eof=cut), scenario(tmp_path)) == [("steps[7]", "recv.error")]


def test_all_steps_of_a_parallel_are_judged(tmp_path: Path) -> None:
    wrong = call("got", "recv", "server", at=40, took=12, data=b"jello", socket="s")
    failing = call("sent", "sendall", at=40, error="EPIPE")
    found = bad(happened(tmp_path, got=wrong, sent=failing), scenario(tmp_path))
    assert found[:2] == [("sent", "sendall.error"), ("got", "recv.data")]


def test_what_a_background_step_and_its_await_expect_is_judged_at_the_await(tmp_path: Path) -> None:
    stranger = Endpoint(ADDRESSES["third"], 1)
    record = call("acc", "accept", "server", took=50, peer=stranger, socket="srv")
    found = bad(happened(tmp_path, acc=record), scenario(tmp_path))
    assert found[:2] == [("acc", "accept.peer"), ("steps[3]", "accept.elapsed")]
    failing = call("acc", "accept", "server", took=30, error="ECONNABORTED", socket="srv")
    assert bad(happened(tmp_path, acc=failing), scenario(tmp_path))[:1] == [("acc", "accept.error")]
    error = TEXT.replace("{do: await, id: acc, expect: {elapsed: {min: 20ms, max: 40ms}}}",
                         "{do: await, id: acc, expect: {error: ECONNABORTED}}").replace(
                         ", expect: {peer: client}}", "}")  # fmt: skip
    assert bad(happened(tmp_path, acc=failing), scenario(tmp_path, error)) == []
    assert bad(happened(tmp_path), scenario(tmp_path, error))[:1] == [("steps[3]", "accept.error")]


def test_a_background_step_that_nobody_awaits_is_judged_at_the_end(tmp_path: Path) -> None:
    text = TEXT.replace(
        "  - {do: await, id: acc, expect: {elapsed: {min: 20ms, max: 40ms}}}\n", "  - {do: sleep, for: 1ms}\n"
    )
    case = scenario(tmp_path, text)
    failing = call("acc", "accept", "server", took=30, error="ECONNABORTED", socket="srv")
    steps = (StepRecord("steps[3]", "sleep", NOWHERE, None, T0, T0, 0, 0),)

    def with_sleep(evidence: Evidence) -> Evidence:
        records = evidence.records
        return Evidence(replace(records, steps=(*records.steps, *steps)), evidence.captures)

    assert bad(with_sleep(happened(tmp_path)), case) == []
    assert bad(with_sleep(happened(tmp_path, acc=failing)), case) == [("acc", "accept.error")]


def test_what_only_the_live_run_saw_is_kept(tmp_path: Path) -> None:
    case = scenario(tmp_path)
    told = finding_of(case.steps[7], "recv.timeout", "within 60s", "not over", "recv hangs")
    cut = call("steps[7]", "recv", "server", took=5, error="cancelled", socket="s")
    evidence = happened(tmp_path, eof=cut)
    assert bad(evidence, case, live=(told,)) == [("steps[7]", "recv.timeout")]
    assert live_findings(judge_case(case, evidence, (told,)), case) == (told,)


def test_what_poll_found_is_judged_again(tmp_path: Path) -> None:
    """Its finding sounds like that of a service that was not ready, which only the live run could make."""
    text = """
lab: 1
steps:
  - {do: socket, at: client, as: c, id: made}
  - {do: poll, at: client, on: c, events: [out], id: polled, expect: {ready: {c: [out]}, elapsed: {max: 5ms}}}
"""
    (tmp_path / "poll.yml").write_text(text)
    case = load(tmp_path / "poll.yml")[0].scenario
    made = call("made", "socket", at=0)
    slow = call("polled", "poll", at=1, took=9, result={"c": ["out"]}, socket=None)
    evidence = Story(tmp_path, more={"calls": (made, slow)}).evidence()
    found = judge_case(case, evidence)
    assert [(f.name, f.verdict) for f in found if f.source == "polled"] == [
        ("poll.elapsed", Verdict.FAIL),
        ("poll.ready", Verdict.PASS),
    ]
    assert live_findings(found, case) == ()


def test_round_trips_follow_the_changes_of_links(tmp_path: Path) -> None:
    case = scenario(tmp_path)
    change = WireEvent(
        T0 - 1, "link", "steps[1]", host="server", direction="both",
        impairment=Impairment(delay=Duration.parse("20ms")),
    )  # fmt: skip
    evidence = happened(tmp_path)
    changed = Evidence(replace(evidence.records, wire_events=(change,)), evidence.captures)
    found = bad(changed, case)
    assert found[0] == ("steps[2]", "connect.elapsed")
    assert ("checks[0]", "handshake") in found


def test_live_judging_of_one_step(tmp_path: Path) -> None:
    case = scenario(tmp_path)
    evidence = happened(tmp_path)
    judge = StepJudge(Context.of(evidence.records))
    judge.know(case.steps)
    calls = {record.step: record for record in evidence.records.calls}
    assert [f.name for f in judge.judge(case.steps[3], calls, {})] == ["accept.peer", "accept.elapsed"]
    assert judge.judge(case.steps[0], calls, {}) == ()
    assert judge.judge(case.steps[9], calls, {}) == ()


# --- stored runs ------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder as the runner leaves it."""
    folder = tmp_path / "run"
    (folder / "pcap").mkdir(parents=True)
    case = scenario(folder)
    evidence = happened(folder / "pcap")
    write_records(folder, evidence.records)
    findings = judge_case(case, evidence)
    write_result(
        folder,
        Result(
            RESULT_VERSION, "0123", "echo[word=hello]", "scenarios/echo.yml", "", (), {"word": "hello"},
            Verdict.PASS, "", "2026-01-01T00:00:00Z", 1.0, findings,
        ),
    )  # fmt: skip
    return folder


def test_recheck_says_the_same_again(run: Path) -> None:
    again = recheck(run)
    assert again.verdict is Verdict.PASS
    stored = read_result(run)
    assert [(f.source, f.name, f.actual) for f in again.findings] == [
        (f.source, f.name, f.actual) for f in stored.findings
    ]


def test_recheck_by_other_expectations(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yml"
    other.write_text(
        TEXT.replace("error: timeout", "error: ECONNRESET").replace("first: client", "first: server")
    )
    again = recheck_file(run, other)
    assert again.verdict is Verdict.FAIL
    assert again.reason == "recv() failed with timeout, and ECONNRESET was expected"
    assert [f.source for f in again.findings if f.verdict is Verdict.FAIL] == ["steps[5]", "checks[1]"]
    assert again.findings[0].place.file == str(other)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            "size: 100, timeout: 100ms",
            "size: 99, timeout: 100ms",
            "steps\\[5\\].size: 99B here, 100B in the stored scenario",
        ),
        (
            "do: close, at: client, on: c",
            "do: shutdown, at: client, on: c, how: write",
            "steps\\[6\\].do: shutdown here, close in the stored scenario",
        ),
        ("  - {do: sleep, for: 10ms}\n", "", "sleep is a step of the stored scenario, not of this one"),
        (
            "client: {link: {delay: 5ms}}",
            "client: {link: {delay: 6ms}}",
            "hosts.client.link.up.delay: 6ms here, 5ms",
        ),
        (
            'data: "${word}", id: sent',
            'data: "${word}!", id: sent',
            "data: 'hello!' here, 'hello' in the stored",
        ),
        ("params: {word: [hello, bye]}", "params: {word: [bye]}", "no case with word=hello"),
    ],
)
def test_recheck_refuses_another_scenario(run: Path, tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert old in TEXT
    other = tmp_path / "other.yml"
    other.write_text(TEXT.replace(old, new))
    with pytest.raises(UsageError, match=reason) as caught:
        recheck_file(run, other)
    assert caught.value.exit_code == 2


def test_a_copy_elsewhere_is_judged_with_the_runs_own_topology(run: Path, tmp_path: Path) -> None:
    services = "services: {client: {image: lab-host}, server: {image: lab-host}}\n"
    (run / "topology.yml").write_text(services)
    text = TEXT.replace("lab: 1\n", "lab: 1\ntopology: ../compose/pair.yml\n")
    (run / "scenario.yml").write_text(text)
    assert recheck(run).verdict is Verdict.PASS
    copy = tmp_path / "copy.yml"
    copy.write_text(text.replace("syn: 1,", "syn: 2,"))
    assert [f.source for f in recheck_file(run, copy).findings if f.verdict is Verdict.FAIL] == ["checks[0]"]


def test_every_mutant_of_the_run_is_caught(run: Path) -> None:
    mutation = mutate(run)
    assert len(mutation.mutants) >= 25
    assert mutation.survivors == (), mutation.text()
    assert mutation.share == 1.0
    said = " ".join(mutant.description for mutant in mutation.mutants)
    for kind in (
        "expect.error: ETIMEDOUT instead of timeout", "expect.elapsed", "expect.eof: false instead of true",
        "expect.peer", "expect.exit", "expect.stdout", "close.how: rst instead of fin", "close.first: server",
        "close.segments: 3", "handshake.syn: 2", "handshake.elapsed", "packets.count: 0", "state.state",
        "state.at", "order.of: reversed", "expect.data: other bytes than sent's",
    ):  # fmt: skip
        assert kind in said
    assert all(mutant.place.line > 1 for mutant in mutation.mutants)


def test_a_loose_expectation_lets_its_mutants_live(run: Path, tmp_path: Path) -> None:
    text = TEXT.replace("elapsed: {min: 20ms, max: 40ms}", "elapsed: {min: 1ms, max: 10s}")
    case = scenario(tmp_path, text)
    mutation = judge_mutants(read_result(run), case, load_evidence(run))
    assert len(mutation.survivors) == 2
    assert "elapsed: 2ms to 20s instead of 1ms to 10s (twice)" in mutation.text()
    assert mutation.caught == len(mutants(case)) - 2


def test_only_a_run_that_passed_can_be_mutated(run: Path) -> None:
    write_result(run, replace(read_result(run), verdict=Verdict.FAIL))
    with pytest.raises(UsageError, match="only a run that passed"):
        mutate(run)
