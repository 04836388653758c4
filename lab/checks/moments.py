"""When a step began and ended, and what lies between two steps."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from lab.evidence.model import CallRecord, Records, RunRecord
from lab.scenario.checks import TimedCheck


class StepTimes(Struct, frozen=True):
    """A step by the wall clock."""

    begin_ns: int
    end_ns: int


def step_times(records: Records) -> Mapping[str, StepTimes]:
    """By the id of the step. The own times of a call or a program go before those of the step around it."""
    times = {s.step: StepTimes(s.start_wall_ns, s.end_wall_ns) for s in records.steps}
    own: tuple[CallRecord | RunRecord, ...] = (*records.runs, *records.calls)
    for record in own:
        times[record.step] = StepTimes(record.start_wall_ns, record.end_wall_ns)
    return times


class Window(Struct, frozen=True):
    """What a check looks at: all, or what lies between the end of one step and the begin of another.

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
        times = step_times(records)
        named = [("after", check.after), ("before", check.before)]
        text = " " + " and ".join(f"{word} {step}" for word, step in named if step is not None)
        for _, step in named:
            if step is not None and step not in times:
                return cls(text=text, missing=f"step {step} has no record: it never ended")
        begin = None if check.after is None else times[check.after].end_ns
        end = None if check.before is None else times[check.before].begin_ns
        return cls(begin, end, text)

    @property
    def whole(self) -> bool:
        """Is nothing left out?"""
        return self.begin_ns is None and self.end_ns is None

    def holds(self, wall_ns: int) -> bool:
        return (self.begin_ns is None or wall_ns > self.begin_ns) and (
            self.end_ns is None or wall_ns < self.end_ns
        )
