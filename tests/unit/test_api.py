"""The lab from Python on an engine in memory: what it refuses, what its calls raise, how its block ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import lab
from lab.api import engine as api_engine
from lab.api.engine import Opened
from lab.errors import WireError
from lab.scenario.given import Given
from lab.scenario.load import load_given
from lab.verdict import Verdict
from tests.unit.fake_lab import IMAGES, Answer, FakeAgent, FakeLab, dies, hangs

TWO: dict[str, Any] = {"a": {}, "b": {"link": {"delay": "5ms"}}}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeLab]:
    """An engine in memory under `lab.up`; at the end nothing may be left on it."""
    monkeypatch.chdir(tmp_path)
    made = FakeLab({})
    on = Opened(made.engine, made.engine, IMAGES, lambda: None)
    monkeypatch.setattr(api_engine, "opened", lambda site: on)
    monkeypatch.setattr("lab.api.up.opened", lambda site: on)
    yield made
    assert made.left() == []


def answering(fake: FakeLab, **answers: Answer) -> None:
    fake.answers = answers


def errs(name: str, number: int | None, said: str = "so says it") -> Answer:
    """A call that fails on its host."""

    def answer(agent: FakeAgent, request: Mapping[str, Any]) -> Any:
        agent.send({"event": "begun", "step": request["step"]})
        return agent.record(request, error={"name": name, "errno": number, "message": said})

    return answer


# --- what is given ----------------------------------------------------------------------------------------


def test_all_mistakes_are_said_at_their_paths() -> None:
    hosts = {"a": {"link": {"delay": 5, "los": "1%"}}, "b": {"sysctls": {"kernel.x": 1}}}
    with pytest.raises(lab.ScenarioError) as raised:
        lab.up(hosts=hosts, wire="wood", gateways={"g": {}}, ip=6)
    lines = str(raised.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "gateways",
        "hosts.a.link.delay",
        "hosts.a.link.los",
        "hosts.b.sysctls.kernel.x",
        "ip",
        "wire",
    ]
    assert lines[1].startswith("lab.up: hosts.a.link.delay: 5 has no unit")


def test_a_value_that_yaml_has_no_word_for_is_a_mistake() -> None:
    with pytest.raises(lab.ScenarioError, match=r"hosts\.a\.x: b'1' is a bytes"):
        lab.up(hosts={"a": {"x": b"1"}})


def test_without_a_source_the_hosts_are_those_that_are_named() -> None:
    assert list(lab.up(hosts=TWO).case.scenario.hosts) == ["a", "b"]
    with pytest.raises(lab.ScenarioError, match="hosts: a lab without hosts"):
        lab.up()


def test_a_compose_file_gives_hosts_and_the_keywords_go_over_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "deep" / "pair.yml"
    file.parent.mkdir()
    file.write_text("services: {client: {image: lab-host}, server: {image: lab-host}}\n")
    net = lab.up("deep/pair.yml", hosts={"client": {"link": {"delay": "50ms"}}})
    assert net.name == "pair"
    assert list(net.case.scenario.hosts) == ["client", "server"]
    assert str(net.case.scenario.hosts["client"].link.up.delay) == "50ms"


def test_a_scenario_file_keeps_its_own_and_one_case_is_chosen(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text(
        "lab: 1\nparams: {d: [5ms, 9ms]}\nhosts: {client: {link: {delay: '${d}', loss: 1%}}}\n"
        "steps: [{do: sleep, for: 1s}]\n"
    )
    with pytest.raises(lab.ScenarioError, match="params: these are 2 cases"):
        lab.up(file)
    net = lab.up(file, params={"d": "9ms"}, hosts={"client": {"link": {"loss": "2%"}}, "more": {}})
    link = net.case.scenario.hosts["client"].link.up
    assert (str(link.delay), str(link.loss)) == ("9ms", "2%")
    assert list(net.case.scenario.hosts) == ["client", "server", "more"]
    assert "steps" not in net.case.source_text


def test_what_was_given_reads_alike_as_a_file(tmp_path: Path) -> None:
    keys = {"lab": 1, "name": "x", "hosts": {"a": {"link": {"loss": "1%"}, "sysctls": {"net.core.x": "012"}}}}
    (given,) = load_given(Given(keys, own_pair=False))
    file = tmp_path / "x.yml"
    file.write_text(given.source_text)
    (read,) = lab.load(file)
    assert read.scenario.hosts["a"] == given.scenario.hosts["a"]


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(lab.ScenarioError, match=r"nowhere\.yml: no such file"):
        lab.up("nowhere.yml")


# --- calls ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("ECONNREFUSED", 111, ConnectionRefusedError),
        ("ECONNRESET", 104, ConnectionResetError),
        ("EPIPE", 32, BrokenPipeError),
        ("ETIMEDOUT", 110, TimeoutError),
        ("timeout", None, TimeoutError),
        ("EAGAIN", 11, BlockingIOError),
        ("EOF", None, EOFError),
        ("EADDRINUSE", 98, OSError),
        ("killed", None, lab.ProcessKilled),
        ("gaierror", None, OSError),
    ],
)
def test_a_call_raises_what_a_socket_of_python_would(
    name: str, number: int | None, expected: type[Exception], fake: FakeLab
) -> None:
    answering(fake, call=errs(name, number))
    with lab.up(hosts=TWO) as net:
        with pytest.raises(expected, match="so says") as raised:
            net["a"].connect("b:80", timeout="1s")
        if number is not None or name == "timeout":
            assert isinstance(raised.value, OSError)
            assert raised.value.errno == number
    assert net.result.verdict is Verdict.PASS  # the program caught it
    assert [call.error.name for call in net.calls if call.error] == [name]


def test_a_misspelt_key_of_a_call_is_said_with_the_line_of_the_program(fake: FakeLab) -> None:
    with lab.up(hosts=TWO) as net:
        with pytest.raises(lab.ScenarioError, match=r"test_api.py:\d+:1: connect.timout: unknown key"):
            net["a"].connect("b:80", timout=3)
        with pytest.raises(lab.ScenarioError, match="no host 'c'; there are a, b"):
            net.cut("c")
        with pytest.raises(KeyError, match="no host 'c'"):
            net["c"]
        with pytest.raises(TypeError, match="heal takes two hosts"):
            net.heal()
        with pytest.raises(ValueError, match="a time is not negative: -1"):
            net["a"].connect("b:80", timeout=-1)
        with pytest.raises(lab.LabError, match="a has no service 'web'; it has none"):
            net["a"].service("web")
        with pytest.raises(TypeError, match="a bytes-like object is required"):
            net["a"].connect("b:80").sendall("text")  # type: ignore[call-overload]  # the mistake itself


def test_a_call_in_the_background_ends_when_it_is_asked_for(fake: FakeLab) -> None:
    with lab.up(hosts=TWO) as net:
        call = net["a"].connect("b:80", background=True)
        assert call.result(timeout="5s") is call.result(timeout=5) is call.result()
        assert call.done
        assert call.elapsed >= 0


def test_a_call_that_goes_on_says_so(fake: FakeLab) -> None:
    answering(fake, call=hangs)
    net = lab.up(hosts=TWO).start()
    call = net["a"].connect("b:80", background=True)
    assert not call.done
    with pytest.raises(TimeoutError, match="it goes on"):
        call.result(timeout="10ms")
    net.down(ZeroDivisionError())  # what hangs is given up
    assert net.result.verdict is Verdict.FAIL


def test_a_background_call_that_nobody_awaits_is_judged(fake: FakeLab) -> None:
    answering(fake, call=errs("ECONNREFUSED", 111))
    net = lab.up(hosts=TWO).start()
    net["a"].connect("b:80", background=True)
    with pytest.raises(lab.CheckFailed, match="ECONNREFUSED"):
        net.down()
    assert net.result.verdict is Verdict.FAIL


def test_a_socket_whose_process_has_ended_says_so(fake: FakeLab) -> None:
    gone = errs("EBADF", 9, "no socket connect-1: the call that was to make it has made none, or …")

    def only_connects(agent: FakeAgent, request: Mapping[str, Any]) -> Any:
        if request["call"] == "recv":
            return gone(agent, request)
        return agent.record(request)

    answering(fake, call=only_connects)
    with lab.up(hosts=TWO) as net:
        sock = net["a"].connect("b:80")
        with pytest.raises(lab.ProcessKilled, match=r"the process main of a, which had .*, has ended"):
            sock.recv(1)


def test_a_second_close_does_nothing(fake: FakeLab) -> None:
    with lab.up(hosts=TWO) as net, net["a"].connect("b:80") as sock:
        sock.close()
        sock.close()
    assert [call.call for call in net.calls] == ["connect", "close"]


def test_what_cannot_be_done_is_a_failed_step_and_its_catcher_decides(fake: FakeLab) -> None:
    with lab.up(hosts=TWO) as net:
        net["a"].power_off()
        with pytest.raises(lab.CheckFailed, match="a has no power; switch it on first"):
            net["a"].power_off()
        with pytest.raises(lab.CheckFailed, match="a has no power"):
            net["a"].pause()
        ran = net["a"].run(["true"])
        assert (ran.error, ran.exit, ran.elapsed) == ("killed", None, 0)
        net["a"].power_on()
        net["a"].power_on()
    assert net.result.verdict is Verdict.PASS


def test_a_parameter_that_there_is_not_is_said_at_its_path(tmp_path: Path) -> None:
    (tmp_path / "s.yml").write_text("lab: 1\nparams: {delay: [1ms, 2ms]}\n")
    with pytest.raises(lab.ScenarioError, match=r"params\.dely: no such parameter; the parameters are delay"):
        lab.up(tmp_path / "s.yml", params={"dely": "1ms"})


# --- the end ----------------------------------------------------------------------------------------------


def test_an_exception_that_leaves_the_block_fails_the_run_and_its_folder_is_whole(fake: FakeLab) -> None:
    with pytest.raises(ZeroDivisionError), lab.up(hosts=TWO, name="mine") as net:
        _ = 1 / 0
    assert net.result.verdict is Verdict.FAIL
    assert net.result.reason == "ZeroDivisionError: division by zero"
    assert net.folder.parent == Path("runs")
    assert "-mine-" in net.folder.name
    assert (net.folder / "report.html").is_file()
    stored = lab.open(net.folder)
    assert stored.result == net.result
    assert stored.recheck().verdict is Verdict.FAIL
    assert Path(net.result.findings[0].place.file) == Path(__file__)


def test_a_failed_check_has_the_findings_text_and_decides_only_where_it_leaves(fake: FakeLab) -> None:
    with lab.up(hosts=TWO) as net, pytest.raises(lab.CheckFailed, match="handshake") as raised:
        net.check("handshake", from_="a", to="b:80")
    assert isinstance(raised.value, AssertionError)
    assert net.result.verdict is Verdict.PASS
    with pytest.raises(lab.CheckFailed), lab.up(hosts=TWO) as net:
        net.check({"check": "handshake", "from": "a", "to": "b:80"})
    assert [one.name for one in net.result.findings] == ["handshake"]
    assert lab.open(net.folder).recheck().verdict is Verdict.FAIL


def test_a_check_that_holds_is_in_the_result(fake: FakeLab) -> None:
    with lab.up(hosts=TWO) as net:
        found = net.check("packets", from_="a", to="b", match="any", count=0)
    assert net.result.findings == (found,)
    assert net.findings == [found]


def test_a_lab_that_broke_raises_at_the_end_unless_something_else_does(fake: FakeLab) -> None:
    answering(fake, stop_capture=dies)
    with pytest.raises(lab.LabError, match="stop_capture"), lab.up(hosts=TWO) as net:
        pass
    assert net.result.verdict is Verdict.ERROR
    with pytest.raises(ZeroDivisionError), lab.up(hosts=TWO) as net:
        raise ZeroDivisionError
    assert net.result.verdict is Verdict.ERROR


def test_a_lab_that_cannot_come_up_raises_and_leaves_a_folder(fake: FakeLab) -> None:
    answering(fake, set_up=dies)
    net = lab.up(hosts=TWO)
    with pytest.raises(lab.LabError, match="set_up"):
        net.start()
    assert net.result.verdict is Verdict.ERROR
    with pytest.raises(lab.LabError, match="is down"):
        net["a"]


def test_a_wire_that_is_not_as_asked_is_no_matter_of_the_program(
    fake: FakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object) -> None:
        raise WireError("the delay is gone")

    with pytest.raises(lab.LabError, match="the delay is gone"), lab.up(hosts=TWO) as net:
        monkeypatch.setattr(type(net.session.bed.wire), "confirm", broken)
    assert net.result.verdict is Verdict.ERROR


def test_a_ctrl_c_takes_everything_down(fake: FakeLab) -> None:
    with pytest.raises(KeyboardInterrupt), lab.up(hosts=TWO) as net:
        raise KeyboardInterrupt
    assert net.result.verdict is Verdict.FAIL


def test_labs_stand_side_by_side_in_threads(fake: FakeLab) -> None:
    seen: list[Verdict] = []

    def one() -> None:
        with lab.up(hosts=TWO) as net:
            net["a"].connect("b:80", timeout=1)
        seen.append(net.result.verdict)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [Verdict.PASS] * 3


def test_play_runs_the_steps_of_the_file(fake: FakeLab, tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text(
        "lab: 1\nsteps:\n  - {do: connect, at: client, to: 'server:80', as: c, expect: {error: EPIPE}}\n"
    )
    with lab.up(file) as net:
        assert net.calls == []
        with pytest.raises(lab.CheckFailed, match="EPIPE"):
            net.play()
        assert [call.step for call in net.calls] == ["steps[0]"]
    assert net.result.verdict is Verdict.PASS


# --- the module -------------------------------------------------------------------------------------------


def test_every_public_name_is_there_and_nothing_else() -> None:
    assert all(getattr(lab, name) is not None for name in lab.__all__)
    with pytest.raises(AttributeError, match="no attribute 'upp'"):
        lab.upp  # noqa: B018 - the mistake itself


def test_data_that_is_not_at_hand_whole_is_not_passed_off_as_all(fake: FakeLab) -> None:
    def much(agent: FakeAgent, request: Mapping[str, Any]) -> Any:
        agent.send({"event": "begun", "step": request["step"]})
        assert request["whole"] is True
        more = {"data": "YWI=", "length": 3, "sha256": "0"} if request["call"] == "recv" else {}
        return agent.record(request, **more)

    answering(fake, call=much)
    with lab.up(hosts=TWO) as net:
        socket = net["a"].connect("b:80")
        with pytest.raises(lab.LabError, match="3 bytes came, of which 2 are at hand"):
            socket.recv(10)
