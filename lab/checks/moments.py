"""When a step began and ended, and what lies between two steps."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from lab.evidence.model import CallRecord, Records, RunRecord, StepRecord
from lab.scenario.checks import TimedCheck

Timed = StepRecord | RunRecord | CallRecord


def timed_records(records: Records) -> Mapping[str, Timed]:
    """What tells when a step began and ended, by its id: its call or program, otherwise the step itself."""
    every: tuple[Timed, ...] = (*records.steps, *records.runs, *records.calls)
    return {record.step: record for record in every}


class Window(Struct, frozen=True):
    """The time that a check covers: all, or from the end of one step to the start of another.

    `missing` names a step without a record: then there is nothing to judge.
    """

    begin_ns: int | None = None
    end_ns: int | None = None
    text: str = ""  #: " after x and before y"
    missing: str = ""

    @classmethod
    def of(cls, check: TimedCheck, records: Records) -> Window:
        if check.after is None and check.before is None:
            return cls()
        times = timed_records(records)
        named = [("after", check.after), ("before", check.before)]
        text = " " + " and ".join(f"{word} {step}" for word, step in named if step is not None)
        for _, step in named:
            if step is not None and step not in times:
                return cls(text=text, missing=f"step {step} has no record: it never ended")
        begin = None if check.after is None else times[check.after].end_wall_ns
        end = None if check.before is None else times[check.before].start_wall_ns
        return cls(begin, end, text)

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self.begin_ns is None and self.end_ns is None

    def holds(self, wall_ns: int) -> bool:
        return (self.begin_ns is None or wall_ns > self.begin_ns) and (
            self.end_ns is None or wall_ns < self.end_ns
        )
