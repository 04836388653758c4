"""A whole lab in memory: an engine whose containers are a fake agent and a fake wire."""

from __future__ import annotations

import base64
import json
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.engine.images import Image, Images
from lab.runner.case import CaseRunner
from lab.session.events import Event, Listener
from lab.session.interrupt import Interrupt
from lab.site import load_site
from tests.fake_engine import FakeEngine, FakeProcess
from tests.unit.wire_fake import HELLO, READY, FakeWire

HOST, WIRE = "lab-host:fake", "lab-wire:fake"
IMAGES = Images(Image("base", "lab-base:fake", "b"), Image("host", HOST, "h"), Image("wire", WIRE, "w"))

#: The head of a capture with nanosecond stamps and no packet: Ethernet, 262,144 bytes of each.
EMPTY_CAPTURE = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)

Answer = Callable[["FakeAgent", Mapping[str, Any]], Any]


class Refusal(Exception):
    """The agent refuses a request, for a reason of this kind."""

    def __init__(self, message: str, kind: str = "fake") -> None:
        super().__init__(message)
        self.kind = kind


class NeverAnswered(Exception):
    """The agent says nothing to a request: it is the lab that must not wait for ever."""


class Dies(Exception):
    """The agent ends."""


@dataclass
class FakeAgent:
    """What a host's agent says. `answers` takes the place of its own answer to an operation."""

    process: FakeProcess
    answers: Mapping[str, Answer]
    heard: list[tuple[str, str]]
    waiting: dict[str, int] = field(default_factory=dict)  #: step → number of the request that hangs

    @property
    def host(self) -> str:
        return self.process.spec.hostname or ""

    def send(self, message: Mapping[str, Any]) -> None:
        self.process.write(json.dumps(message).encode() + b"\n")

    def serve(self) -> int:
        """Till stdin ends, or an answer says that it dies."""
        self.send({"event": "ready"})
        while (line := self.process.read_line()) is not None:
            request = json.loads(line)
            self.heard.append((self.host, request["op"]))
            try:
                answer = self.answers.get(request["op"], FakeAgent.answer)
                self.send({"id": request["id"], "ok": answer(self, request)})
            except NeverAnswered:
                self.waiting[request.get("step", "")] = request["id"]
            except Refusal as refusal:
                self.send({"id": request["id"], "error": {"kind": refusal.kind, "message": str(refusal)}})
            except Dies:
                self.process.error(b"the agent of " + self.host.encode() + b" dies")
                return 1
        return 0

    def answer(self, request: Mapping[str, Any]) -> Any:
        """As an agent answers to whom all goes well and nothing happens."""
        match request["op"]:
            case "set_up":
                return None
            case "join":
                return {
                    "interface": "eth0",
                    "mac": request["mac"],
                    "mtu": 1500,
                    "offloads": {},
                    "guarded": True,
                    "routes": [],
                    "neighbours": {},
                    "sysctls": {},
                    "kernel": "6",
                    "commands": [],
                }
            case "reach":
                return {"asked": 1}
            case "pin":
                return {"cpu": 0}
            case "call":
                self.send({"event": "begun", "step": request["step"]})
                return self.record(request)
            case "cancel":
                number = self.waiting.pop(request["step"], None)
                if number is not None:
                    error = {"name": "cancelled", "errno": None, "message": "cancelled"}
                    self.send({"id": number, "ok": self.record({"args": {}}, error=error)})
                return int(number is not None)
            case "start_capture":
                self.process.files["/capture"] = EMPTY_CAPTURE
                return {"path": "/capture", "interface": "eth0"}
            case "stop_capture":
                return {"path": "/capture", "interface": "eth0", "received": 0, "dropped": 0}
            case "small_file":
                return {"content": base64.b64encode(EMPTY_CAPTURE).decode()}
            case "quiet":
                return 10**12
            case "power_off":
                return {**_moment(), "streams": [], "states": [], "counters": {}}
            case "counters":
                return {}
            case "states" | "final_states" | "streams":
                return []
            case _:
                return None

    def record(self, request: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        wall, mono = time.time_ns(), time.monotonic_ns()
        stamps = {"start_wall_ns": wall, "end_wall_ns": wall, "start_mono_ns": mono, "end_mono_ns": mono}
        return {**stamps, "socket": request["args"].get("as"), **more}


def _moment() -> dict[str, int]:
    return {"wall_ns": time.time_ns(), "mono_ns": time.monotonic_ns()}


def hangs(agent: FakeAgent, request: Mapping[str, Any]) -> Any:
    """An answer that never comes, to a call that has begun."""
    agent.send({"event": "begun", "step": request.get("step", "")})
    raise NeverAnswered


def at(host: str, answer: Answer) -> Answer:
    """The answer of one host; the others answer as ever."""

    def chosen(agent: FakeAgent, request: Mapping[str, Any]) -> Any:
        return answer(agent, request) if agent.host == host else agent.answer(request)

    return chosen


def dies(agent: FakeAgent, request: Mapping[str, Any]) -> Any:
    raise Dies


def wire_program(process: FakeProcess) -> int:
    """The fake wire, over a container's streams."""
    routes = process.argv[0] == "route"
    hello = HELLO.replace("kind=uml", "kind=kernel router=iptables-nft") if routes else HELLO
    wire = FakeWire((hello, READY))

    def say() -> None:
        while not wire._out.empty():
            process.write((wire._out.get() or b"") + b"\n")

    say()
    while (line := process.read_line()) is not None:
        wire.write(line)
        say()
    return 0


@dataclass
class FakeLab:
    """An engine in memory, what its agents heard, and a runner of cases on it."""

    answers: Mapping[str, Answer] = field(default_factory=dict)
    listener: Listener = lambda event: None
    heard: list[tuple[str, str]] = field(default_factory=list)  #: host, operation
    interrupt: Interrupt = field(default_factory=Interrupt)

    def __post_init__(self) -> None:
        self.site = load_site()
        self.engine = FakeEngine({HOST: self._agent, WIRE: wire_program})

    def _agent(self, process: FakeProcess) -> int:
        return FakeAgent(process, self.answers, self.heard).serve()

    def runner(self) -> CaseRunner:
        return CaseRunner(
            engine=self.engine,
            store=self.engine,
            images=IMAGES,
            site=self.site,
            wire="auto",
            keep=False,
            interrupt=self.interrupt,
            listener=self.listener,
        )

    def left(self) -> list[str]:
        """Containers and networks that are still there."""
        containers = [container.name for container in self.engine.containers({})]
        return containers + [network.name for network in self.engine.networks()]


def when(wanted: Callable[[Event], bool], then: Callable[[], None]) -> Listener:
    """A listener that does something, in a thread of its own, at the first event of a kind."""
    done = threading.Event()

    def listen(event: Event) -> None:
        if wanted(event) and not done.is_set():
            done.set()
            threading.Thread(target=then).start()

    return listen
