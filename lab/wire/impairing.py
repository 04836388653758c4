"""The wire that impairs: every link, cut, partition and drop is requested, read back and recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from lab.evidence.model import DropCount, QueueCount, WireEvent
from lab.link import DIRECTIONS, Direction, Impairment, Link
from lab.packet_words import PacketMatch
from lab.wire import counting, router, tc
from lab.wire.blocks import Blocks, Reason
from lab.wire.control import Control
from lab.wire.drops import Drops
from lab.wire.router import WireSetup
from lab.wire.wire import Both, Wire, as_asked

Action = Literal["cut", "restore", "power_off", "power_on"]


class ImpairingWire(Wire):
    """tc and iptables in the kernel that has netem: the machine's own or a user-mode Linux."""

    def __init__(self, control: Control, on_event: Callable[[WireEvent], None]) -> None:
        super().__init__(control, on_event)
        self._drops = Drops(control)
        self._ports: dict[tuple[str, Direction], tc.Port] = {}
        self._mtu_tables: set[int] = set()

    def _build(self, setup: WireSetup) -> None:
        device = self.hello.device
        self._ports = {(port.host, port.direction): port for port in setup.ports()}
        self._blocks = Blocks(self._control, setup, self._ports)
        lines = tc.set_up_lines(device, {port: self.links[port.host] for port in self._ports.values()})
        self._control.run("ip", router.set_up_lines(device, setup, self._ports.values()))
        self._control.run("tc", lines)
        self._route_mtu()
        self._confirm_links(self._ports.values(), None)
        for a, b in setup.apart:
            self._blocks.between(a, b, "apart", on=True)
        if setup.apart:
            self._blocks.confirm(None)
            self._tell_apart(setup)
        if setup.drops:
            self._drops.prepare()
        if self.hello.kind == "uml":
            self._control.ask("out", "awake")

    # --- changing ---

    def change(self, host: str, link: Link, step: str | None = None) -> None:
        with self._lock:
            self._known(host)
            before = self.links[host]
            sides = ((side, before.side(side), link.side(side)) for side in DIRECTIONS)
            changed = [(self._ports[host, side], old, new) for side, old, new in sides if old != new]
            self.links[host] = link
            lines = [line for port, old, new in changed for line in tc.link_lines(port, new, before=old)]
            if lines:
                self._control.run("tc", lines)
                self._route_mtu()
            self._confirm_links([port for port, _, _ in changed], step)

    def cut(self, host: str, direction: Both = "both", step: str | None = None) -> None:
        self._cable(host, direction, "cut", step)

    def restore(self, host: str, direction: Both = "both", step: str | None = None) -> None:
        self._cable(host, direction, "restore", step)

    def power(self, host: str, state: Literal["off", "on"], step: str | None = None) -> None:
        self._cable(host, "both", "power_off" if state == "off" else "power_on", step)

    def partition(self, a: str, b: str, step: str | None = None) -> None:
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
        with self._lock:
            hosts = self._known(source, target).hosts
            rule = self._drops.add(hosts[source].address, hosts[target].address, match, count)
            self._tell(
                WireEvent(
                    wall_ns=self._control.clock.wall_ns(),
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
        with self._lock:
            self._known()
            self._read_back(self._ports.values(), None)

    def in_flight(self) -> int:
        return counting.in_flight(self._control)

    def counters(self) -> tuple[tuple[DropCount, ...], tuple[QueueCount, ...]]:
        with self._lock:
            self._known()
            drops = [*self._drops.counts(), *self._blocks.counts()]
            return tuple(drops), tuple(counting.queue_counts(self._control, self._ports.values()))

    # --- helpers ---

    def _asked(self, port: tc.Port) -> Impairment:
        return self.links[port.host].side(port.direction)

    def _confirm_links(self, ports: Iterable[tc.Port], step: str | None) -> None:
        """Emits that these links are as asked, once they are."""
        changed = list(ports)
        wall_ns = self._read_back(changed, step)
        self._tell_links([(port.host, port.direction) for port in changed], wall_ns, step)

    def _read_back(self, ports: Iterable[tc.Port], step: str | None) -> int:
        """Compares the kernel's state with what was asked; keeps it; returns the moment of the reading."""
        qdiscs = self._control.qdiscs()
        wall_ns = self._control.keep_readback(step, {"qdiscs": qdiscs})
        as_asked(
            [
                f"{port}: {difference}"
                for port in ports
                for difference in tc.differences(port, self._asked(port), qdiscs)
            ]
        )
        return wall_ns

    def _route_mtu(self) -> None:
        wanted = router.mtu_routes(self._known(), self.links)
        if not wanted:
            return
        self._control.run("ip", router.mtu_lines(wanted, self.hello.device, self._mtu_tables))
        tables = {
            table: self._control.ask("ip", f"route show table {table}").json() for table in self._mtu_tables
        }
        as_asked(router.mtu_differences(wanted, tables))

    def _cable(self, host: str, direction: Both, action: Action, step: str | None) -> None:
        directions = DIRECTIONS if direction == "both" else (direction,)
        reason: Reason = "cut" if action in ("cut", "restore") else "power"
        with self._lock:
            self._known(host)
            self._blocks.cable(host, directions, reason, on=action in ("cut", "power_off"))
            wall_ns = self._blocks.confirm(step)
            self._tell(WireEvent(wall_ns=wall_ns, action=action, step=step, host=host, direction=direction))

    def _between(self, a: str, b: str, action: Literal["partition", "heal"], step: str | None) -> None:
        with self._lock:
            self._known(a, b)
            self._blocks.between(a, b, "partition", on=action == "partition")
            wall_ns = self._blocks.confirm(step)
            self._tell(WireEvent(wall_ns=wall_ns, action=action, step=step, between=(a, b)))

    def _overruns(self) -> dict[str, int]:
        """Overruns of the interfaces, and of the queues whose length the lab chose.

        A queue that the scenario made short or slow may well be full.
        """
        own = [
            port
            for port in self._ports.values()
            if self._asked(port).limit is None and self._asked(port).rate is None
        ]
        return super()._overruns() | counting.queue_losses(self._control, own)
