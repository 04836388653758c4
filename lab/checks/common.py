"""What all checks share: the context, values held against their limits, and findings in one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from lab.attachment import Attachment
from lab.evidence.model import Records
from lab.evidence.timeline import Timeline
from lab.evidence.trace import Journey
from lab.place import Place
from lab.quantities import duration
from lab.scenario.ranges import Range
from lab.tolerance import Tolerance
from lab.verdict import Finding, PacketRef, Verdict

MAX_REFS = 40  #: packets that a finding points at; more would not help a reader


class Context(Struct, frozen=True, dict=True):
    """What a judge needs besides the evidence."""

    attachments: Mapping[str, Sequence[Attachment]]  #: by host
    timeline: Timeline  #: how the links were configured at each time
    tolerance: Tolerance
    values: Mapping[str, str] = {}  #: what `record` kept, by name
    selections: dict[Any, Sequence[int]] = {}
    """What `lab.checks.columns` has looked up in this evidence."""

    @classmethod
    def of(cls, records: Records) -> Context:
        attachments = {name: facts.attachments for name, facts in records.hosts.items()}
        return cls(attachments, Timeline.of(records), records.tolerance)

    @cached_property
    def addresses(self) -> Mapping[str, str]:
        """The address by which each host is known."""
        return {host: str(places[0].address) for host, places in self.attachments.items() if places}

    def host_of(self, address: str | None) -> str | None:
        """The host that has this address."""
        if address is None:
            return None
        return self._by_address.get(address)

    @cached_property
    def _by_address(self) -> Mapping[str, str]:
        return {
            str(address): host
            for host, places in self.attachments.items()
            for place in places
            for address in place.addresses.values()
        }


class HasPlace(Protocol):
    """A step or a check."""

    @property
    def id(self) -> str: ...
    @property
    def place(self) -> Place: ...


class Held(Struct, frozen=True):
    """A value held against its limits."""

    ok: bool
    expected: str
    actual: str
    tolerance: str
    margin: str
    reason: str  #: "" where it holds

    def because(self, reason: str) -> Held:
        """The same, with another reason."""
        return replace(self, reason=reason)


def hold_time(
    actual_ns: int, expected: str, low_ns: int | None, high_ns: int | None, tolerance: str, what: str
) -> Held:
    """Hold a time against the earliest and the latest allowed; None is no limit."""
    distances = [
        *([actual_ns - low_ns] if low_ns is not None else []),
        *([high_ns - actual_ns] if high_ns is not None else []),
    ]
    margin = duration(min(distances)) if distances else ""
    took = f"{what} took {duration(actual_ns)}"
    reason = ""
    if low_ns is not None and actual_ns < low_ns:
        reason = f"{took}: {duration(low_ns - actual_ns)} less than the {duration(low_ns)} allowed"
    elif high_ns is not None and actual_ns > high_ns:
        reason = f"{took}: {duration(actual_ns - high_ns)} more than the {duration(high_ns)} allowed"
    return Held(not reason, expected, duration(actual_ns), tolerance, margin, reason)


def hold_count(wanted: Range, count: int, what: str) -> Held:
    """Hold a count against its limits; `what` is a plural: "SYNs sent"."""
    distances = [
        *([count - wanted.min] if wanted.min is not None else []),
        *([wanted.max - count] if wanted.max is not None else []),
    ]
    holds = wanted.holds(count)
    reason = "" if holds else f"{what}: {count:,}, and not {wanted}"
    exact = wanted.exact is not None
    margin = "" if exact and holds else f"{min(distances):+,d}"
    return Held(
        holds, str(wanted), f"{count:,}", "none" if exact else "none beside the limits", margin, reason
    )


def allowed(low_ns: int, high_ns: int) -> str:
    """The limits of a computed time: `39.2 ms … 45 ms`."""
    return f"{duration(low_ns)} … {duration(high_ns)}"


def refs(journeys: Iterable[Journey]) -> tuple[PacketRef, ...]:
    """Where to look for these packets, at most `MAX_REFS`."""
    found: list[PacketRef] = []
    for journey in journeys:
        found.extend(journey.refs)
        if len(found) >= MAX_REFS:
            break
    return tuple(found[:MAX_REFS])


def finding(
    item: HasPlace,
    name: str,
    expected: str,
    actual: str,
    reason: str,
    *,
    tolerance: str = "",
    margin: str = "",
    packets: tuple[PacketRef, ...] = (),
) -> Finding:
    """FAIL for this reason; PASS where there is none ("")."""
    verdict = Verdict.FAIL if reason else Verdict.PASS
    return Finding(name, item.id, item.place, verdict, expected, actual, tolerance, margin, reason, packets)


def passed(item: HasPlace, name: str, expected: str, actual: str) -> Finding:
    return Finding(name, item.id, item.place, Verdict.PASS, expected, actual)


def failed(
    item: HasPlace,
    name: str,
    expected: str,
    actual: str,
    reason: str,
    packets: tuple[PacketRef, ...] = (),
) -> Finding:
    return Finding(name, item.id, item.place, Verdict.FAIL, expected, actual, reason=reason, packets=packets)


def found(
    item: HasPlace,
    name: str,
    held: Held,
    packets: tuple[PacketRef, ...] = (),
    *,
    expected: str | None = None,
    actual: str | None = None,
) -> Finding:
    """The finding of a held value; `expected` and `actual` replace its own texts."""
    return Finding(
        name,
        item.id,
        item.place,
        Verdict.PASS if held.ok else Verdict.FAIL,
        held.expected if expected is None else expected,
        held.actual if actual is None else actual,
        held.tolerance,
        held.margin,
        held.reason,
        packets,
    )
