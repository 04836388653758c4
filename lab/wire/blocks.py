"""Cuts and partitions: filters that drop and count, and the queue of a link, emptied when it is cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lab.errors import WireError
from lab.evidence.model import DropCount
from lab.link import Direction
from lab.wire import tc
from lab.wire.control import Control
from lab.wire.router import WireSetup

Reason = Literal["cut", "power", "partition", "apart"]


@dataclass
class _Block:
    """One direction that is or was blocked: a filter while it is on, a counter forever."""

    rule: str
    index: int
    hook: str
    prio: int
    match: str
    reasons: set[Reason] = field(default_factory=set)  #: why it is on
    flushed: int = 0  #: packets on the link when it was cut


class Blocks:
    """Switches filters and confirms them with the kernel.

    A cut is at the host's own port: packets waiting on the link are lost. A partition is in the middle of the
    network: packets past it arrive.
    """

    def __init__(
        self, control: Control, setup: WireSetup, ports: Mapping[tuple[str, Direction], tc.Port]
    ) -> None:
        self._control = control
        self._ports = ports
        self._addresses = {host: place.address for host, place in setup.hosts.items()}
        self._blocks: dict[str, _Block] = {}
        self._given: Counter[int] = Counter()  #: priorities, by the start of their range

    def cable(self, host: str, directions: tuple[Direction, ...], reason: Reason, *, on: bool) -> None:
        fresh = []
        for direction in directions:
            port = self._ports[host, direction]
            block = self._block(f"cut:{host}:{direction}", port.hook, tc.PRIO_CUT, port.match)
            if self._switch(block, reason, on=on) and on:
                fresh.append((block, port))
        for block, port in fresh:  # only once the filters are on: nothing comes in any more
            block.flushed += self._flush(port)

    def between(self, a: str, b: str, reason: Literal["partition", "apart"], *, on: bool) -> None:
        """Stops what passes between two hosts; `apart` is for good, whatever partitions come and go."""
        for source, target in ((a, b), (b, a)):
            match = tc.between(self._addresses[source], self._addresses[target])
            block = self._block(f"{reason}:{source}:{target}", "egress", tc.PRIO_PARTITION, match)
            self._switch(block, reason, on=on)

    def confirm(self, step: str | None) -> int:
        """Reads back which filters drop; returns the moment of the reading, in ns of wall-clock time."""
        found = {hook: self._control.filters(hook) for hook in ("ingress", "egress")}
        now = self._control.keep_readback(step, {"filters": found})
        indexes = {hook: tc.filter_indexes(filters) for hook, filters in found.items()}
        for block in self._blocks.values():
            there = indexes[block.hook].get(block.prio) == block.index
            if there != bool(block.reasons):
                asked, got = ("on", "off") if block.reasons else ("off", "on")
                raise WireError(f"{block.rule} is not as asked: asked {asked}, got {got}")
        return now

    def counts(self) -> list[DropCount]:
        if not self._blocks:
            return []
        counted = tc.counted(self._control.ask("tc", "actions list action gact").json())
        missing = [block.rule for block in self._blocks.values() if block.index not in counted]
        if missing:
            raise WireError(f"{self._control.name}: the counters of {', '.join(missing)} are gone")
        return [
            DropCount(block.rule, counted[block.index] + block.flushed) for block in self._blocks.values()
        ]

    def _block(self, rule: str, hook: str, first: int, match: str) -> _Block:
        """The rule, created at its first use; its priority is the next in the range from `first`."""
        if rule not in self._blocks:
            prio = first + self._given[first]
            if prio == tc.END_OF_RANGE[first]:
                raise WireError(f"{self._control.name}: {rule}: too many cuts or partitions for one wire")
            self._given[first] += 1
            block = _Block(rule, tc.FIRST_COUNTER + len(self._blocks), hook, prio, match)
            self._control.run("tc", [tc.counter_line(block.index)])
            self._blocks[rule] = block
        return self._blocks[rule]

    def _switch(self, block: _Block, reason: Reason, *, on: bool) -> bool:
        """Whether this changed anything: a second reason to be cut changes nothing."""
        before = bool(block.reasons)
        (block.reasons.add if on else block.reasons.discard)(reason)
        if before == bool(block.reasons):
            return False
        device = self._control.hello.device
        if on:
            line = tc.drop_filter(device, block.hook, block.prio, block.match, block.index)
        else:
            line = tc.delete_filter(device, block.hook, block.prio)
        self._control.run("tc", [line])
        return True

    def _flush(self, port: tc.Port) -> int:
        """Drops and counts the packets waiting on a link: a device that goes down empties its queue."""
        before = self._queue(port)
        self._control.run("ip", [f"link set {port.device} down", f"link set {port.device} up"])
        after = self._queue(port)
        # Nothing came in meanwhile; some packets may have left in time.
        return max(0, before.waiting - (after.packets - before.packets) - after.waiting)

    def _queue(self, port: tc.Port) -> tc.Queued:
        found = tc.qdisc(self._control.qdiscs(), port.device, "netem")
        if found is None:
            raise WireError(f"{port}: its netem is gone")
        return tc.queued(found)
