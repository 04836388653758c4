"""A stream that answers like the wire's container: enough of tc and ip to set up, change, block and count."""

from __future__ import annotations

import json
import queue
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from typing import Any, Literal

from lab.attachment import attach_all, attach_wire
from lab.errors import EngineError
from lab.link import PLAIN, Link
from lab.wire import Wire, WireSetup, open_wire

HELLO = (
    "wire hello kind=uml dev=eth0 mac=02:c6:c6:12:07:02 mtu=1500 machine=6.18.44 reason=cannot impair: a=b"
)
READY = "wire ready kernel=6.1.176"

SUBNET = IPv4Network("198.18.7.0/24")


def setup(
    links: Mapping[str, Link] = {}, *, drops: bool = False, arp: Literal["static", "dynamic"] = "static"
) -> WireSetup:
    """client .10 and server .11, joined by these links."""
    ends = {host: links.get(host, PLAIN) for host in ("client", "server")}
    return WireSetup(attach_wire(SUBNET), attach_all(SUBNET, ends), arp, drops)


def opened(fake: FakeWire) -> Wire:
    """A wire over a fake container that says what it is at once."""
    return open_wire(fake, 5)


def _options(text: str) -> dict[str, Any]:
    """netem's options as its own JSON has them."""
    words = text.split()
    found: dict[str, Any] = {"limit": int(words[words.index("limit") + 1]), "gap": 0}

    def share(word: str) -> float:
        return float(f"{float(word.rstrip('%')) / 100:g}")

    at = words.index("delay")
    delay, jitter = (float(f"{int(word[:-2]) * 1e-6:g}") for word in words[at + 1 : at + 3])
    found["delay"] = {"delay": delay, "jitter": jitter, "correlation": share(words[at + 3])}
    at = words.index("loss")
    values = [share(word) for word in words[at + 2 :] if word.endswith("%")]
    if words[at + 1] == "random":
        found["loss-random"] = {"loss": values[0], "correlation": values[1]}
    else:
        found["loss-gemodel"] = dict(zip(("p", "r", "1-h", "1-k"), values, strict=False))
    for key in ("duplicate", "corrupt", "reorder"):
        if key in words:
            at = words.index(key)
            correlation = share(words[at + 2]) if words[at + 2].endswith("%") else 0
            found[key] = {key: share(words[at + 1]), "correlation": correlation}
            if key == "reorder":
                found["gap"] = 1
    if "gap" in words:
        found["gap"] = int(words[words.index("gap") + 1])
    found["rate"] = {"rate": int(words[words.index("rate") + 1].removesuffix("bit")) // 8}
    return found


class FakeWire:
    """`spoil` may change what is shown, `refuse` names a line that is refused, `mute` ends all answers."""

    def __init__(self, said: tuple[str, ...] = (HELLO, READY)) -> None:
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        for line in said:
            self.say(line)
        self._count = {"tc": 0, "ip": 0}
        self.qdiscs: dict[str, dict[str, Any]] = {}
        self.filters: dict[str, list[dict[str, Any]]] = {"ingress": [], "egress": []}
        self.counters: dict[int, int] = {}
        self.routes: dict[str, dict[str, Any]] = {}
        self.saved: list[str] = []
        self.files: dict[str, str] = {}
        self.links: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.spoil: Callable[[list[dict[str, Any]]], None] = lambda qdiscs: None
        self.refuse = ""
        self.mute = False
        self.closed = False

    def say(self, line: str) -> None:
        self._out.put(line.encode())

    def end(self) -> None:
        self._out.put(None)

    # --- Stream ---

    def write(self, data: bytes) -> None:
        if self.closed:
            raise EngineError("the container is gone")
        for line in data.decode().splitlines():
            self.lines.append(line)
            if not self.mute:
                tool, _, rest = line.partition(" ")
                self._answer(tool, rest)

    def read_line(self) -> bytes | None:
        return self._out.get()

    def stderr_tail(self) -> str:
        return "Kernel panic"

    def close(self) -> None:
        self.closed = True
        self.end()

    # --- the tools ---

    def _answer(self, tool: str, line: str) -> None:
        if tool in ("sh", "out"):
            command, _, echo = line.rpartition("; echo ")
            for output in self._shell(command):
                self.say(output)
            self.say(echo.strip('"').replace("$?", "1" if self.refuse and self.refuse in command else "0"))
            return
        self._count[tool] += 1
        if re.fullmatch(r"end\d+", line):
            self.say(f'Object "{line}" is unknown, try "{tool} help".')
            self.say(f"Command failed -:{self._count[tool]}")
        elif self.refuse and self.refuse in line:
            self.say("Error: Specified qdisc kind is unknown.")
            self.say(f"Command failed -:{self._count[tool]}")
        else:
            shown = self._tc(line) if tool == "tc" else self._ip(line)
            if shown is not None:
                self.say(json.dumps(shown))

    def _shell(self, command: str) -> list[str]:
        if "-restore" in command and "<" in command:
            for mark in re.findall(r"--hashlimit-name (lab-\d+-\d+)", self.files[command.rpartition("<")[2]]):
                self.saved.append(f"[0:0] -A FORWARD -m hashlimit --hashlimit-name {mark} -j DROP")
        if "-save" in command:
            return self.saved
        if ">/run/lab/" in command:
            self.files[command.rpartition(">")[2]] = command
        return ["[]"] if command.startswith("ip ") else []

    def _tc(self, line: str) -> Any:
        words = line.split()
        if words[:2] == ["qdisc", "show"]:
            shown = [json.loads(json.dumps(entry)) for entry in self.qdiscs.values()]
            self.spoil(shown)
            return shown
        if words[:2] == ["filter", "show"]:
            return self.filters[words[-1]]
        if words[:2] == ["actions", "list"]:
            stats = [{"index": i, "stats": {"drops": n}} for i, n in self.counters.items()]
            return [{"total acts": len(stats)}, {"actions": stats}]
        if words[:2] == ["actions", "add"]:
            self.counters[int(words[-1])] = 0
        elif words[0] == "filter" and "gact" in words:
            action = {"kind": "gact", "index": int(words[-1])}
            pref = int(words[words.index("prio") + 1])
            self.filters[words[4]].append({"pref": pref, "options": {"actions": [action]}})
        elif words[:2] == ["filter", "del"]:
            pref = int(words[-1])
            self.filters[words[4]] = [f for f in self.filters[words[4]] if f["pref"] != pref]
        elif "netem" in words:
            counts = self.qdiscs.get(words[3], {})
            self.qdiscs[words[3]] = {
                "kind": "netem",
                "dev": words[3],
                "root": True,
                "options": _options(line.partition(" netem ")[2]),
                "packets": counts.get("packets", 0),
                "qlen": counts.get("qlen", 0),
                "drops": counts.get("drops", 0),
            }
        elif "tbf" in words:
            rate, burst = words[words.index("rate") + 1], words[words.index("burst") + 1]
            options = {"rate": int(rate.removesuffix("bit")) // 8, "burst": int(burst.removesuffix("b"))}
            self.qdiscs[words[3] + " tbf"] = {"kind": "tbf", "dev": words[3], "options": options}
        return None

    def _ip(self, line: str) -> Any:
        words = line.split()
        if words[:2] == ["link", "show"]:
            return self.links
        if words[:2] == ["route", "show"]:
            return [r for r in self.routes.values() if r["table"] == words[-1]]
        if words[:2] == ["route", "replace"]:
            table, mtu = words[words.index("table") + 1], int(words[-1])
            entry = {"dst": words[2].removesuffix("/32"), "table": table, "metrics": [{"mtu": mtu}]}
            self.routes[words[2] + table] = entry
        elif words[:2] == ["link", "set"] and words[-1] == "down" and words[2] in self.qdiscs:
            self.qdiscs[words[2]]["qlen"] = 0
        return None


def standing(**links: Link) -> tuple[FakeWire, Wire]:
    """A wire that is set up with these links."""
    fake = FakeWire()
    wire = opened(fake)
    wire.set_up(setup(links))
    return fake, wire
