"""Programs of a host on a container in memory: the disk is watched, and what ends with it is a record."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable

import pytest

from lab.engine.base import ContainerSpec
from lab.errors import AgentError, UsageError
from lab.host.programs import Programs, Started, launcher
from lab.host.specs import Identity, RunSpec
from lab.limits import DEFAULT, Limits
from lab.policy import Policy
from lab.units import Size
from tests.fake_engine import FakeEngine, FakeProcess

PATIENCE = 10
RECORD = {
    "exit_code": 0,
    "stdout": "",
    "stderr": "",
    "start_mono_ns": 1,
    "end_mono_ns": 2,
    "start_wall_ns": 3,
    "end_wall_ns": 4,
    "error": None,
    "limits": [],
}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is looked at without waiting for it."""
    monkeypatch.setattr("lab.host.programs.LOOK", 0.01)


Answer = Callable[[dict[str, object]], "dict[str, object] | None"]


class Silent:
    """An agent as a stream: `answer` gives a request's value, or None for one that is never answered."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lines.put(b'{"event":"ready"}')
        self.heard: list[dict[str, object]] = []

    def write(self, data: bytes) -> None:
        request = json.loads(data)
        self.heard.append(request)
        value = self._answer(request)
        if value is not None:
            self._lines.put(json.dumps({"id": request["id"], "ok": value}).encode())

    def read_line(self) -> bytes | None:
        return self._lines.get()

    def stderr_tail(self) -> str:
        return ""

    def close(self) -> None:
        self._lines.put(None)


def programs(answer: Answer, used: Callable[[], int], limits: Limits = DEFAULT) -> tuple[Programs, Silent]:
    stream = Silent(answer)
    started = Started(stream, used, stream.close)
    return Programs("client", lambda identity: started, limits), stream


def test_a_full_disk_ends_all_programs_of_the_host_by_name() -> None:
    limits = Limits(disk=Size(1000))
    some, _ = programs(lambda request: None, lambda: 1001, limits)
    said = "client reached its limit of 1kB of disk (limits.disk in lab.yml)"
    record = some.run(RunSpec("writes", ["dd"]), None).result(PATIENCE)
    assert (record.exit_code, record.error) == (None, said)
    assert record.end_mono_ns > record.start_mono_ns
    later = some.run(RunSpec("later", ["true"]), None).result(PATIENCE)
    assert later.error == said
    some.close()


def test_a_disk_at_its_limit_is_no_matter() -> None:
    some, _ = programs(lambda request: RECORD, lambda: 1000, Limits(disk=Size(1000)))
    assert some.run(RunSpec("writes", ["dd"]), None).result(PATIENCE).error is None
    some.close()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("memory", "512MB of memory"),
        ("pids", "512 processes"),
        ("file_size", "256MB a file"),
        ("logs", "64MB of output"),
    ],
)
def test_a_limit_comes_before_the_error_that_it_led_to(word: str, said: str) -> None:
    answer = {**RECORD, "exit_code": None, "error": "sh could not be started", "limits": [word]}
    some, _ = programs(lambda request: answer, lambda: 0)
    record = some.run(RunSpec("step", ["sh"]), None).result(PATIENCE)
    assert record.error == f"client reached its limit of {said} (limits.{word} in lab.yml)"
    some.close()


def test_what_a_program_printed_is_cut_here_too() -> None:
    some, _ = programs(lambda request: {**RECORD, "stdout": "x" * (3 << 20)}, lambda: 0)
    record = some.run(RunSpec("step", ["sh"]), None).result(PATIENCE)
    assert len(record.stdout) < (1 << 20) + 200
    assert record.stdout.endswith(" characters more)")
    some.close()


def test_an_answer_that_makes_no_sense_is_the_agents_error() -> None:
    some, _ = programs(lambda request: {"exit_code": 0}, lambda: 0)
    with pytest.raises(AgentError, match=r"^programs of client: the reply makes no sense"):
        some.run(RunSpec("step", ["sh"]), None).result(PATIENCE)
    some.close()


def test_a_program_under_way_ends_with_its_host() -> None:
    some, _ = programs(lambda request: None, lambda: 0)
    future = some.run(RunSpec("step", ["sh"]), None)
    some.close()
    with pytest.raises(AgentError, match=r"^programs of client: run: the agent is gone"):
        future.result(PATIENCE)


def test_all_are_pinned_those_that_come_later_too() -> None:
    some, stream = programs(lambda request: RECORD, lambda: 0)
    some.pin(3)
    some.run(RunSpec("step", ["sh"]), 64).result(PATIENCE)
    assert [(r["op"], r.get("number"), r.get("open_files")) for r in stream.heard] == [
        ("pin", 3, None),
        ("run", None, 64),
    ]
    some.close()


def test_a_container_for_programs_shares_the_network_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def agent(process: FakeProcess) -> int:
        process.write(b'{"event":"ready"}\n')
        while process.read_line() is not None:
            pass
        return 0

    engine = FakeEngine({"lab-host:1": agent})
    host = engine.create(ContainerSpec("lab-1-client", "lab-host:1", {}))
    specs: list[ContainerSpec] = []
    create = engine.create

    def noted(spec: ContainerSpec) -> str:
        specs.append(spec)
        return create(spec)

    monkeypatch.setattr(engine, "create", noted)
    running = threading.Event()
    launch = launcher(
        engine,
        host,
        running,
        image="lab-host:1",
        name="lab-1-client",
        labels={"lab.run": "1"},
        limits=DEFAULT,
        policy=Policy(capabilities=("NET_RAW",)),
        outlives_lab=False,
        opened=lambda stream: None,
    )
    some = Programs("client", launch)
    some.prepare([Identity(), Identity(("NET_RAW",))])
    running.set()
    some.wait_ready()
    plain, raw = sorted(specs, key=lambda spec: len(spec.capabilities))
    assert (plain.join, plain.network, plain.capabilities, plain.binds) == (host, None, (), ())
    limits = plain.limits
    assert (limits.memory, limits.pids, limits.file_size) == (512_000_000, 512, 256_000_000)
    assert plain.no_new_privileges
    assert raw.capabilities == ("NET_RAW",)
    assert plain.name != raw.name
    some.close()
    with pytest.raises(UsageError, match=r"^NET_ADMIN is not allowed by policy\.capabilities in lab\.yml$"):
        launch(Identity(("NET_ADMIN",)))
