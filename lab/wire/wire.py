"""The wire of one case: every link, cut, partition and drop, each asked for, read back and recorded."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lab.clock import SYSTEM_CLOCK, Clock, Deadline
from lab.engine.base import Stream
from lab.errors import WireError
from lab.evidence.model import DropCount, QueueCount, WireEvent, WireFacts
from lab.link import Direction, Impairment, Link
from lab.wire import router, rules, tc
from lab.wire.console import Console, Reply, Tool
from lab.wire.router import WireSetup

Json = Any
Both = Literal["up", "down", "both"]

#: Seconds for one request. The slowest, iptables inside a busy user-mode Linux, takes 0.5 s.
_PATIENCE = 20.0
#: Characters of a command's output that the result keeps.
_KEPT = 2_000


@dataclass(frozen=True, slots=True)
class Hello:
    """What the wire's container said of itself before anything was asked of it."""

    kind: Literal["kernel", "uml"]
    reason: str
    device: str
    mac: str
    mtu: int
    machine: str  #: uname -r of the engine's machine
    kernel: str  #: uname -r where tc runs


@dataclass
class _Block:
    """A cut of one direction or one half of a partition: a filter while it is on, a counter for ever."""

    rule: str
    index: int
    hook: str
    prio: int
    match: str
    reasons: set[str]  #: why it is on: "cut", "power", "partition"
    flushed: int = 0  #: packets that were on the link when it was cut


class Wire:
    """The wire, over the stream of its container. Thread-safe.

    Whatever could not be applied exactly as asked raises `WireError` naming the link, what was asked and what
    the kernel says it has. An event's moment is on the clock of the lab's machine, when the read-back is
    there: 1 to 5 ms after the request was written.
    """

    def __init__(self, stream: Stream, name: str = "wire", *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._console = Console(stream, name, clock)
        self._name = name
        self._clock = clock
        self._lock = threading.RLock()
        self._hello: Hello | None = None
        self._setup: WireSetup | None = None
        self._links: dict[str, Link] = {}
        self._ports: dict[tuple[str, Direction], tc.Port] = {}
        self._blocks: dict[str, _Block] = {}
        self._rules: list[rules.DropRule] = []
        self._iptables = ""
        self._mtu_tables: set[int] = set()
        self._at_start: dict[str, int] = {}
        self._readback: list[Mapping[str, Json]] = []
        self._commands: list[Mapping[str, Json]] = []
        self.events: list[WireEvent] = []

    # --- coming up ---

    def wait_ready(self, timeout: float) -> Hello:
        """Waits until the chosen kernel runs and its tools listen.

        Raises `WireError` with the reason where no kernel here can impair.
        """
        deadline = Deadline.after(timeout, f"{self._name}: {timeout:.0f} s to get ready", self._clock)
        said = _fields(self._console.announced("hello", deadline))
        kernel = _fields(self._console.announced("ready", deadline)).get("kernel", "?")
        kind = said.get("kind")
        if kind not in ("kernel", "uml"):
            raise WireError(f"{self._name}: said hello without a kind it knows: {said}")
        self._hello = Hello(
            kind="kernel" if kind == "kernel" else "uml",
            reason=said.get("reason", ""),
            device=said.get("dev", "eth0"),
            mac=said.get("mac", ""),
            mtu=int(said.get("mtu", "1500")),
            machine=said.get("machine", "?"),
            kernel=kernel,
        )
        return self._hello

    @property
    def hello(self) -> Hello:
        if self._hello is None:
            raise WireError(f"{self._name}: not ready yet", hint="call wait_ready first")
        return self._hello

    def set_up(self, setup: WireSetup) -> None:
        """Addresses, devices, filters and every link as configured; read back."""
        with self._lock:
            device = self.hello.device
            self._setup = setup
            self._links = {host: setup.links.get(host, Link()) for host in setup.hosts}
            self._ports = {(port.host, port.direction): port for port in setup.ports()}
            self._run("ip", router.set_up_lines(device, setup))
            lines = tc.interface_lines(device)
            for port in self._ports.values():
                lines += tc.link_lines(port, self._asked(port), verb="add")
                lines.append(tc.port_filter(device, port))
            begin = self._run("tc", lines).begin_wall_ns
            self._route_mtu()
            self._checked(self._ports.values(), None, begin)
            self._at_start = self._overruns()
            if setup.drops:
                self._prepare_drops()

    # --- changing ---

    def change(self, host: str, link: Link, step: str | None = None) -> None:
        """The host's link is `link` from now on, all of it (already merged). What is queued stays."""
        with self._lock:
            before = self._links[self._known(host)]
            self._links[host] = link
            sides: list[tuple[Direction, Impairment, Impairment]] = [
                ("up", before.up, link.up),
                ("down", before.down, link.down),
            ]
            ports = [self._ports[host, side] for side, old, new in sides if old != new]
            lines = [line for port in ports for line in tc.link_lines(port, self._asked(port), verb="change")]
            if not lines:
                return
            try:
                begin = self._run("tc", lines).begin_wall_ns
                self._route_mtu()
                self._checked(ports, step, begin)
            except WireError:
                self._links[host] = before
                raise

    def cut(self, host: str, direction: Both = "both", step: str | None = None) -> None:
        """The cable of a host: nothing passes, what was on it is lost. Silent: no ICMP, no carrier change."""
        self._cable(host, direction, "cut", on=True, step=step)

    def restore(self, host: str, direction: Both = "both", step: str | None = None) -> None:
        """The end of `cut`. A host without power stays cut off."""
        self._cable(host, direction, "cut", on=False, step=step)

    def power(self, host: str, state: Literal["off", "on"], step: str | None = None) -> None:
        """Cuts a host off while it has no power, apart from what `cut` does."""
        self._cable(host, "both", "power", on=state == "off", step=step)

    def partition(self, a: str, b: str, step: str | None = None) -> None:
        """Nothing passes between two hosts, in the middle of the network: what is past the middle arrives."""
        self._between(a, b, on=True, step=step)

    def heal(self, a: str, b: str, step: str | None = None) -> None:
        self._between(a, b, on=False, step=step)

    def drop(
        self, source: str, target: str, match: str | Sequence[str], count: int, step: str | None = None
    ) -> str:
        """Drops exactly the next `count` packets from source to target that match; the rule's id.

        Next: of those that reach the wire after this. They are counted and dropped behind the source's `up`
        and before the target's `down`, so a packet that `up` loses does not count.
        """
        with self._lock:
            setup = self._need_setup()
            rule = rules.DropRule(
                mark=len(self._rules) + 1,
                source=setup.hosts[self._known(source)][0],
                target=setup.hosts[self._known(target)][0],
                match=rules.normal(match),
                count=count,
            )
            text = rules.restore_input([rule])
            self._prepare_drops()
            quoted = " ".join(shlex.quote(line) for line in text)
            made = self._run("sh", [f"printf '%s\\n' {quoted} | {self._iptables}-restore --noflush"])
            self._rules.append(rule)
            marked = self._run("tc", [tc.mark_filter(self.hello.device, rule.source, rule.target, rule.mark)])
            self._event(
                WireEvent(
                    wall_ns=marked.end_wall_ns,
                    action="drop",
                    step=step,
                    rule=rule.id,
                    source=source,
                    target=target,
                    match=rule.match,
                    count=count,
                ),
                begin=made.begin_wall_ns,
                lines=text,
            )
            return rule.id

    # --- asking ---

    def in_flight(self) -> int:
        """Packets that wait in the queues of all links now."""
        with self._lock:
            return sum(tc.queued(found).waiting for found in self._qdiscs(keep=False) if found.get("root"))

    def counters(self) -> tuple[tuple[DropCount, ...], tuple[QueueCount, ...]]:
        """What drop rules, cuts and partitions dropped, and what each direction of each link did, so far."""
        with self._lock:
            return self._drop_counts(), self._queue_counts()

    def overruns(self) -> dict[str, int]:
        """Packets that an interface or a queue of the wire lost unasked since it was set up, by where. Empty:
        none, so every missing packet was dropped because the scenario said so."""
        with self._lock:
            now = self._overruns()
            return {
                where: lost - self._at_start.get(where, 0)
                for where, lost in now.items()
                if lost > self._at_start.get(where, 0)
            }

    def facts(self) -> WireFacts:
        """All of it for the result, with the counters as they are now."""
        with self._lock:
            setup = self._need_setup()
            drops, queues = self.counters()
            overruns = self.overruns()
            return WireFacts(
                kind=self.hello.kind,
                reason=self.hello.reason,
                kernel=self.hello.kernel,
                address=str(setup.address),
                mac=setup.mac,
                readback=tuple(self._readback),
                drops=drops,
                queues=queues,
                commands=tuple(self._commands),
                overruns=overruns,
            )

    def close(self) -> None:
        """Ends the wire. May be called twice."""
        self._console.close()

    # --- links ---

    def _asked(self, port: tc.Port) -> Impairment:
        link = self._links[port.host]
        return link.up if port.direction == "up" else link.down

    def _checked(self, ports: Iterable[tc.Port], step: str | None, begin: int) -> None:
        """Holds what the kernel has against what was asked, keeps it, and says that it holds."""
        reply = self._run("tc", ["qdisc show"], keep=False)
        qdiscs = reply.json()
        self._keep_readback(reply, step, {"qdiscs": qdiscs})
        wrong = [
            f"{port}: {difference}"
            for port in ports
            for difference in tc.differences(port, self._asked(port), qdiscs)
        ]
        if wrong:
            raise WireError(
                "the link is not as asked: " + "; ".join(wrong),
                hint="the kernel that impairs (see the result's `wire`) does something else with this option",
            )
        for port in ports:
            self._event(
                WireEvent(
                    wall_ns=reply.end_wall_ns,
                    action="link",
                    step=step,
                    host=port.host,
                    direction=port.direction,
                    impairment=self._asked(port),
                ),
                begin=begin,
            )

    def _route_mtu(self) -> None:
        setup = self._need_setup()
        wanted = router.mtu_routes(setup, self._links)
        if not wanted:
            return
        lines = []
        for route in wanted:
            lines += route.lines(self.hello.device, self._mtu_tables)
            self._mtu_tables.add(route.table)
        self._run("ip", lines)
        tables = {
            table: self._run("ip", [f"route show table {table}"], keep=False).json()
            for table in self._mtu_tables
        }
        if wrong := router.mtu_differences(wanted, tables):
            raise WireError("the link is not as asked: " + "; ".join(wrong))

    # --- cuts and partitions ---

    def _cable(self, host: str, direction: Both, reason: str, *, on: bool, step: str | None) -> None:
        directions: tuple[Direction, ...] = ("up", "down") if direction == "both" else (direction,)
        with self._lock:
            self._known(host)
            begin = self._clock.wall_ns()
            flushes = []
            for side in directions:
                port = self._ports[host, side]
                # A cut is one direction of one host: its priority is its place in the list of ports.
                prio = tc.PRIO_CUT + list(self._ports).index((host, side))
                block = self._block(f"cut:{host}:{side}", port.hook, prio, port.match)
                if self._switch(block, reason, on=on) and on:
                    flushes.append((block, port))
            for block, port in flushes:
                block.flushed += self._flush(port)
            end = self._confirm_blocks(step)
            if reason == "power":
                action: Literal["cut", "restore", "power_off", "power_on"] = "power_off" if on else "power_on"
            else:
                action = "cut" if on else "restore"
            event = WireEvent(wall_ns=end, action=action, step=step, host=host, direction=direction)
            self._event(event, begin=begin)

    def _between(self, a: str, b: str, *, on: bool, step: str | None) -> None:
        with self._lock:
            setup = self._need_setup()
            begin = self._clock.wall_ns()
            first, second = setup.hosts[self._known(a)][0], setup.hosts[self._known(b)][0]
            names = list(setup.hosts)
            for source, target in ((first, second), (second, first)):
                name = f"partition:{self._host_at(source)}:{self._host_at(target)}"
                pair = names.index(self._host_at(source)) * len(names) + names.index(self._host_at(target))
                block = self._block(name, "egress", tc.PRIO_PARTITION + pair, tc.between(source, target))
                self._switch(block, "partition", on=on)
            end = self._confirm_blocks(step)
            self._event(
                WireEvent(wall_ns=end, action="partition" if on else "heal", step=step, between=(a, b)),
                begin=begin,
            )

    def _block(self, rule: str, hook: str, prio: int, match: str) -> _Block:
        if rule not in self._blocks:
            block = _Block(rule, tc.FIRST_COUNTER + len(self._blocks), hook, prio, match, set())
            self._run("tc", [tc.counter_line(block.index)])
            self._blocks[rule] = block
        return self._blocks[rule]

    def _switch(self, block: _Block, reason: str, *, on: bool) -> bool:
        """True where this changed something: a second reason to be cut changes nothing."""
        before = bool(block.reasons)
        (block.reasons.add if on else block.reasons.discard)(reason)
        if before == bool(block.reasons):
            return False
        device = self.hello.device
        if on:
            line = tc.drop_filter(device, block.hook, block.prio, block.match, block.index)
        else:
            line = tc.delete_filter(device, block.hook, block.prio)
        self._run("tc", [line])
        return True

    def _confirm_blocks(self, step: str | None) -> int:
        """Reads back which filters drop; the moment at which that was so."""
        device = self.hello.device
        got: dict[str, Json] = {}
        for hook in ("ingress", "egress"):
            reply = self._run("tc", [f"filter show dev {device} {hook}"], keep=False)
            got[hook] = reply.json()
        self._keep_readback(reply, step, {"filters": got})
        wanted = {(b.hook, b.prio): b for b in self._blocks.values()}
        for (hook, prio), block in wanted.items():
            there = tc.filter_indexes(got[hook]).get(prio) == block.index
            if there != bool(block.reasons):
                asked, has = ("on", "off") if block.reasons else ("off", "on")
                raise WireError(f"{block.rule}: asked {asked}, the filters say {has}")
        return reply.end_wall_ns

    def _flush(self, port: tc.Port) -> int:
        """Loses what waits on a link: the device's queue is emptied when it goes down. How many that were."""
        before = self._queue_of(port)
        self._run("ip", [f"link set {port.device} down", f"link set {port.device} up"])
        after = self._queue_of(port)
        # Nothing came in (the filter is there already), some may have left in time.
        return max(0, before.waiting - (after.packets - before.packets) - after.waiting)

    def _queue_of(self, port: tc.Port) -> tc.Queued:
        found = tc.qdisc(self._qdiscs(keep=False), port.device, "netem")
        if found is None:
            raise WireError(f"{port}: its netem is gone")
        return tc.queued(found)

    # --- counting ---

    def _qdiscs(self, *, keep: bool) -> list[Mapping[str, Json]]:
        return self._run("tc", ["qdisc show"], keep=keep).json()

    def _drop_counts(self) -> tuple[DropCount, ...]:
        found = []
        if self._rules:
            saved = self._run("sh", [f"{self._iptables}-save -c -t filter"])
            counts = rules.dropped(saved.output)
            missing = [rule.id for rule in self._rules if rule.mark not in counts]
            if missing:
                raise WireError(f"{self._name}: the rules {', '.join(missing)} are gone from the kernel")
            for rule in self._rules:
                if counts[rule.mark] > rule.count:
                    raise WireError(
                        f"{rule.id}: asked to drop {rule.count} packets, dropped {counts[rule.mark]}"
                    )
                found.append(DropCount(rule.id, counts[rule.mark]))
        if self._blocks:
            counts = tc.counted(self._run("tc", ["actions list action gact"], keep=False).json())
            found += [
                DropCount(block.rule, counts.get(block.index, 0) + block.flushed)
                for block in self._blocks.values()
            ]
        return tuple(found)

    def _queue_counts(self) -> tuple[QueueCount, ...]:
        qdiscs = self._qdiscs(keep=False)
        full = self._queues_full()
        found = []
        for port in self._ports.values():
            root = tc.qdisc(qdiscs, port.device, "netem")
            if root is None:
                raise WireError(f"{port}: its netem is gone")
            counts = tc.queued(root)
            shaper = tc.qdisc(qdiscs, port.device, "tbf")
            found.append(
                QueueCount(
                    host=port.host,
                    direction=port.direction,
                    sent_packets=counts.packets,
                    sent_bytes=counts.bytes,
                    dropped=counts.dropped,
                    overlimits=int((shaper or {}).get("overlimits", 0)),
                    queue_full=full.get(port.device, 0),
                )
            )
        return tuple(found)

    def _queues_full(self) -> dict[str, int]:
        full: dict[str, int] = {}
        for hook in ("ingress", "egress"):
            reply = self._run("tc", [f"filter show dev {self.hello.device} {hook}"], keep=False)
            full |= tc.redirected(reply.json())
        return full

    def _overruns(self) -> dict[str, int]:
        """Counters since the kernel started, that grow when the wire loses a packet by itself."""
        found = router.interface_drops(self._run("ip", ["link show"], keep=False).json(), "wire")
        for entry in self._qdiscs(keep=False):
            if entry.get("kind") == "pfifo" and entry.get("root") and (lost := tc.queued(entry).dropped):
                found[f"wire/{entry.get('dev')} queue"] = lost
        full = self._queues_full()
        for port in self._ports.values():
            # A queue that the scenario made short, or slow, is full because it said so.
            asked = self._asked(port)
            if asked.limit is None and asked.rate is None and (lost := full.get(port.device, 0)):
                found[f"wire/{port.device} queue"] = lost
        if self.hello.kind == "uml":
            outside = self._run("out", ["ip -j -s link show"], keep=False).json()
            found |= router.interface_drops(outside, "container")
        return found

    # --- drop rules ---

    def _prepare_drops(self) -> None:
        """Loads what a drop rule needs, once, and chooses the iptables that works here."""
        if self._iptables:
            return
        if self.hello.kind == "uml":
            self._run("sh", ["modprobe -a iptable_filter xt_bpf xt_hashlimit"])
            self._iptables = "iptables-legacy"
            return
        tried = []
        for variant in ("iptables-legacy", "iptables-nft"):
            reply = self._run("sh", [f"{variant}-save -t filter 2>&1"], refused="keep")
            if reply.status == 0:
                self._iptables = variant
                return
            tried.append(f"{variant}: {' '.join(reply.output) or 'failed'}")
        raise WireError(
            f"drop: no iptables works in the machine's kernel: {'; '.join(tried)}",
            hint="load ip_tables and xt_bpf there, or use the wire `uml`",
        )

    # --- helpers ---

    def _run(
        self,
        tool: Tool,
        lines: Sequence[str],
        *,
        keep: bool = True,
        refused: Literal["raise", "keep"] = "raise",
    ) -> Reply:
        deadline = Deadline.after(_PATIENCE, f"{_PATIENCE:.0f} s for one request", self._clock)
        reply = self._console.request(tool, lines, deadline)
        failed = reply.status != 0
        if keep or failed:
            self._commands.append(
                {
                    "program": tool,
                    "input": "\n".join(lines),
                    "status": reply.status,
                    "output": "\n".join(reply.output)[:_KEPT],
                    "duration_ms": round(reply.duration_ms, 3),
                }
            )
        if failed and refused == "raise":
            which = "; ".join(lines[at] for at in reply.failed) or lines[-1]
            raise WireError(
                f"{self._name}: refused ({self.hello.kind}, {self.hello.kernel}): {tool} {which}: "
                + (" ".join(reply.output) or f"status {reply.status}"),
                hint="the result's `wire` holds every command; `lab doctor` says what this machine can do",
            )
        return reply

    def _keep_readback(self, reply: Reply, step: str | None, what: Mapping[str, Json]) -> None:
        self._readback.append({"wall_ns": reply.end_wall_ns, "step": step, **what})

    def _event(self, event: WireEvent, *, begin: int, lines: Sequence[str] = ()) -> None:
        self.events.append(event)

    def _known(self, host: str) -> str:
        hosts = self._need_setup().hosts
        if host not in hosts:
            raise WireError(f"{self._name}: no host {host!r}: they are {', '.join(hosts)}")
        return host

    def _host_at(self, address: object) -> str:
        return next(host for host, (at, _) in self._need_setup().hosts.items() if at == address)

    def _need_setup(self) -> WireSetup:
        if self._setup is None:
            raise WireError(f"{self._name}: not set up yet", hint="call set_up first")
        return self._setup


def _fields(text: str) -> dict[str, str]:
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
