"""The lab's side of an agent's channel: whatever the agent says, there is a record or an error of the lab."""

from __future__ import annotations

import base64
import json
import queue
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.attachment import attach_at
from lab.errors import LabError
from lab.evidence.model import Records, WireFacts
from lab.evidence.store import read_records, write_records
from lab.host import CallSpec, Host, RunSpec
from lab.host.programs import Programs, Started
from lab.host.specs import HostSetup
from lab.link import Link
from tests.fuzz.harness import Files, Target
from tests.fuzz.trees import json_text, mutated

STAMPS = {"start_wall_ns": 5, "end_wall_ns": 9, "start_mono_ns": 5, "end_mono_ns": 9}
CALL = {
    **STAMPS,
    "socket": "c",
    "fd": 3,
    "kind": "tcp",
    "local": ["1.2.3.4", 5],
    "remote": ["1.2.3.5", 80],
    "result": 5,
    "data": base64.b64encode(b"hello").decode(),
    "length": 5,
    "sha256": "ab",
    "eof": False,
    "peer": ["x", 1],
    "truncated": None,
    "error": {"name": "timeout", "errno": 110, "message": "out"},
    "notes": ["a", "b"],
}
STREAM = {
    "process": "main",
    "socket": "c",
    "local": ["1.2.3.4", 5],
    "remote": ["1.2.3.5", 80],
    "sent": 5,
    "sent_sha256": "ab",
    "received": 6,
    "received_sha256": "cd",
}
STATE = {
    "wall_ns": 5,
    "kind": "tcp",
    "local": ["1.2.3.4", 5],
    "remote": None,
    "state": "LISTEN",
    "left_ms": 5,
    "recv_queue": 0,
    "send_queue": 0,
    "final": True,
    "timer": "none",
}
RUN: dict[str, Any] = {**STAMPS, "exit_code": 0, "stdout": "a", "stderr": "b", "error": None, "limits": []}
MOMENT = {"wall_ns": 5, "mono_ns": 6}
#: What an agent says to each operation when all goes well.
REPLIES: Mapping[str, Any] = {
    "set_up": None,
    "join": {
        "interface": "eth0",
        "mac": "02:c6:00:00:00:0a",
        "mtu": 1500,
        "offloads": {"tso": False},
        "guarded": True,
        "routes": ["x"],
        "neighbours": {"1.2.3.4": "m"},
        "sysctls": {"a": "1"},
        "kernel": "6",
        "commands": [{"program": "ip", "input": "", "status": 0, "output": "", "duration_ms": 1}],
    },
    "reach": {"asked": 1},
    "pin": {"cpu": 0},
    "call": CALL,
    "run": RUN,
    "cancel": 1,
    "signal": MOMENT,
    "signal_run": MOMENT,
    "start_capture": {"path": "/c", "interface": "eth0"},
    "stop_capture": {"path": "/c", "interface": "eth0", "received": 1, "dropped": 0},
    "small_file": {"content": "aGVsbG8="},
    "quiet": 10**9,
    "power_off": {**MOMENT, "streams": [STREAM], "states": [STATE], "counters": {"TcpActiveOpens": 1}},
    "counters": {"TcpActiveOpens": 1},
    "states": [STATE],
    "final_states": [STATE],
    "streams": [STREAM],
    "wait_for": MOMENT,
    "watch": None,
    "limit": None,
}


def make(dice: random.Random) -> Files:
    """One line for each operation, with `$ID` where the number of the request goes; most of them good."""
    lines: dict[str, list[str]] = {}
    for op, reply in REPLIES.items():
        message: Any = {"id": "$ID", "ok": reply}
        if dice.random() < 0.1:
            message = {"id": "$ID", "error": {"kind": "os", "message": "no"}}
        if dice.random() < 0.4:
            message = mutated(message, dice, list(REPLIES.values()))
        lines[op] = [json_text(message)]
        if dice.random() < 0.2:
            event = mutated({"event": "begun", "step": "s"}, dice, [message])
            lines[op].insert(0, json_text(event) if dice.random() < 0.8 else dice.choice(NOISE))
    ready = {"event": "ready", "pid": 1, "kernel": "6"}
    lines["ready"] = [json_text(ready if dice.random() < 0.9 else mutated(ready, dice))]
    return {"agent.json": json.dumps(lines, indent=1).encode("utf-8", "surrogatepass")}


NOISE = (
    "",
    "[",
    "1",
    "null",
    "[]",
    '"x"',
    "{" * 5000,
    "[" * 100_000,
    '{"id": []}',
    '{"id": {}}',
    '{"id": 1e999}',
)


class Agent:
    """A stream that answers each request with the lines that are given for its operation."""

    def __init__(self, lines: Mapping[str, list[str]]) -> None:
        self._lines = lines
        self._said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._say("ready", 0)

    def _say(self, op: str, number: int) -> None:
        for line in self._lines.get(op, ()):
            text = line.replace('"$ID"', str(number))
            self._said.put(text.encode("utf-8", "surrogatepass"))
        if '"id":' not in "".join(self._lines.get(op, ())):
            self._said.put(None)  # nothing would ever come: the stream ends instead

    def write(self, data: bytes) -> None:
        request = json.loads(data)
        self._say(request["op"], request["id"])

    def read_line(self) -> bytes | None:
        return self._said.get()

    def stderr_tail(self) -> str:
        return ""

    def close(self) -> None:
        self._said.put(None)


def requests(host: Host) -> Iterator[Callable[[], Any]]:
    """All that the lab asks of a host."""
    here, wire = (
        attach_at("a", "198.18.7.10", "02:c6:12:07:00:0a", Link()),
        attach_at("w", "198.18.7.2", "x", Link()),
    )
    yield lambda: host.wait_ready(SOON)
    yield lambda: host.set_up(HostSetup(here, wire, {"b": here}, snaplen=100), SOON)
    yield lambda: host.reach(HostSetup(here, wire), 0.01)
    yield lambda: host.pin(1)
    yield lambda: host.start_capture()
    yield lambda: host.call(CallSpec("s", "connect", {"to": ["b", 80], "as": "c"})).result(SOON)
    yield lambda: host.call(CallSpec("s", "getsockopt", {"on": "c", "option": "TCP_INFO"})).result(SOON)
    yield lambda: host.run(RunSpec("r", ("true",))).result(SOON)
    yield lambda: host.signal_run("r", "KILL")
    yield lambda: host.begun("s", 0.01)
    yield lambda: host.cancel("s")
    yield lambda: host.signal("main", "STOP")
    yield lambda: host.limit_open_files(10)
    yield lambda: host.wait_for(0.01, listening=80)
    yield host.counters
    yield host.states
    yield host.final_states
    yield host.streams
    yield host.quiet_ns
    yield lambda: host.small_file("/x")
    yield host.stop_capture
    yield host.power_off


SOON = 1.0  #: seconds for what is answered at once


def feed(folder: Path) -> None:
    """Asks everything; the records that came are written and read back."""
    lines = json.loads((folder / "agent.json").read_bytes().decode("utf-8", "surrogatepass"))
    running = threading.Event()
    programs = Programs("a", lambda identity: Started(Agent(lines), lambda: 0, running.set))
    host = Host(Agent(lines), "a", programs)
    got: list[Any] = []
    try:
        for ask in requests(host):
            with suppress(LabError):
                got.append(ask())
    finally:
        host.close()
    records = Records(
        hosts={},
        wire=WireFacts("uml", "", "6", "198.18.7.2", "02:c6:12:07:00:02"),
        calls=tuple(one for one in got if type(one).__name__ == "CallRecord"),
        runs=tuple(one for one in got if type(one).__name__ == "RunRecord"),
        states=tuple(
            one for many in got if isinstance(many, list) for one in many if hasattr(one, "send_queue")
        ),
        streams=tuple(
            one for many in got if isinstance(many, list) for one in many if hasattr(one, "sent_bytes")
        ),
    )
    write_records(folder, records)
    read_records(folder)


CHANNEL = Target(make, feed)
