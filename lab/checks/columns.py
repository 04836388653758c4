"""The packets of a check, as indices into the trace's columns: a million packets without objects.

`Journey` objects are made only for the few packets that a finding points at.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

from lab.attachment import WIRE
from lab.checks.common import MAX_REFS, Context, refs
from lab.checks.flows import RULES, Pair
from lab.checks.moments import Window
from lab.evidence.fits import fits
from lab.evidence.journeys import CORRUPTED, LOST, RECEIVED, Journeys
from lab.evidence.marks import RESENT
from lab.evidence.match import NOBODY
from lab.evidence.packets import TCP, Capture, protocol_name
from lab.evidence.trace import Flow, Trace
from lab.scenario.matches import Match
from lab.verdict import PacketRef

_LAST_PROTOCOL = 255  #: of IP; a larger number is an ethertype (ARP)


class Packets:
    """The packets of one direction of a pair, in order of time. IP only."""

    def __init__(self, trace: Trace, numbers: Sequence[int]) -> None:
        self.journeys: Journeys = trace.journeys
        self.numbers = numbers

    @classmethod
    def of(cls, pair: Pair, trace: Trace, context: Context) -> Packets:
        """All packets from source to target; kept in the context for the next check of the same pair."""
        numbers = context.selections.get(pair)
        if numbers is None:
            numbers = context.selections[pair] = array("i", _select(pair, trace))
        return cls(trace, numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def _with(self, numbers: Iterable[int]) -> Packets:
        new = object.__new__(Packets)
        new.journeys, new.numbers = self.journeys, list(numbers)
        return new

    def matching(self, match: Match, *, at_receiver: bool = False) -> Packets:
        """Those that fit a scenario's `match` as they were sent; as they arrived with `at_receiver`, or where
        sending was not seen."""
        if match.word == "any":
            return self
        test = fits(match.value)
        seen = self._arrived() if at_receiver else self._seen()
        return self._with(i for i, capture, position in seen if test(capture, position))

    def of_protocol(self, name: str) -> Packets:
        return self._with(i for i, c, at in self._seen() if protocol_name(c.protocol[at]) == name)

    def _seen(self) -> Iterator[tuple[int, Capture, int]]:
        """(number, capture, position) of each, as sent where that is known."""
        columns = self.journeys
        captures, sent, received = columns.captures, columns.sent, columns.received
        source, target = columns.source, columns.target
        for i in self.numbers:
            position = sent[i]
            capture = captures[source[i]] if position >= 0 else captures[target[i]]
            assert capture is not None
            yield i, capture, position if position >= 0 else received[i]

    def _arrived(self) -> Iterator[tuple[int, Capture, int]]:
        """(number, capture, position) of each that arrived, in the receiver's capture."""
        columns = self.journeys
        for i in self.numbers:
            capture = columns.captures[columns.target[i]] if columns.received[i] >= 0 else None
            if capture is not None:
                yield i, capture, columns.received[i]

    def of_flows(self, flows: Iterable[Flow]) -> Packets:
        numbers, column = {flow.number for flow in flows}, self.journeys.flow
        return self._with(i for i in self.numbers if column[i] in numbers)

    def within(self, window: Window) -> Packets:
        """Those that were sent in the window."""
        if window.whole:
            return self
        times = self.journeys.t_ns
        return self._with(i for i in self.numbers if window.holds(times[i]))

    # --- parts ---

    @property
    def sent(self) -> Packets:
        """Those that were seen to leave."""
        column = self.journeys.sent
        return self._with(i for i in self.numbers if column[i] >= 0)

    @property
    def received(self) -> Packets:
        """Those with at least one copy that arrived."""
        column = self.journeys.received
        return self._with(i for i in self.numbers if column[i] >= 0)

    @property
    def lost(self) -> Packets:
        fate = self.journeys.fate
        return self._with(i for i in self.numbers if fate[i] == LOST)

    @property
    def decided(self) -> Packets:
        """Those that were seen to leave and are known to have arrived or not."""
        columns = self.journeys
        known = (RECEIVED, CORRUPTED, LOST)
        return self._with(i for i in self.numbers if columns.sent[i] >= 0 and columns.fate[i] in known)

    @property
    def taken_by_name(self) -> Packets:
        """Those that a step dropped: by a drop rule, a cut, a partition, a host without power."""
        causes = self.journeys.causes
        return self._with(i for i in self.numbers if i in causes and causes[i].kind in RULES)

    def without(self, others: Packets) -> Packets:
        gone = set(others.numbers)
        return self._with(i for i in self.numbers if i not in gone) if gone else self

    @property
    def sent_again(self) -> Packets:
        """TCP segments that send bytes, a SYN or a FIN again."""
        mark = self.journeys.mark
        return self._with(i for i in self.numbers if mark[i] in RESENT)

    @property
    def reordered(self) -> Packets:
        column = self.journeys.reordered
        return self._with(i for i in self.numbers if column[i])

    @property
    def duplicated(self) -> Packets:
        copies = self.journeys.copies
        return self._with(i for i in self.numbers if i in copies) if copies else self._with(())

    # --- sums ---

    @property
    def copies(self) -> int:
        """Arrivals beyond the first of each."""
        copies = self.journeys.copies
        return sum(len(copies.get(i, ())) for i in self.numbers) if copies else 0

    def delays_ns(self) -> list[tuple[int, int]]:
        """(one-way delay, number) of each that was seen at both ends."""
        columns = self.journeys
        times = [None if capture is None else capture.t_ns for capture in columns.captures]
        delays = []
        for i in self.numbers:
            left, came = columns.sent[i], columns.received[i]
            if left >= 0 and came >= 0:
                at_source, at_target = times[columns.source[i]], times[columns.target[i]]
                assert at_source is not None
                assert at_target is not None
                delays.append((at_target[came] - at_source[left], i))
        return delays

    def series(self) -> list[list[int]]:
        """For each connection, the transmissions of the TCP data segment that was sent most often, the first
        of equals."""
        flow = self.journeys.flow
        counts: dict[int, dict[int, list[int]]] = {}
        for i, capture, position in self._seen():
            if capture.protocol[position] == TCP:
                counts.setdefault(flow[i], {}).setdefault(capture.seq[position], []).append(i)
        return [max(segments.values(), key=len) for segments in counts.values()]

    def refs(self) -> tuple[PacketRef, ...]:
        """Where to look for the first of them."""
        return refs(self.journeys[i] for i in self.numbers[:MAX_REFS])


def _select(pair: Pair, trace: Trace) -> Iterator[int]:
    """The numbers of the journeys of one direction."""
    columns = trace.journeys
    source, target = _number(pair.source.host, columns), _number(pair.target.host, columns)
    chosen: Iterable[int] = range(len(columns))
    if source is not None:
        chosen = [i for i, host in enumerate(columns.source) if host == source]
    if target is not None:
        hosts = columns.target
        chosen = [i for i in chosen if hosts[i] == target]
    sport, dport = pair.source.port, pair.target.port
    for i in chosen:
        capture, position = columns.seen(i)
        if (
            capture.protocol[position] <= _LAST_PROTOCOL
            and (sport is None or capture.sport[position] == sport)
            and (dport is None or capture.dport[position] == dport)
            and pair.source.address in (None, capture.address(capture.source[position]))
            and pair.target.address in (None, capture.address(capture.target[position]))
        ):
            yield i


def _number(host: str | None, columns: Journeys) -> int | None:
    """A host's number in the columns, None for any; an unused number for a host without packets."""
    if host is None:
        return None
    if host == WIRE:
        return NOBODY
    return columns.hosts.index(host) if host in columns.hosts else len(columns.hosts)
