"""The wire of one case: every link, cut, partition and drop, each asked for, read back and recorded."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from lab.clock import SYSTEM_CLOCK, Clock, Deadline
from lab.engine.base import Stream
from lab.errors import WireError
from lab.evidence.model import DropCount, QueueCount, WireEvent, WireFacts
from lab.link import Direction, Impairment, Link
from lab.packet_words import PacketMatch
from lab.wire import counting, router, tc
from lab.wire.blocks import Blocks
from lab.wire.console import Console
from lab.wire.drops import Drops
from lab.wire.router import WireSetup
from lab.wire.session import Hello, Session

Both = Literal["up", "down", "both"]


@dataclass
class _Router:
    """What a wire has from its set-up on."""

    setup: WireSetup
    ports: dict[tuple[str, Direction], tc.Port]
    links: dict[str, Link]  #: as they are now
    blocks: Blocks
    mtu_tables: set[int]
    lost_before: dict[str, int]  #: overruns while it came up

    def asked(self, port: tc.Port) -> Impairment:
        link = self.links[port.host]
        return link.up if port.direction == "up" else link.down


class Wire:
    """The wire, over the stream of its container. Thread-safe.

    Whatever could not be applied exactly as asked raises `WireError` naming the link, what was asked and what
    the kernel says it has. An event's moment is on the clock of the lab's machine, when the read-back is
    there: 1 to 5 ms after the request was written, a cut 10 to 20 ms.
    """

    def __init__(self, stream: Stream, name: str = "wire", *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._session = Session(Console(stream, name, clock), name, clock)
        self._drops = Drops(self._session)
        self._lock = threading.RLock()
        self._broken = False  #: a link is not as asked, and that was said
        self._router: _Router | None = None
        self.events: list[WireEvent] = []

    # --- coming up ---

    def wait_ready(self, timeout: float) -> Hello:
        """Waits until the chosen kernel runs and its tools listen.

        Raises `WireError` with the reason where no kernel here can impair.
        """
        name = self._session.name
        return self._session.greet(
            Deadline.after(timeout, f"{name}: {timeout:.0f} s to get ready", self._session.clock)
        )

    @property
    def hello(self) -> Hello:
        return self._session.hello

    def set_up(self, setup: WireSetup) -> None:
        """Addresses, devices, filters and every link as configured; read back.

        A wire that only routes takes no link that impairs.
        """
        with self._lock:
            device = self.hello.device
            ports = {(port.host, port.direction): port for port in setup.ports()}
            self._router = _Router(
                setup=setup,
                ports=ports,
                links={host: setup.links.get(host, Link()) for host in setup.hosts},
                blocks=Blocks(self._session, setup, ports),
                mtu_tables=set(),
                lost_before={},
            )
            if self.hello.router:
                self._only_route(setup)
                return
            lines = tc.interface_lines(device)
            for port in ports.values():
                lines += tc.link_lines(port, self._router.asked(port))
                lines.append(tc.port_filter(device, port))
            self._session.run("ip", router.set_up_lines(device, setup, ports.values()))
            self._session.run("tc", lines)
            self._route_mtu()
            self._confirm_links(ports.values(), None)
            if setup.drops:
                self._drops.prepare()
            if self.hello.kind == "uml":
                self._session.ask("out", "awake")
            self._router.lost_before = self._overruns()

    def _only_route(self, setup: WireSetup) -> None:
        now = self._known()
        if setup.drops or any(link != Link() for link in now.links.values()):
            raise self._cannot_impair()
        self._session.run("ip", router.set_up_lines(self.hello.device, setup, ()))
        text = " ".join(shlex.quote(line) for line in router.forward_lines(setup))
        self._session.run("sh", [f"printf '%s\\n' {text} | {self.hello.router}-restore --noflush 2>&1"])
        self._confirm_links(now.ports.values(), None)
        now.lost_before = self._overruns()

    # --- changing ---

    def change(self, host: str, link: Link, step: str | None = None) -> None:
        """The host's link is `link` from now on, all of it (already merged). What is queued stays."""
        with self._lock:
            now = self._impairing(host)
            before = now.links[host]
            sides: list[tuple[Direction, Impairment, Impairment]] = [
                ("up", before.up, link.up),
                ("down", before.down, link.down),
            ]
            changed = [(now.ports[host, side], old, new) for side, old, new in sides if old != new]
            now.links[host] = link
            self._broken = True  # until it holds
            lines = [line for port, old, new in changed for line in tc.link_lines(port, new, before=old)]
            if lines:
                self._session.run("tc", lines)
                self._route_mtu()
            self._confirm_links([port for port, _, _ in changed], step)
            self._broken = False

    def cut(self, host: str, direction: Both = "both", step: str | None = None) -> None:
        """The cable of a host: nothing passes, what was on it is lost. Silent: no ICMP, no carrier change."""
        self._cable(host, direction, "cut", step)

    def restore(self, host: str, direction: Both = "both", step: str | None = None) -> None:
        """The end of `cut`. A host without power stays cut off."""
        self._cable(host, direction, "restore", step)

    def power(self, host: str, state: Literal["off", "on"], step: str | None = None) -> None:
        """Cuts a host off while it has no power, apart from what `cut` does."""
        self._cable(host, "both", "power_off" if state == "off" else "power_on", step)

    def partition(self, a: str, b: str, step: str | None = None) -> None:
        """Nothing passes between two hosts, in the middle of the network: what is past the middle arrives."""
        self._between(a, b, "partition", step)

    def heal(self, a: str, b: str, step: str | None = None) -> None:
        self._between(a, b, "heal", step)

    def drop(
        self,
        source: str,
        target: str,
        match: PacketMatch | Sequence[str],
        count: int,
        step: str | None = None,
    ) -> str:
        """Drops exactly the next `count` packets from source to target that match; the rule's id.

        Next: of those that reach the wire after this. They are counted and dropped behind the source's `up`
        and before the target's `down`, so a packet that `up` loses does not count.
        """
        with self._lock:
            hosts = self._impairing(source, target).setup.hosts
            rule = self._drops.add(hosts[source][0], hosts[target][0], match, count)
            self.events.append(
                WireEvent(
                    wall_ns=self._session.clock.wall_ns(),
                    action="drop",
                    step=step,
                    rule=rule.id,
                    source=source,
                    target=target,
                    match=rule.match,
                    count=count,
                )
            )
            return rule.id

    # --- asking ---

    def confirm(self) -> None:
        """Reads every link back once more. Raises `WireError` where one is no longer as asked."""
        with self._lock:
            self._read_back(self._known().ports.values(), None)

    def in_flight(self) -> int:
        """Packets that wait in the queues of all links now."""
        return counting.in_flight(self._session)

    def counters(self) -> tuple[tuple[DropCount, ...], tuple[QueueCount, ...]]:
        """What drop rules, cuts and partitions dropped, and what each direction of each link did, so far."""
        with self._lock:
            now = self._known()
            drops = [*self._drops.counts(), *now.blocks.counts()]
            return tuple(drops), tuple(counting.queue_counts(self._session, now.ports.values()))

    def overruns(self) -> dict[str, int]:
        """Packets that an interface or a queue of the wire lost unasked since it was set up, by where.

        Empty: none, so every packet that is missing was dropped because the scenario said so.
        """
        with self._lock:
            before = self._known().lost_before
            return {
                where: lost - before.get(where, 0)
                for where, lost in self._overruns().items()
                if lost > before.get(where, 0)
            }

    def facts(self) -> WireFacts:
        """All of it for the result, with the counters as they are now. See `confirm` for a last look."""
        with self._lock:
            setup = self._known().setup
            drops, queues = self.counters()
            overruns = self.overruns()
            return WireFacts(
                kind=self.hello.kind,
                reason=self.hello.reason,
                kernel=self.hello.kernel,
                address=str(setup.address),
                mac=setup.mac,
                readback=tuple(self._session.readback),
                drops=drops,
                queues=queues,
                commands=tuple(self._session.commands),
                overruns=overruns,
            )

    def close(self) -> None:
        """Ends the wire. May be called twice."""
        self._session.console.close()

    # --- helpers ---

    def _confirm_links(self, ports: Iterable[tc.Port], step: str | None) -> None:
        """Says that these links are as asked, once they are."""
        now = self._known()
        changed = list(ports)
        wall_ns = self._read_back(changed, step)
        self.events += [
            WireEvent(
                wall_ns=wall_ns,
                action="link",
                step=step,
                host=port.host,
                direction=port.direction,
                impairment=now.asked(port),
            )
            for port in changed
        ]

    def _read_back(self, ports: Iterable[tc.Port], step: str | None) -> int:
        """Holds what the kernel has against what was asked, and keeps it; the moment at which it was so."""
        now = self._known()
        qdiscs = self._session.qdiscs()
        wall_ns = self._session.clock.wall_ns()
        self._session.keep_readback(wall_ns, step, {"qdiscs": qdiscs})
        if self.hello.router:
            _as_asked(tc.impairing(qdiscs))
        else:
            _as_asked(
                [
                    f"{port}: {difference}"
                    for port in ports
                    for difference in tc.differences(port, now.asked(port), qdiscs)
                ]
            )
        return wall_ns

    def _route_mtu(self) -> None:
        now = self._known()
        wanted = router.mtu_routes(now.setup, now.links)
        if not wanted:
            return
        lines = []
        for route in wanted:
            lines += route.lines(self.hello.device, now.mtu_tables)
            now.mtu_tables.add(route.table)
        self._session.run("ip", lines)
        tables = {
            table: self._session.ask("ip", f"route show table {table}").json() for table in now.mtu_tables
        }
        _as_asked(router.mtu_differences(wanted, tables))

    def _cable(
        self,
        host: str,
        direction: Both,
        action: Literal["cut", "restore", "power_off", "power_on"],
        step: str | None,
    ) -> None:
        directions: tuple[Direction, ...] = ("up", "down") if direction == "both" else (direction,)
        with self._lock:
            blocks = self._impairing(host).blocks
            reason: Literal["cut", "power"] = "cut" if action in ("cut", "restore") else "power"
            blocks.cable(host, directions, reason, on=action in ("cut", "power_off"))
            wall_ns = blocks.confirm(step)
            self.events.append(
                WireEvent(wall_ns=wall_ns, action=action, step=step, host=host, direction=direction)
            )

    def _between(self, a: str, b: str, action: Literal["partition", "heal"], step: str | None) -> None:
        with self._lock:
            blocks = self._impairing(a, b).blocks
            blocks.between(a, b, on=action == "partition")
            wall_ns = blocks.confirm(step)
            self.events.append(WireEvent(wall_ns=wall_ns, action=action, step=step, between=(a, b)))

    def _overruns(self) -> dict[str, int]:
        now = self._known()
        return counting.overruns(self._session, now.ports.values(), now.asked)

    def _impairing(self, *hosts: str) -> _Router:
        """The router, which has links that can be changed, and knows these hosts."""
        now = self._known(*hosts)
        if self.hello.router:
            raise self._cannot_impair()
        return now

    def _cannot_impair(self) -> WireError:
        return WireError(
            f"{self._session.name}: it was started for a case that impairs nothing, and only routes",
            hint="run with --wire kernel or --wire uml, and report this: the lab should have known",
        )

    def _known(self, *hosts: str) -> _Router:
        """The router, which is set up and knows these hosts."""
        if self._router is None:
            raise WireError(f"{self._session.name}: not set up yet", hint="call set_up first")
        for host in hosts:
            if host not in self._router.setup.hosts:
                known = ", ".join(self._router.setup.hosts)
                raise WireError(f"{self._session.name}: no host {host!r}: they are {known}")
        return self._router


def _as_asked(differences: Sequence[str]) -> None:
    if differences:
        raise WireError(
            "the link is not as asked: " + "; ".join(differences),
            hint="the kernel that impairs (see the result's `wire`) does something else with this option",
        )
