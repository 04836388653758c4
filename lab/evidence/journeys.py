"""All journeys of a trace as columns, in order of time; `Journey` objects are made from them on demand."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

from lab.attachment import WIRE
from lab.evidence.marks import MARKS, Marks
from lab.evidence.match import NOBODY, Matching
from lab.evidence.packets import Capture, Packet
from lab.evidence.types import Cause, Fate, Journey

FATES = tuple(Fate)
RECEIVED, CORRUPTED, LOST, IN_FLIGHT, UNKNOWN = range(len(FATES))


@dataclass(eq=False)
class Journeys(Sequence[Journey]):
    """One entry for each journey. Hosts are indices into `hosts`, NOBODY is the wire or an outside address;
    packets are positions in the capture of their host, or -1."""

    hosts: tuple[str, ...]
    captures: tuple[Capture | None, ...]  #: by number of the host
    source: array[int] = field(default_factory=lambda: array("h"), repr=False)
    target: array[int] = field(default_factory=lambda: array("h"), repr=False)
    sent: array[int] = field(default_factory=lambda: array("i"), repr=False)
    received: array[int] = field(default_factory=lambda: array("i"), repr=False)
    t_ns: array[int] = field(default_factory=lambda: array("q"), repr=False)  #: sent, otherwise received
    fate: bytearray = field(default_factory=bytearray, repr=False)  #: index into FATES
    reordered: bytearray = field(default_factory=bytearray, repr=False)
    mark: bytearray = field(default_factory=bytearray, repr=False)  #: index into MARKS
    flow: array[int] = field(default_factory=lambda: array("i"), repr=False)
    copies: dict[int, list[int]] = field(default_factory=dict, repr=False)
    resends: dict[int, int] = field(default_factory=dict, repr=False)  #: journey → journey sent again
    causes: dict[int, Cause] = field(default_factory=dict, repr=False)
    discards: Mapping[int, Cause] = field(default_factory=dict, repr=False)  #: discarded on arrival

    def __len__(self) -> int:
        return len(self.t_ns)

    @overload
    def __getitem__(self, index: int) -> Journey: ...
    @overload
    def __getitem__(self, index: slice) -> list[Journey]: ...
    def __getitem__(self, index: int | slice) -> Journey | list[Journey]:
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"journey {index} of {len(self)}")
        return self._make(index)

    def __iter__(self) -> Iterator[Journey]:
        return map(self._make, range(len(self)))

    def _make(self, i: int) -> Journey:
        source, target = self.source[i], self.target[i]
        sent_at, received_at = self.sent[i], self.received[i]
        # a position is -1 if there is no host or it has no capture
        sent: Packet | None = self.captures[source].packet(sent_at) if sent_at >= 0 else None  # type: ignore[union-attr]
        received: Packet | None = None
        if received_at >= 0:
            received = self.captures[target].packet(received_at)  # type: ignore[union-attr]
        copies = self.copies.get(i)
        flow = self.flow[i]
        return Journey(
            i,
            self.hosts[source] if source >= 0 else WIRE,
            self.hosts[target] if target >= 0 else WIRE,
            sent,
            received,
            tuple(map(received.capture.packet, copies)) if copies and received is not None else (),
            FATES[self.fate[i]],
            bool(self.reordered[i]),
            self.causes.get(i),
            flow if flow >= 0 else None,
            MARKS[self.mark[i]],
            self.resends.get(i),
            self.discards.get(i),
        )

    def seen(self, i: int) -> tuple[Capture, int]:
        """The best capture and position for journey `i`: as sent if that is known."""
        if self.sent[i] >= 0:
            capture, position = self.captures[self.source[i]], self.sent[i]
        else:
            capture, position = self.captures[self.target[i]], self.received[i]
        assert capture is not None
        return capture, position


def build(matching: Matching, captures: Mapping[str, Capture], marks: Mapping[str, Marks]) -> Journeys:
    """Build columns from the matched paths; causes of losses and flows are not filled in yet."""
    held = tuple(captures.get(name) for name in matching.hosts)
    rough = Journeys(matching.hosts, held)
    _add_paths(rough, matching)
    for outside, positions in matching.outside.items():
        _add(rough, outside, NOBODY, positions, [-1] * len(positions))
    for inside, positions in matching.inside.items():
        _add(rough, NOBODY, inside, [-1] * len(positions), positions)
    result = _in_order(rough)
    _mark(result, marks)
    result.flow = array("i", [-1]) * len(result)
    return result


def _add(rough: Journeys, source: int, target: int, sent: Sequence[int], received: Sequence[int]) -> None:
    count = len(sent)
    sender = rough.captures[source] if source >= 0 else None
    receiver = rough.captures[target] if target >= 0 else None
    rough.source.extend([source] * count)
    rough.target.extend([target] * count)
    rough.sent.extend(sent)
    rough.received.extend(received)
    rough.t_ns.extend(
        sender.t_ns[s] if s >= 0 and sender is not None else receiver.t_ns[r] if receiver is not None else 0
        for s, r in zip(sent, received, strict=True)
    )
    judged = sender is not None and receiver is not None
    rough.fate.extend(
        (RECEIVED if r >= 0 else LOST) if judged and s >= 0 else UNKNOWN
        for s, r in zip(sent, received, strict=True)
    )
    rough.reordered.extend(bytes(count))


def _add_paths(rough: Journeys, matching: Matching) -> None:
    for path in matching.paths:
        first = len(rough.t_ns)
        _add(rough, path.source, path.target, path.sent, path.arrival)
        for order in path.reordered:
            rough.reordered[first + order] = 1
        for order in path.corrupted:
            rough.fate[first + order] = CORRUPTED
        for order, positions in path.copies.items():
            rough.copies[first + order] = positions
        if path.stray:
            _add(rough, path.source, path.target, [-1] * len(path.stray), path.stray)


def _in_order(rough: Journeys) -> Journeys:
    """The same, sorted by time."""
    order = sorted(range(len(rough)), key=rough.t_ns.__getitem__)
    place = array("i", bytes(4 * len(order)))
    for new, old in enumerate(order):
        place[old] = new
    return Journeys(
        hosts=rough.hosts,
        captures=rough.captures,
        source=array("h", map(rough.source.__getitem__, order)),
        target=array("h", map(rough.target.__getitem__, order)),
        sent=array("i", map(rough.sent.__getitem__, order)),
        received=array("i", map(rough.received.__getitem__, order)),
        t_ns=array("q", map(rough.t_ns.__getitem__, order)),
        fate=bytearray(map(rough.fate.__getitem__, order)),
        reordered=bytearray(map(rough.reordered.__getitem__, order)),
        copies={place[old]: positions for old, positions in rough.copies.items()},
    )


def _mark(result: Journeys, marks: Mapping[str, Marks]) -> None:
    """Take the marks from the sender's capture, or from the target's if the sender has none."""
    by_host = [marks.get(name) for name in result.hosts]
    numbers: list[dict[int, int]] = [{} for _ in result.hosts]  # position in the sender's capture → journey
    wanted = [set(m.resends.values()) if m is not None else set() for m in by_host]
    found = bytearray(len(result))
    resenders: list[tuple[int, int, int]] = []
    for i, (source, target, sent, received) in enumerate(
        zip(result.source, result.target, result.sent, result.received, strict=True)
    ):
        if sent >= 0:
            own = by_host[source]
            if own is not None:
                found[i] = own.truth[sent]
                if sent in wanted[source]:
                    numbers[source][sent] = i
                if sent in own.resends:
                    resenders.append((i, source, own.resends[sent]))
        elif received >= 0 and target >= 0:
            theirs = by_host[target]
            if theirs is not None:
                found[i] = theirs.wireshark[received]
    result.mark = found
    for i, source, original in resenders:
        if original in numbers[source]:
            result.resends[i] = numbers[source][original]
