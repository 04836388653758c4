"""The story of the packets: what each host sent, what became of it, and the flows it belongs to.

Everything in a `Trace` is made on first use, and kept; journeys are made on demand from columns, so a million
packets fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lab.evidence import journeys as columns
from lab.evidence.conversations import find_flows
from lab.evidence.discards import find_discards
from lab.evidence.flows import Flow
from lab.evidence.journeys import Journeys
from lab.evidence.losses import Losses
from lab.evidence.marks import Marks, mark
from lab.evidence.match import Matching, match
from lab.evidence.model import Records
from lab.evidence.packets import Capture
from lab.evidence.types import RETRANSMISSIONS, Close, End, Fate, Journey, Point

__all__ = ["RETRANSMISSIONS", "Close", "End", "Fate", "Flow", "Journey", "Point", "Trace"]


@dataclass(eq=False)
class Trace:
    """All captures of a case, matched."""

    captures: Mapping[str, Capture]  #: by host name
    records: Records

    @cached_property
    def end_ns(self) -> int:
        """The end of the captures: they ran at least as long as states were read."""
        return max(
            (
                *(max(capture.t_ns) for capture in self.captures.values() if len(capture)),
                *(sample.wall_ns for sample in self.records.states if sample.final),
                *(step.end_wall_ns for step in self.records.steps),
            ),
            default=0,
        )

    @cached_property
    def marks(self) -> Mapping[str, Marks]:
        """The kind of each TCP segment, by host, with one entry for each packet of the host's capture."""
        return {name: mark(capture) for name, capture in self.captures.items()}

    @cached_property
    def matching(self) -> Matching:
        return match(self.captures, self.records.hosts)

    @cached_property
    def _journeys(self) -> Journeys:
        journeys = columns.build(self.matching, self.captures, self.marks)
        Losses(self.records, self.end_ns).explain(journeys)
        return journeys

    @cached_property
    def flows(self) -> Sequence[Flow]:
        """TCP connections and other conversations, in order of their first packet."""
        flows = find_flows(self._journeys)
        self._journeys.discards = find_discards(self._journeys, flows, self.records)
        return flows

    @property
    def journeys(self) -> Journeys:
        """Every packet that a host sent, and those from the wire itself, in order of time. Lazy."""
        assert self.flows is not None  # makes them: a journey knows its flow
        return self._journeys

    def lost(self) -> Iterator[Journey]:
        """The lost IP packets, in order of time."""
        everything = self.journeys
        for i in sorted(everything.causes):
            capture, position = everything.seen(i)
            if capture.protocol[position] <= 255:
                yield everything[i]

    def unexplained(self) -> list[Journey]:
        """Lost packets that the records do not explain: the wire, or a capture, was overloaded."""
        everything = self.journeys
        return [
            everything[i]
            for i, cause in sorted(everything.causes.items())
            if cause.kind in ("unexplained", "capture")
        ]
