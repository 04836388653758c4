"""Proof of impairment: what was configured on each link against what the captures measured.

A quantity that only one side of a path has (`client.up`, and nothing on `server.down`) is reported for that
direction of the link, over all its paths; otherwise for the path from host to host. A contradiction (p <
1e-6) means that the wire did not impair as configured.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lab.evidence.journeys import CORRUPTED, LOST, RECEIVED
from lab.evidence.losses import SLACK_NS
from lab.evidence.measured import (
    Judged,
    Sample,
    judge_corrupt,
    judge_delay,
    judge_duplicate,
    judge_loss,
    judge_rate,
    judge_reorder,
)
from lab.evidence.model import LinkProof, Quantity
from lab.evidence.timeline import EVER, Timeline, longest_ns
from lab.evidence.trace import Trace
from lab.link import Direction, Impairment
from lab.tolerance import Tolerance

_COUNTED = ("loss", "corrupt", "unexplained")  #: causes of losses that count against the configured rate

Judge = Callable[[Sample, Impairment, Impairment, Tolerance], Judged]
_Group = tuple[str, str | None, Direction | None, str | None, Impairment, Impairment]
"""Source, target, direction, the step that set it, up, down."""


@dataclass(slots=True)
class _Epoch:
    """A time without changes on either side of one path."""

    begin_ns: int
    end_ns: int
    up: Impairment
    down: Impairment
    step: str | None
    limited: bool  #: by a rate
    sample: Sample = field(default_factory=Sample)


def prove(trace: Trace) -> tuple[LinkProof, ...]:
    """One proof for each quantity of each path, in the order of the hosts; none where no packet was seen."""
    timeline = Timeline.of(trace.records)
    paths = _measure(trace, timeline)
    tolerance = trace.records.tolerance
    proofs: list[LinkProof] = []
    for quantity, has, judge in _QUANTITIES:
        groups: dict[_Group, Sample] = {}
        for (source, target), epochs in paths.items():
            for epoch in epochs:
                if not epoch.sample.sent and not epoch.sample.delays:
                    continue
                up, down = has(epoch.up), has(epoch.down)
                if not (up or down) and quantity not in ("delay", "loss"):
                    continue
                where: tuple[str, str | None, Direction | None]
                if up == down:
                    where = (source, target, None)
                else:
                    where = (source, None, "up") if up else (target, None, "down")
                key = (*where, epoch.step, epoch.up, epoch.down)
                groups.setdefault(key, Sample()).add(epoch.sample)
        for (source, target_or_none, direction, step, up_side, down_side), sample in groups.items():
            verdict = judge(sample, up_side, down_side, tolerance)
            changed = f"since {step}" if step else ""
            proofs.append(
                LinkProof(
                    source,
                    target_or_none,
                    direction,
                    quantity,
                    verdict.configured,
                    verdict.measured,
                    verdict.spread,
                    verdict.samples,
                    verdict.verdict,
                    verdict.p,
                    "; ".join(filter(None, (changed, verdict.detail))),
                )
            )
    return tuple(proofs)


def contradictions(proofs: tuple[LinkProof, ...]) -> list[LinkProof]:
    """The proofs that make a run an ERROR."""
    return [proof for proof in proofs if proof.verdict == "contradiction"]


def describe(proof: LinkProof) -> str:
    """One sentence: `client.up: delay configured 20ms, measured 10.2ms (…): contradiction`."""
    where = f"{proof.source}.{proof.direction}" if proof.direction else f"{proof.source} → {proof.target}"
    spread = f" ({proof.spread})" if proof.spread else ""
    return (
        f"{where}: {proof.quantity} configured {proof.configured}, measured {proof.measured}{spread}"
        f" over {proof.samples} packets: {proof.verdict}"
    )


def _has(name: str) -> Callable[[Impairment], bool]:
    def has(side: Impairment) -> bool:
        return getattr(side, name) is not None

    return has


_QUANTITIES: tuple[tuple[Quantity, Callable[[Impairment], bool], Judge], ...] = (
    ("delay", _has("delay"), judge_delay),
    ("loss", lambda side: side.loss is not None or side.gemodel is not None, judge_loss),
    ("rate", _has("rate"), judge_rate),
    ("duplicate", _has("duplicate"), judge_duplicate),
    ("corrupt", _has("corrupt"), judge_corrupt),
    ("reorder", _has("reorder"), judge_reorder),
)


def _epochs(timeline: Timeline, source: str, target: str) -> Iterator[_Epoch]:
    """The times without changes; a packet in flight during a change belongs to none."""
    ups, downs = list(timeline.holds(source, "up")), list(timeline.holds(target, "down"))
    moments = sorted({h.begin_ns for h in (*ups, *downs)})
    for i, moment in enumerate(moments):
        up, down = timeline.hold(source, "up", moment), timeline.hold(target, "down", moment)
        latest = max(up, down, key=lambda hold: hold.begin_ns)
        begin = max(up.sure_ns, down.sure_ns)
        end = EVER
        if i + 1 < len(moments):
            end = moments[i + 1] - longest_ns(up.impairment, down.impairment) - SLACK_NS
        if begin < end:
            limited = up.impairment.rate is not None or down.impairment.rate is not None
            yield _Epoch(begin, end, up.impairment, down.impairment, latest.step, limited)


def _is_fragment(trace: Trace, source: int, sent: int) -> bool:
    """Whether a packet is a fragment. Those do not count as loss: a bridge may drop a datagram's others."""
    capture = trace.journeys.captures[source]
    return capture is not None and sent in capture.fragments


def _measure(trace: Trace, timeline: Timeline) -> dict[tuple[str, str], list[_Epoch]]:
    """Sorts every packet into the epoch of its path."""
    journeys = trace.journeys
    paths: dict[tuple[int, int], list[_Epoch]] = {}
    begins: dict[tuple[int, int], list[int]] = {}
    for number, (source, target, fate, sent, received, t_ns) in enumerate(
        zip(
            journeys.source,
            journeys.target,
            journeys.fate,
            journeys.sent,
            journeys.received,
            journeys.t_ns,
            strict=True,
        )
    ):
        if source < 0 or target < 0 or fate not in (RECEIVED, CORRUPTED, LOST):
            continue
        key = (source, target)
        if key not in paths:
            paths[key] = list(_epochs(timeline, journeys.hosts[source], journeys.hosts[target]))
            begins[key] = [epoch.begin_ns for epoch in paths[key]]
        place = bisect_right(begins[key], t_ns) - 1
        if place < 0 or t_ns >= paths[key][place].end_ns:
            continue
        sample = paths[key][place].sample
        if fate == LOST:
            cause = journeys.causes.get(number)
            if (cause is None or cause.kind in _COUNTED) and not _is_fragment(trace, source, sent):
                sample.sent += 1
                sample.lost += 1
            continue
        capture = journeys.captures[target]
        assert capture is not None
        arrived_ns = capture.t_ns[received]
        if not _is_fragment(trace, source, sent):
            sample.sent += 1
        sample.arrived(t_ns, arrived_ns - t_ns)
        if paths[key][place].limited:
            sample.passages[source, target].append((t_ns, arrived_ns, capture.original[received]))
        if fate == CORRUPTED:
            sample.corrupted += 1
        if number in journeys.copies:
            sample.copies += len(journeys.copies[number])
    names = journeys.hosts
    return {(names[s], names[t]): epochs for (s, t), epochs in sorted(paths.items())}
