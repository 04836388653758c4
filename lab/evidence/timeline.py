"""The state of the wire over time, from its events: impairments, cuts, partitions, power.

An event's time is the end of the change, which may have taken effect at any time since its step began. So a
band that could have dropped a packet is taken as wide as possible.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping

from msgspec import Struct

from lab.evidence.model import Records, WireEvent
from lab.link import DIRECTIONS, UNIMPAIRED, Direction, Impairment, Link, one_way_delay, round_trip
from lab.units import Duration

EVER = (1 << 63) - 1
_BEFORE_NS = 500_000_000  #: how long a change can have taken if its step is not recorded
_JITTER = {None: 1, "uniform": 1, "normal": 4, "pareto": 8, "paretonormal": 6}
"""The largest deviation of a delay, in multiples of the jitter: the ends of netem's tables."""


class Band(Struct, frozen=True):
    """A time in which something was in force, as wide as possible. `what` is the event that began it."""

    begin_ns: int
    end_ns: int
    what: WireEvent


class Hold(Struct, frozen=True):
    """One direction of one link from `begin_ns` on, certainly in force from `sure_ns` on."""

    begin_ns: int
    sure_ns: int
    impairment: Impairment
    step: str | None


def longest_ns(*sides: Impairment) -> int:
    """The longest delay that these, in series, give a packet without queueing."""
    total = 0
    for side in sides:
        jitter = 0 if side.jitter is None else side.jitter.ns * _JITTER[side.distribution]
        total += (0 if side.delay is None else side.delay.ns) + jitter
    return total


class Timeline:
    """The state of the wire at any time. All times are of the wall clock of the lab's machine.

    `links` are those before the first step; `starts` has the start of each step that changed something.
    """

    def __init__(
        self, links: Mapping[str, Link], events: Iterable[WireEvent], starts: Mapping[str, int] | None = None
    ) -> None:
        began = starts or {}
        self.cuts: dict[tuple[str, Direction], list[Band]] = defaultdict(list)
        self.partitions: dict[frozenset[str], list[Band]] = defaultdict(list)
        self.apart: set[frozenset[str]] = set()  #: hosts that share no network
        self.off: dict[str, list[Band]] = defaultdict(list)
        self.drops: list[Band] = []
        self._holds: dict[tuple[str, Direction], list[Hold]] = {}
        for name, link in links.items():
            self._holds[name, "up"] = [Hold(0, 0, link.up, None)]
            self._holds[name, "down"] = [Hold(0, 0, link.down, None)]
        for event in sorted(events, key=lambda e: e.wall_ns):
            self._take(event, began.get(event.step or "", event.wall_ns - _BEFORE_NS))
        self._times = {key: [hold.begin_ns for hold in holds] for key, holds in self._holds.items()}

    @classmethod
    def of(cls, records: Records) -> Timeline:
        return cls(
            {name: facts.link for name, facts in records.hosts.items()},
            records.wire_events,
            {step.step: step.start_wall_ns for step in records.steps},
        )

    def link(self, host: str, at_ns: int) -> Link | None:
        """A host's link that was certainly in force at a time; None if it is not a host with a link."""
        if (host, "up") not in self._holds:
            return None
        ways = (self._holds.get((host, way), ()) for way in DIRECTIONS)
        up, down = ([hold for hold in holds if hold.sure_ns <= at_ns] for holds in ways)
        return Link(up[-1].impairment, down[-1].impairment) if up and down else None

    def rtt(self, a: str | None, b: str | None, at_ns: int) -> Duration | None:
        """`1rtt`: the configured round trip of two hosts at a time; None if one is not a host."""
        one, other = (None if host is None else self.link(host, at_ns) for host in (a, b))
        return None if one is None or other is None else round_trip(one, other)

    def one_way(self, source: str | None, target: str | None, at_ns: int) -> Duration | None:
        """The configured delay from one host to another at a time."""
        one, other = (None if host is None else self.link(host, at_ns) for host in (source, target))
        return None if one is None or other is None else one_way_delay(one, other)

    def _take(self, event: WireEvent, begin: int) -> None:
        begin = min(begin, event.wall_ns)
        if event.action == "link" and event.host is not None and event.impairment is not None:
            for direction in _directions(event.direction):
                holds = self._holds.setdefault((event.host, direction), [Hold(0, 0, UNIMPAIRED, None)])
                if event.step is None:
                    holds[:] = [Hold(0, 0, event.impairment, None)]  # so from before the first packet
                else:
                    begin = max(begin, holds[-1].sure_ns)
                    holds.append(Hold(begin, event.wall_ns, event.impairment, event.step))
        elif event.action in ("cut", "restore") and event.host is not None:
            for direction in _directions(event.direction):
                _switch(self.cuts[event.host, direction], event, begin, on=event.action == "cut")
        elif event.action in ("partition", "heal") and event.between is not None:
            _switch(self.partitions[frozenset(event.between)], event, begin, on=event.action == "partition")
        elif event.action == "apart" and event.between is not None:
            self.apart.add(frozenset(event.between))
        elif event.action in ("power_off", "power_on") and event.host is not None:
            _switch(self.off[event.host], event, begin, on=event.action == "power_off")
        elif event.action == "drop":
            self.drops.append(Band(begin, EVER, event))

    def hold(self, host: str, direction: Direction, at_ns: int) -> Hold:
        """The configuration of one direction of a host's link at a time."""
        key = (host, direction)
        times = self._times.get(key)
        if not times:
            return Hold(0, 0, UNIMPAIRED, None)
        return self._holds[key][max(0, bisect_right(times, at_ns) - 1)]

    def holds(self, host: str, direction: Direction) -> Iterable[Hold]:
        """All configurations of one direction of a host's link, in order."""
        return self._holds.get((host, direction), ())

    def around(self, host: str, direction: Direction, begin_ns: int, end_ns: int) -> list[Impairment]:
        """All that may have been in force at some time in between: a change takes a while to take effect."""
        key = (host, direction)
        times = self._times.get(key)
        if not times:
            return [UNIMPAIRED]
        holds = self._holds[key]
        last = max(0, bisect_right(times, end_ns) - 1)
        first = max(0, bisect_right(times, begin_ns) - 1)
        while first > 0 and holds[first].sure_ns > begin_ns:
            first -= 1
        return [hold.impairment for hold in holds[first : last + 1]]


def _directions(direction: str | None) -> tuple[Direction, ...]:
    if direction == "up":
        return ("up",)
    return ("down",) if direction == "down" else DIRECTIONS


def _switch(bands: list[Band], event: WireEvent, begin: int, *, on: bool) -> None:
    if on:
        bands.append(Band(begin, EVER, event))
    elif bands and bands[-1].end_ns == EVER:
        bands[-1] = Band(bands[-1].begin_ns, event.wall_ns, bands[-1].what)


def overlapping(bands: Iterable[Band], begin_ns: int, end_ns: int) -> Band | None:
    """The first band that overlaps a time."""
    return next((b for b in bands if b.begin_ns <= end_ns and b.end_ns >= begin_ns), None)
