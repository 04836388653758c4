"""Random scenarios of valid steps: connections, datagrams, options, flags and links in any order.

What a step turns out like is of no interest, so most of them take it as it comes; what matters is that the
lab has a verdict on all of it. `lab check` has nothing to say against any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

Step = dict[str, Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]

HOSTS = ("client", "server")
PORTS = (8001, 8002)  #: of listeners; 8003 has none
UDP_PORT = 5000
STEPS = (4, 12)
APART = 8

DATA = st.sampled_from(["", "hello", {"repeat": "x", "times": 3000}, {"random": "60kB", "seed": 3}])
SIZES = st.sampled_from([1, 5, 1024, 100_000])
WAITS = st.sampled_from(["20ms", "60ms", "150ms"])  #: of calls: every one of them ends
SEND_FLAGS = st.sampled_from([None, None, ["MSG_OOB"], ["MSG_DONTWAIT"], ["MSG_MORE"], ["MSG_NOSIGNAL"]])
RECEIVE_FLAGS = st.sampled_from(
    [None, None, ["MSG_WAITALL"], ["MSG_OOB"], ["MSG_DONTWAIT"], ["MSG_PEEK"], ["MSG_TRUNC"]]
)
EVENTS = st.lists(st.sampled_from(["in", "pri", "out", "rdhup"]), min_size=1, max_size=3, unique=True)
OPTIONS = st.sampled_from(
    [
        ("TCP_NODELAY", 1),
        ("TCP_CORK", 1),
        ("TCP_QUICKACK", 0),
        ("TCP_USER_TIMEOUT", "300ms"),
        ("TCP_KEEPIDLE", 1),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", 1),
        ("TCP_DEFER_ACCEPT", 1),
        ("TCP_CONGESTION", "reno"),
        ("TCP_MAXSEG", 600),
        ("TCP_SYNCNT", 1),
        ("TCP_FASTOPEN_CONNECT", 1),
        ("SO_KEEPALIVE", 1),
        ("SO_OOBINLINE", 1),
        ("SO_LINGER", {"onoff": 1, "seconds": 0}),
        ("SO_RCVTIMEO", "50ms"),
        ("SO_SNDBUF", 5000),
        ("SO_RCVBUF", 3000),
        ("SO_REUSEADDR", 1),
        ("SO_REUSEPORT", 1),
        ("IP_TTL", 1),
        ("IP_TOS", 16),
        ("IP_MTU_DISCOVER", 0),
        ("UDP_SEGMENT", 500),
    ]
)
READ = st.sampled_from(
    ["SO_ERROR", "SO_RCVBUF", "TCP_INFO", "TCP_MAXSEG", "SO_LINGER", "IP_TTL", "SO_COOKIE"]
)
LINKS = st.sampled_from(
    [
        {"delay": "1ms"},
        {"delay": "20ms"},
        {"delay": "10ms", "jitter": "5ms"},
        {"loss": "20%"},
        {"loss": "0%"},
        {"duplicate": "30%"},
        {"corrupt": "10%"},
        {"rate": "1mbit"},
        {"rate": "200kbit", "limit": 5},
        {"mtu": 600},
        {"up": {"loss": "50%"}, "down": {"delay": "40ms"}},
        {"delay": "20ms", "reorder": "30%"},
    ]
)
MATCHES = st.sampled_from(
    ["syn", "syn-ack", "data", "ack", "fin", "rst", "any", {"flags": ["fin", "ack"]}, {"ttl": 64}]
)
CHECKS: tuple[tuple[str, Step], ...] = (
    ("packets", {"count": 0}),
    ("packets", {"count": 0}),
    ("handshake", {"count": 0}),
    ("close", {"how": "rst", "count": 0}),
    ("retransmissions", {"count": 0}),
    ("bytes", {}),
    ("schedule", {"match": "syn", "gaps": "kernel"}),
    ("state", {"state": "ESTABLISHED", "port": 8001, "when": "ever"}),
    ("state", {"state": "CLOSE_WAIT", "port": 8001, "when": "ever", "count": 0}),
    ("counter", {"name": "TcpRetransSegs", "delta": {"min": 0}}),
)
COUNTS = st.sampled_from([{"min": 0}, {"min": 1}, 0, 1, 2])


@dataclass
class Host:
    """What `lab check` knows of a host before the next step: names of sockets, by kind."""

    tcp: list[str] = field(default_factory=list)
    udp: list[str] = field(default_factory=list)
    listening: list[str] = field(default_factory=list)
    on: bool = True

    @property
    def sockets(self) -> list[str]:
        return [*self.tcp, *self.udp, *self.listening]

    def forget(self, name: str) -> None:
        for names in (self.tcp, self.udp, self.listening):
            if name in names:
                names.remove(name)


class Builder:
    """One scenario as it grows."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.hosts = {name: Host() for name in HOSTS}
        self.steps: list[Step] = []
        self.ids: list[str] = []  #: of steps that have ended
        self.waiting: list[str] = []  #: of background steps
        self.number = 0

    def scenario(self) -> Mapping[str, Any]:
        for port in PORTS:
            backlog = self.draw(st.sampled_from([0, 1, 5]))
            self._listen("server", port, backlog)
        self._bind_udp("server")
        for _ in range(self.draw(st.integers(*STEPS))):
            self.draw(st.sampled_from(self._possible()))()
        links = {name: {"link": self.draw(LINKS)} for name in HOSTS if self.draw(st.booleans())}
        return {
            "lab": 1,
            "timeout": "30s",
            **({"hosts": links} if links else {}),
            "steps": self.steps,
            "checks": [self._check() for _ in range(self.draw(st.integers(0, 4)))],
        }

    # --- which step may come ---

    def _possible(self) -> list[Callable[[], None]]:
        up = [name for name, host in self.hosts.items() if host.on]
        steps: list[Callable[[], None]] = [self._link, self._cut, self._partition, self._drop, self._sleep]
        if not up:
            return [self._power_on]
        steps += [self._connect, self._connect, self._socket, self._datagram, self._run]
        if any(self.hosts[name].listening for name in up):
            steps += [self._accept, self._accept]
        if any(self.hosts[name].tcp for name in up):
            steps += [self._send, self._send, self._receive, self._receive, self._shutdown, self._half_done]
        if any(self.hosts[name].udp for name in up):
            steps.append(self._recvfrom)
        if any(self.hosts[name].sockets for name in up):
            steps += [self._option, self._read_option, self._poll, self._timeout, self._close]
        if self.waiting:
            steps.append(self._await)
        steps.append(self._power_on if len(up) < len(HOSTS) else self._power_off)
        return steps

    def _up(self, kind: str = "") -> tuple[str, Host]:
        """A host that has power, and a socket of this kind where one is asked for."""
        able = [name for name, host in self.hosts.items() if host.on and (not kind or getattr(host, kind))]
        name = self.draw(st.sampled_from(able))
        return name, self.hosts[name]

    def _add(self, do: str, **keys: Any) -> None:
        self.steps.append({"do": do, **{key: value for key, value in keys.items() if value is not None}})

    def _call(self, do: str, **keys: Any) -> None:
        """A socket call that ends; what nobody expects fails the scenario there, so most of them take it."""
        self.number += 1
        step = f"step{self.number}"
        expect = self.draw(st.sampled_from([{"any": True}] * 19 + [None]))
        keys.setdefault("timeout", self.draw(WAITS))
        self._add(do, **keys, id=step, expect=expect)
        if keys.get("background"):
            self.waiting.append(step)
        else:
            self.ids.append(step)

    def _name(self) -> str:
        self.number += 1
        return f"s{self.number}"

    # --- steps ---

    def _listen(self, at: str, port: int, backlog: int) -> None:
        name = self._name()
        self._add("listen", at=at, port=port, backlog=backlog, **{"as": name})
        self.hosts[at].listening.append(name)

    def _bind_udp(self, at: str) -> None:
        name = self._name()
        self._add("bind", at=at, port=UDP_PORT, kind="udp", **{"as": name})
        self.hosts[at].udp.append(name)

    def _socket(self) -> None:
        at, host = self._up()
        kind = self.draw(st.sampled_from(["tcp", "udp"]))
        name = self._name()
        self._add("socket", at=at, kind=kind, **{"as": name})
        getattr(host, kind).append(name)

    def _connect(self) -> None:
        at, host = self._up()
        to = f"{'server' if at == 'client' else 'client'}:{self.draw(st.sampled_from([*PORTS, 8003]))}"
        own = [*host.tcp]
        if own and self.draw(st.booleans()):
            self._call("connect", at=at, to=to, on=self.draw(st.sampled_from(own)))
            return
        name = self._name()
        self._call("connect", at=at, to=to, **{"as": name})
        host.tcp.append(name)

    def _accept(self) -> None:
        at, host = self._up("listening")
        name = self._name()
        self._call("accept", at=at, on=self.draw(st.sampled_from(host.listening)), **{"as": name})
        host.tcp.append(name)

    def _send(self) -> None:
        at, host = self._up("tcp")
        on, data = self.draw(st.sampled_from(host.tcp)), self.draw(DATA)
        if self.draw(st.booleans()):
            self._call("sendall", at=at, on=on, data=data)
        else:
            self._call("send", at=at, on=on, data=data, flags=self.draw(SEND_FLAGS))

    def _receive(self) -> None:
        at, host = self._up("tcp")
        on = self.draw(st.sampled_from(host.tcp))
        do = self.draw(st.sampled_from(["recv", "recv", "recv_exactly", "peek", "drain"]))
        size = None if do == "drain" else self.draw(SIZES)
        flags = self.draw(RECEIVE_FLAGS) if do == "recv" else None
        self._call(do, at=at, on=on, size=size, flags=flags)

    def _half_done(self) -> None:
        """A call in the background, which may still wait when the last step has ended."""
        at, host = self._up("tcp")
        on = self.draw(st.sampled_from(host.tcp))
        self._call("recv", at=at, on=on, size=10, background=True, timeout="500ms")

    def _await(self) -> None:
        step = self.draw(st.sampled_from(self.waiting))
        self.waiting.remove(step)
        self._add("await", id=step)

    def _datagram(self) -> None:
        at, host = self._up()
        to = f"{'server' if at == 'client' else 'client'}:{self.draw(st.sampled_from([UDP_PORT, 5001]))}"
        if not host.udp:
            name = self._name()
            self._add("socket", at=at, kind="udp", **{"as": name})
            host.udp.append(name)
        self._call("sendto", at=at, on=self.draw(st.sampled_from(host.udp)), to=to, data=self.draw(DATA))

    def _recvfrom(self) -> None:
        at, host = self._up("udp")
        self._call("recvfrom", at=at, on=self.draw(st.sampled_from(host.udp)), size=self.draw(SIZES))

    def _shutdown(self) -> None:
        at, host = self._up("tcp")
        how = self.draw(st.sampled_from(["read", "write", "both"]))
        self._call("shutdown", at=at, on=self.draw(st.sampled_from(host.tcp)), how=how)

    def _close(self) -> None:
        at, host = self._up("sockets")
        name = self.draw(st.sampled_from(host.sockets))
        self._call("close", at=at, on=name)
        host.forget(name)

    def _option(self) -> None:
        at, host = self._up("sockets")
        option, value = self.draw(OPTIONS)
        self._call(
            "setsockopt", at=at, on=self.draw(st.sampled_from(host.sockets)), option=option, value=value
        )

    def _read_option(self) -> None:
        at, host = self._up("sockets")
        self._call("getsockopt", at=at, on=self.draw(st.sampled_from(host.sockets)), option=self.draw(READ))

    def _timeout(self) -> None:
        at, host = self._up("sockets")
        value = self.draw(st.sampled_from(["0s", "30ms", "none"]))
        self._call("settimeout", at=at, on=self.draw(st.sampled_from(host.sockets)), value=value)

    def _poll(self) -> None:
        at, host = self._up("sockets")
        names = self.draw(st.lists(st.sampled_from(host.sockets), min_size=1, max_size=3, unique=True))
        self._call("poll", at=at, on=names, events=self.draw(EVENTS))

    def _run(self) -> None:
        at, _ = self._up()
        self._add("run", at=at, command=["ping", "-c", "1", "-W", "0.2", "server"], expect={"any": True})

    def _link(self) -> None:
        self._add("link", host=self.draw(st.sampled_from(HOSTS)), **self.draw(LINKS))

    def _cut(self) -> None:
        do = self.draw(st.sampled_from(["cut", "restore", "restore"]))
        direction = self.draw(st.sampled_from(["up", "down", "both"]))
        self._add(do, host=self.draw(st.sampled_from(HOSTS)), direction=direction)

    def _partition(self) -> None:
        self._add(self.draw(st.sampled_from(["partition", "heal", "heal"])), between=[*HOSTS])

    def _drop(self) -> None:
        source, target = self.draw(st.permutations(HOSTS))
        count = self.draw(st.integers(1, 3))
        self._add("drop", **{"from": source}, to=target, match=self.draw(MATCHES), count=count)

    def _sleep(self) -> None:
        self._add("sleep", **{"for": self.draw(st.sampled_from(["10ms", "100ms", "300ms"]))})

    def _power_off(self) -> None:
        at, _ = self._up()
        self._add("power", at=at, state="off")
        self.hosts[at] = Host(on=False)

    def _power_on(self) -> None:
        at = self.draw(st.sampled_from([name for name, host in self.hosts.items() if not host.on]))
        self._add("power", at=at, state="on")
        self.hosts[at].on = True

    # --- checks ---

    def _check(self) -> Step:
        source, target = self.draw(st.permutations(HOSTS))
        ends: Step = {"from": source, "to": target}
        check, keys = self.draw(st.sampled_from(CHECKS))
        found = {"check": check, **(ends if check not in ("state", "counter") else {"at": source}), **keys}
        if "count" in found:
            found["count"] = self.draw(COUNTS)
        if check == "packets":
            found |= {
                "match": self.draw(MATCHES),
                "at": self.draw(st.sampled_from(["sender", "receiver", "lost"])),
            }
        if check in ("packets", "handshake") and self.ids and self.draw(st.booleans()):
            found["after"] = self.draw(st.sampled_from(self.ids))
        return found


@st.composite
def scenarios(draw: Draw) -> str:
    """A scenario's text."""
    return yaml.safe_dump(dict(Builder(draw).scenario()), sort_keys=False, width=200)


def some(number: int, from_seed: int) -> list[str]:
    """So many scenarios: the same of the same seed. Hypothesis varies what it has a little at a time, so only
    one in `APART` is taken.
    """
    found: list[str] = []

    @seed(from_seed)
    @settings(max_examples=number * APART, database=None, deadline=None, phases=[Phase.generate])
    @given(scenarios())
    def collect(text: str) -> None:
        found.append(text)

    collect()
    return found[::APART]
