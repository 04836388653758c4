"""Matching: which packet in one host's capture is which in another's.

A packet is the same in both if the whole IP packet less TTL and header checksum is (`Capture.digest`): that
also holds where the IP id is 0 (SYN-ACK, RST). Twins, packets that are equal to the last bit, are paired in
order; if fewer arrived than were sent, those are taken to be lost whose delay would fit worst.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from msgspec import Struct

from lab.evidence.model import HostFacts
from lab.evidence.packets import RESERVED, ROW, Capture
from lab.link import one_way_delay
from lab.stats import median

NOBODY = -1  #: number of a host that is none: the wire itself, or an address outside
_CANDIDATES = 64  #: packets looked at to find of which one a broken packet is a copy
_SAMPLE = 1001  #: delays of unique packets that tell what is usual on a path


@dataclass
class Path:
    """All packets from one host to another. Columns are by order of sending."""

    source: int  #: number of the host
    target: int
    sent: list[int]  #: positions in the source's capture
    arrival: list[int]  #: position of the first arrival in the target's capture, or -1
    copies: dict[int, list[int]] = field(default_factory=dict)  #: order of sending → later arrivals
    corrupted: set[int] = field(default_factory=set)  #: orders of sending
    reordered: set[int] = field(default_factory=set)  #: orders of sending
    stray: list[int] = field(default_factory=list)  #: arrived but not seen to be sent


@dataclass
class Matching:
    """What all captures together say."""

    hosts: tuple[str, ...]
    numbers: dict[str, int]  #: address as text → position in `hosts`
    paths: list[Path]
    outside: dict[int, list[int]]  #: host → positions it sent to an address that is no other host's
    inside: dict[int, list[int]]  #: host → positions it received from an address that is no host's


def match(captures: Mapping[str, Capture], facts: Mapping[str, HostFacts]) -> Matching:
    """Matches all captures with one another."""
    names = (*facts, *(name for name in captures if name not in facts))
    sorters = {
        i: _Sorter(i, captures[name], facts.get(name)) for i, name in enumerate(names) if name in captures
    }
    numbers = {
        str(address): i
        for i, host in enumerate(facts.values())
        for place in host.attachments
        for address in place.addresses.values()
    }
    for i, sorter in sorters.items():
        for address in sorter.own_addresses():
            numbers.setdefault(address, i)
    sides = {i: sorter.sort(numbers) for i, sorter in sorters.items()}
    paths: list[Path] = []
    for source, target in ((a, b) for a in range(len(names)) for b in range(len(names)) if a != b):
        sent = sides[source].sent.get(target, []) if source in sides else []
        received = sides[target].received.get(source, []) if target in sides else []
        if not sent and not received:
            continue
        path = Path(source, target, sent, [-1] * len(sent))
        if source in sides and target in sides:
            known = names[source] in facts and names[target] in facts
            delay = one_way_delay(facts[names[source]].link, facts[names[target]].link).ns if known else 0
            _match_path(path, captures[names[source]], captures[names[target]], received, delay)
        else:
            path.stray = received
        paths.append(path)
    return Matching(
        hosts=names,
        numbers=numbers,
        paths=paths,
        outside={i: side.sent[NOBODY] for i, side in sides.items() if NOBODY in side.sent},
        inside={i: side.received[NOBODY] for i, side in sides.items() if NOBODY in side.received},
    )


class _Sorter:
    """Sorts one capture's packets by who sent them to whom."""

    def __init__(self, own: int, capture: Capture, facts: HostFacts | None) -> None:
        self._own = own
        self._capture = capture
        self._mac = bytes(int(part, 16) for part in facts.mac.split(":")) if facts and facts.mac else b""
        self._groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for position, ends in enumerate(zip(capture.source, capture.target, strict=True)):
            self._groups[ends].append(position)

    def own_addresses(self) -> list[str]:
        """The IPv6 addresses from which frames of the host's own MAC came."""
        found = {
            self._capture.address(source)
            for (source, _), positions in self._groups.items()
            if source >= RESERVED
            and self._capture.protocol[positions[0]] < 256
            and self._from_own_mac(positions[0])
        }
        return [address for address in found if ":" in address and address != "::"]

    def _from_own_mac(self, position: int) -> bool:
        at = position * ROW + 8
        return bool(self._mac) and self._capture.rows[at : at + 6] == self._mac

    def sort(self, numbers: Mapping[str, int]) -> _Sides:
        side = _Sides(defaultdict(list), defaultdict(list))
        for (source, target), positions in self._groups.items():
            sender = numbers.get(self._capture.address(source), NOBODY)
            receiver = numbers.get(self._capture.address(target), NOBODY)
            if sender == self._own or (sender == NOBODY and self._from_own_mac(positions[0])):
                # An ARP announcement names its sender's own address as its target: it is for all.
                side.sent[NOBODY if receiver == self._own else receiver].extend(positions)
            elif receiver == self._own or (sender == NOBODY and receiver == NOBODY):
                mine = self._for_own_mac(positions)
                if mine:
                    side.received[sender].extend(mine)
        for lists in (side.sent, side.received):
            for positions in lists.values():
                positions.sort()
        return side

    def _for_own_mac(self, positions: list[int]) -> list[int]:
        """Less what a bridge flooded: while it does not know the wire's MAC it sends frames to all ports, and
        the host's own copy, through the wire, comes later. Group addresses are for all."""
        if not self._mac:
            return positions
        words = memoryview(self._capture.rows).cast("I")[1 :: ROW // 4]
        own = int.from_bytes(self._mac[2:], sys.byteorder)
        rows = self._capture.rows
        # no MAC is all zeros: a frame without Ethernet header
        return [p for p in positions if words[p] == own or words[p] == 0 or rows[p * ROW + 2] & 1]


class _Sides(Struct, frozen=True):
    """Positions in one capture, in order."""

    sent: dict[int, list[int]]  #: by number of the target
    received: dict[int, list[int]]  #: by number of the source


def _match_path(path: Path, source: Capture, target: Capture, received: list[int], delay: int) -> None:
    """Fills in everything. `delay` is the configured one, for twins of which nothing else tells the delay."""
    digests = list(map(source.digest.__getitem__, path.sent))
    orders = dict(zip(reversed(digests), range(len(digests) - 1, -1, -1), strict=True))
    twins: dict[int, list[int]] = {}
    if len(orders) < len(digests):
        seen: set[int] = set()
        doubled = {d for d in digests if d in seen or seen.add(d)}  # type: ignore[func-returns-value]
        for order, digest in enumerate(digests):
            if digest in doubled:
                twins.setdefault(digest, []).append(order)
    twin_arrivals: dict[int, list[int]] = defaultdict(list)
    strays: list[int] = []
    arrival = path.arrival
    find = orders.get
    for position, digest in zip(received, map(target.digest.__getitem__, received), strict=True):
        found = find(digest)
        if found is None:
            strays.append(position)
        elif digest in twins:
            twin_arrivals[digest].append(position)
        elif arrival[found] < 0:
            arrival[found] = position
        else:
            path.copies.setdefault(found, []).append(position)
    if twin_arrivals:
        usual = _usual_delay(path, source, target) or delay or None
        for digest, positions in twin_arrivals.items():
            _pair_twins(path, source, target, twins[digest], positions, usual)
    if strays:
        strays = _fragmented(path, source, target, strays)
    if strays:
        strays = _corrupted(path, source, target, strays)
    path.stray = strays
    _find_reordered(path)


def _usual_delay(path: Path, source: Capture, target: Capture) -> int | None:
    """Median one-way delay of packets without a twin, from a sample."""
    pairs = [(s, r) for s, r in zip(path.sent, path.arrival, strict=True) if r >= 0]
    sample = pairs[:: max(1, len(pairs) // _SAMPLE)]
    return median(sorted(target.t_ns[r] - source.t_ns[s] for s, r in sample)) if sample else None


def _pair_twins(
    path: Path, source: Capture, target: Capture, orders: list[int], positions: list[int], usual: int | None
) -> None:
    """Pairs equal packets in order. Too few arrived: some are passed over; too many: some are copies."""
    sent = [source.t_ns[path.sent[order]] for order in orders]
    came = [target.t_ns[position] for position in positions]
    if usual is None:  # the shortest delay that any pairing can have meant
        usual = max(0, min(min((c - s for s in sent if s <= c), default=0) for c in came))
    spare, extra = max(0, len(sent) - len(came)), max(0, len(came) - len(sent))
    at = 0
    for when, position in zip(came, positions, strict=True):
        while (
            spare
            and at + 1 < len(sent)
            and sent[at + 1] <= when
            and abs(when - sent[at + 1] - usual) < abs(when - sent[at] - usual)
        ):
            at += 1
            spare -= 1
        last = at - 1
        late = at >= len(sent) or sent[at] > when
        nearer = last >= 0 and not late and abs(when - sent[last] - usual) <= abs(when - sent[at] - usual)
        if last >= 0 and (late or (extra and nearer)):
            path.copies.setdefault(orders[last], []).append(position)
            extra -= 1
        elif late:
            path.stray.append(position)  # it came before any was sent: not one of these
        else:
            path.arrival[orders[at]] = position
            at += 1


def _fragmented(path: Path, source: Capture, target: Capture, strays: list[int]) -> list[int]:
    """Packets that the wire cut into fragments: arrived if those cover them. The strays that remain."""
    pieces: dict[tuple[int, int], list[int]] = defaultdict(list)
    for position in strays:
        if position in target.fragments:
            pieces[target.protocol[position], target.ip_id(position)].append(position)
    if not pieces:
        return strays
    used: set[int] = set()
    for order, position in enumerate(path.sent):
        if path.arrival[order] >= 0:
            continue
        parts = [
            p
            for p in pieces.get((source.protocol[position], source.ip_id(position)), ())
            if p not in used and target.t_ns[p] >= source.t_ns[position]
        ]
        begin = source.fragments.get(position, (0, False))[0]
        need = set(range(begin // 8, (begin + source.ip_payload(position) + 7) // 8))
        chosen: list[int] = []
        for part in parts:
            offset = target.fragments[part][0]
            covered = set(range(offset // 8, (offset + target.ip_payload(part) + 7) // 8))
            if covered & need:
                need -= covered
                chosen.append(part)
            if not need:
                path.arrival[order] = chosen[0]
                used.update(chosen)
                break
    return [position for position in strays if position not in used]


def _corrupted(path: Path, source: Capture, target: Capture, strays: list[int]) -> list[int]:
    """Packets that arrived with one bit flipped. The strays that remain.

    A flip breaks one field, so at least one of two disjoint parts of the headers is still as it was sent.
    """
    lost: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for order, position in enumerate(path.sent):
        if path.arrival[order] < 0:
            for key in _parts(source, position):
                lost[key].append(order)
    contents: dict[int, int] = {}
    remain: list[int] = []
    for stray in strays:
        content, came_ns = _comparable(target, stray), target.t_ns[stray]
        for order in _candidates(path, source, lost, _parts(target, stray), came_ns):
            if order not in contents:
                contents[order] = _comparable(source, path.sent[order])
            if (content ^ contents[order]).bit_count() == 1:
                path.arrival[order] = stray
                path.corrupted.add(order)
                del contents[order]
                break
        else:
            remain.append(stray)
    return remain


def _candidates(
    path: Path,
    source: Capture,
    lost: Mapping[tuple[int, bytes], list[int]],
    keys: tuple[tuple[int, bytes], ...],
    came_ns: int,
) -> list[int]:
    """Lost packets that share one of the parts, the last ones that were sent before a time, in order."""
    found: set[int] = set()
    for key in keys:
        orders = lost.get(key, [])
        end = bisect_right(orders, came_ns, key=lambda order: source.t_ns[path.sent[order]])
        open_ones = (order for order in reversed(orders[:end]) if path.arrival[order] < 0)
        found.update(islice(open_ones, _CANDIDATES))
    return sorted(found)


def _parts(capture: Capture, position: int) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
    """The IP header's id and length, and the beginning of the transport header."""
    at = position * ROW
    end = min(56, 36 + max(0, capture.captured[position] - capture.l4.get(position, 34)))
    return (0, bytes(capture.rows[at + 18 : at + 22])), (1, bytes(capture.rows[at + 36 : at + end]))


def _comparable(capture: Capture, position: int) -> int:
    """The IP packet less TTL and header checksum, as a number."""
    packet = bytearray(capture.frame(position)[capture.l3.get(position, 14) :])
    if len(packet) >= 12 and packet[0] >> 4 == 4:
        packet[8] = packet[10] = packet[11] = 0
    return int.from_bytes(packet, "big")


def _find_reordered(path: Path) -> None:
    """RFC 4737, type-P-reordered: a packet is reordered if one that was sent after it arrived before it."""
    highest = -1
    for _, order in sorted((r, order) for order, r in enumerate(path.arrival) if r >= 0):
        if order < highest:
            path.reordered.add(order)
        else:
            highest = order
