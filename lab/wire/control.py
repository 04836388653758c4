"""State that all parts of the wire share: its console, each command with its outcome, each read-back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from lab.clock import Clock, Deadline
from lab.errors import WireError
from lab.evidence.model import Json
from lab.wire.console import Console, Reply, Tool

#: Seconds for one request. The slowest, iptables inside a busy user-mode Linux, takes 0.5 s.
_PATIENCE = 20.0
#: Characters of a command's output kept in the result.
_KEPT = 2_000


class Hello(Struct, frozen=True):
    """What the wire's container said about itself before any request."""

    kind: Literal["kernel", "uml"]
    reason: str
    router: str  #: the iptables of a wire that only routes; empty if tc impairs
    device: str
    mac: str
    mtu: int
    machine: str  #: uname -r of the engine's machine
    kernel: str  #: uname -r where tc runs


class Control:
    """Requests to the wire. `run` and `ask` raise `WireError` if a line is refused."""

    def __init__(self, console: Console, name: str, clock: Clock, ready: Deadline) -> None:
        """Returns when the wire has said what it is and that it listens."""
        self.console = console
        self.name = name
        self.clock = clock
        self.commands: list[Mapping[str, Json]] = []
        self.readback: list[Mapping[str, Json]] = []
        self.hello = self._greeted(ready)

    def _greeted(self, deadline: Deadline) -> Hello:
        said = fields(self.console.announced("hello", deadline))
        kernel = fields(self.console.announced("ready", deadline)).get("kernel", "?")
        kind = said.get("kind")
        if kind not in ("kernel", "uml"):
            raise WireError(f"{self.name}: said hello with no known kind: {said}")
        return Hello(
            kind="kernel" if kind == "kernel" else "uml",
            reason=said.get("reason", ""),
            router=said.get("router", ""),
            device=said.get("dev", "eth0"),
            mac=said.get("mac", ""),
            mtu=int(said.get("mtu", "1500")),
            machine=said.get("machine", "?"),
            kernel=kernel,
        )

    def run(self, tool: Tool, lines: Sequence[str]) -> Reply:
        """Sends lines that change something; keeps them for the result."""
        reply = self.attempt(tool, lines)
        self._record(reply)
        self._accepted(reply)
        return reply

    def ask(self, tool: Tool, line: str) -> Reply:
        """Sends a line that only reads; the result keeps it only if it fails."""
        reply = self.attempt(tool, [line])
        if reply.status != 0:
            self._record(reply)
        self._accepted(reply)
        return reply

    def attempt(self, tool: Tool, lines: Sequence[str]) -> Reply:
        """Sends lines that may be refused; not recorded."""
        deadline = Deadline.after(_PATIENCE, f"{_PATIENCE:.0f} s for one request", self.clock)
        return self.console.request(tool, lines, deadline)

    def qdiscs(self) -> list[Mapping[str, Json]]:
        return self.ask("tc", "qdisc show").json()

    def filters(self, hook: str) -> list[Mapping[str, Json]]:
        return self.ask("tc", f"filter show dev {self.hello.device} {hook}").json()

    def keep_readback(self, step: str | None, what: Mapping[str, Json]) -> int:
        """Keeps what the kernel said for the result; returns the moment of the reading."""
        wall_ns = self.clock.wall_ns()
        self.readback.append({"wall_ns": wall_ns, "step": step, **what})
        return wall_ns

    def _record(self, reply: Reply) -> None:
        self.commands.append(
            {
                "program": reply.tool,
                "input": "\n".join(reply.lines),
                "status": reply.status,
                "output": "\n".join(reply.output)[:_KEPT],
                "duration_ms": round(reply.duration_ms, 3),
            }
        )

    def _accepted(self, reply: Reply) -> None:
        if reply.status == 0:
            return
        which = "; ".join(reply.lines[at] for at in reply.failed) or reply.lines[-1]
        said = " ".join(reply.output) or f"status {reply.status}"
        raise WireError(
            f"{self.name}: refused ({self.hello.kind}, {self.hello.kernel}): {reply.tool} {which}: {said}",
            hint="the result's `wire` holds every command; `lab doctor` says what this machine can do",
        )


def fields(text: str) -> dict[str, str]:
    """`key=value` words; `reason` takes the rest of the line."""
    found: dict[str, str] = {}
    rest = text
    while rest:
        key, _, rest = rest.partition("=")
        if key == "reason":
            found[key] = rest
            break
        value, _, rest = rest.partition(" ")
        found[key] = value
    return found
