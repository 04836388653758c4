"""Why each lost packet was lost: which power-off, cut, partition, drop rule or configured loss explains it.

A packet meets the filters of the wire some time after it was sent: anywhere between then and the longest
delay of its path, with some slack. What held at any time in between can have dropped it. What nothing
explains is a loss that the scenario did not ask for: the wire was overloaded.
"""

from __future__ import annotations

from collections import defaultdict

from msgspec.structs import replace

from lab.evidence.fits import fits
from lab.evidence.journeys import IN_FLIGHT, LOST, Journeys
from lab.evidence.model import Records, WireEvent
from lab.evidence.timeline import Band, Timeline, longest_ns, overlapping
from lab.evidence.types import Cause
from lab.link import Direction, Impairment

SLACK_NS = 50_000_000  #: how much later than configured the wire of a busy machine may deal with a packet


class Losses:
    """Explains the losses of one trace."""

    def __init__(self, records: Records, end_ns: int) -> None:
        self._records = records
        self._end_ns = end_ns
        self._timeline = Timeline.of(records)
        self._dropped = {count.rule: count.dropped for count in (records.wire.drops if records.wire else ())}
        self._queue_drops = {
            (queue.host, queue.direction): queue.dropped
            for queue in (records.wire.queues if records.wire else ())
        }
        self._capture_drops = {facts.host for facts in records.captures if facts.dropped}
        self._longest: dict[tuple[str, str], int] = {}  #: path → longest delay
        self._latest: dict[tuple[str, str], int] = {}  #: path → when the last that arrived was sent

    def explain(self, journeys: Journeys) -> None:
        """Fills in `causes` of all that is lost, and tells what was still in flight at the end."""
        self._longest, self._latest = _seen(journeys)
        lost = [i for i, fate in enumerate(journeys.fate) if fate == LOST]
        left: list[int] = []
        for i in lost:
            source, target = journeys.hosts[journeys.source[i]], journeys.hosts[journeys.target[i]]
            sent_ns = journeys.t_ns[i]
            arrived_ns = sent_ns + self._span(source, target, sent_ns)
            cause = self._silenced(source, target, sent_ns, arrived_ns) or _hops(journeys, i)
            if cause is not None:
                journeys.causes[i] = cause
            elif arrived_ns > self._end_ns and not self._overtaken(source, target, sent_ns):
                journeys.fate[i] = IN_FLIGHT
            else:
                left.append(i)
        left = self._by_rules(journeys, left)
        for i in left:
            journeys.causes[i] = self._configured(journeys, i)
        _follow_fragments(journeys, left)

    def _span(self, source: str, target: str, sent_ns: int) -> int:
        """The longest time from sending until a packet must have arrived."""
        sides = [
            (self._timeline.hold(source, "up", sent_ns)).impairment,
            (self._timeline.hold(target, "down", sent_ns)).impairment,
        ]
        span = longest_ns(*sides)
        if any(side.rate is not None for side in sides):  # then it may have had to queue as well
            span = max(span, self._longest.get((source, target), 0))
        return span + SLACK_NS

    def _overtaken(self, source: str, target: str, sent_ns: int) -> bool:
        """Has a packet arrived that was sent later than this one could be late? Then this one is lost."""
        up = self._timeline.hold(source, "up", sent_ns).impairment
        down = self._timeline.hold(target, "down", sent_ns).impairment
        if up.reorder is not None or down.reorder is not None:
            return False
        spread = longest_ns(up, down) - longest_ns(replace(up, jitter=None), replace(down, jitter=None))
        return sent_ns + 2 * spread < self._latest.get((source, target), 0)

    def _silenced(self, source: str, target: str, begin_ns: int, end_ns: int) -> Cause | None:
        """A power-off, a cut or a partition in the way."""
        timeline = self._timeline
        if frozenset((source, target)) in timeline.apart:
            return Cause("network", f"{source} and {target} share no network")
        for host in (target, source):
            band = overlapping(timeline.off.get(host, ()), begin_ns, end_ns)
            if band is not None:
                return Cause("power off", f"{host} has no power{_of(band.what)}", step=band.what.step)
        ends: tuple[tuple[str, Direction], ...] = ((source, "up"), (target, "down"))
        for host, direction in ends:
            band = overlapping(timeline.cuts.get((host, direction), ()), begin_ns, end_ns)
            if band is not None:
                return Cause("cut", f"{host} is cut ({direction}){_of(band.what)}", step=band.what.step)
        band = overlapping(timeline.partitions.get(frozenset((source, target)), ()), begin_ns, end_ns)
        if band is not None:
            return Cause(
                "partition", f"partition between {source} and {target}{_of(band.what)}", step=band.what.step
            )
        return None

    def _by_rules(self, journeys: Journeys, lost: list[int]) -> list[int]:
        """Gives each drop rule as many fitting losses, the first ones, as it dropped. Those that remain."""
        taken: set[int] = set()
        for band in self._timeline.drops:
            event = band.what
            count = self._dropped.get(event.rule or "", event.count or 0)
            for i in lost:
                if count <= 0:
                    break
                if i not in taken and self._fits(journeys, i, band):
                    rule = f"dropped by rule {event.rule}" if event.rule else "dropped by a rule"
                    journeys.causes[i] = Cause("drop", rule + _of(event), event.rule, event.step)
                    taken.add(i)
                    count -= 1
        return [i for i in lost if i not in taken]

    def _fits(self, journeys: Journeys, i: int, band: Band) -> bool:
        event = band.what
        source, target = journeys.hosts[journeys.source[i]], journeys.hosts[journeys.target[i]]
        if event.source not in (None, source) or event.target not in (None, target):
            return False
        sent_ns = journeys.t_ns[i]
        if sent_ns + self._span(source, target, sent_ns) < band.begin_ns:
            return False
        capture, position = journeys.seen(i)
        return capture.protocol[position] <= 255 and fits(event.match or "any")(capture, position)

    def _configured(self, journeys: Journeys, i: int) -> Cause:
        """A configured impairment that loses packets, or nothing."""
        source, target = journeys.hosts[journeys.source[i]], journeys.hosts[journeys.target[i]]
        begin_ns = journeys.t_ns[i]
        end_ns = begin_ns + self._span(source, target, begin_ns)
        kinds: dict[str, list[str]] = defaultdict(list)
        ends: tuple[tuple[str, Direction], ...] = ((source, "up"), (target, "down"))
        for host, direction in ends:
            for side in self._timeline.around(host, direction, begin_ns, end_ns):
                for kind, text in self._reasons(side, host, direction, journeys, i):
                    if text not in kinds[kind]:
                        kinds[kind].append(text)
        if kinds["mtu"]:
            return Cause("mtu", kinds["mtu"][0])
        if kinds["loss"]:
            return Cause("loss", " or ".join(kinds["loss"]))
        if kinds["corrupt"]:
            return Cause("corrupt", " or ".join(kinds["corrupt"]))
        if kinds["queue"]:
            return Cause("queue", " or ".join(kinds["queue"]))
        if target in self._capture_drops:
            return Cause("capture", f"the capture of {target} lost packets by itself")
        return Cause("unexplained", "nothing that was configured explains it")

    def _reasons(
        self, side: Impairment, host: str, direction: Direction, journeys: Journeys, i: int
    ) -> list[tuple[str, str]]:
        where = f"{host}.{direction}"
        found: list[tuple[str, str]] = []
        if side.mtu is not None:
            capture, position = journeys.seen(i)
            if capture.original[position] - capture.l3.get(position, 14) > side.mtu:
                found.append(("mtu", f"larger than mtu {side.mtu} on {where}"))
        if side.loss is not None and side.loss.percent:
            found.append(("loss", f"loss {side.loss} on {where}"))
        if side.gemodel is not None:
            found.append(("loss", f"loss (gemodel) on {where}"))
        if side.corrupt is not None and side.corrupt.percent:
            found.append(("corrupt", f"corrupt {side.corrupt} on {where}: a broken header is dropped"))
        # a queue of the default length does not overflow by itself: the wire's counter must say that it did
        limited = side.limit is not None or side.rate is not None
        if limited and self._queue_drops.get((host, direction), 0 if self._queue_drops else 1):
            what = f"limit {side.limit}" if side.limit is not None else f"rate {side.rate}"
            found.append(("queue", f"queue full ({what}) on {where}"))
        return found


def _hops(journeys: Journeys, i: int) -> Cause | None:
    """A packet that may make no hop more ends at the router, which says so by ICMP (not too often)."""
    capture, position = journeys.seen(i)
    if capture.protocol[position] > 255 or capture.ttl(position) > 1:
        return None
    return Cause("ttl", f"its TTL of {capture.ttl(position)} ended at the router")


def _follow_fragments(journeys: Journeys, lost: list[int]) -> None:
    """Explains lost fragments by the loss of another one of the same datagram: a bridge that hands packets to
    netfilter (bridge-nf-call-iptables) puts them together first, and passes on only what is whole."""
    datagrams: dict[tuple[str, str, str, int], Cause] = {}

    def datagram(i: int) -> tuple[str, str, str, int] | None:
        capture, position = journeys.seen(i)
        if position not in capture.fragments:
            return None
        packet = capture[position]
        return packet.protocol, packet.source, packet.target, packet.ip_id

    for i, cause in journeys.causes.items():
        key = datagram(i)
        if key is not None and cause.kind not in ("unexplained", "capture"):
            datagrams.setdefault(key, cause)
    for i in lost:
        key = datagram(i)
        cause = journeys.causes[i]
        if key in datagrams and cause.kind == "unexplained":
            first = datagrams[key]
            text = f"another fragment of its datagram was lost: {first.text}"
            journeys.causes[i] = Cause("fragment", text, step=first.step)


def _seen(journeys: Journeys) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
    """From one host to another: the longest one-way delay, and when the last packet that arrived was sent."""
    longest: dict[tuple[int, int], int] = defaultdict(int)
    latest: dict[tuple[int, int], int] = {}
    for i, (source, target, sent, received) in enumerate(
        zip(journeys.source, journeys.target, journeys.sent, journeys.received, strict=True)
    ):
        if sent >= 0 and received >= 0:
            capture = journeys.captures[target]
            assert capture is not None
            latest[source, target] = journeys.t_ns[i]
            delay = capture.t_ns[received] - journeys.t_ns[i]
            if delay > longest[source, target]:
                longest[source, target] = delay
    names = journeys.hosts
    return (
        {(names[s], names[t]): delay for (s, t), delay in longest.items()},
        {(names[s], names[t]): sent_ns for (s, t), sent_ns in latest.items()},
    )


def _of(event: WireEvent) -> str:
    return f" ({event.step})" if event.step else ""
