"""Judges the record of a step by its `expect`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from lab.checks.common import Context
from lab.checks.expect import judge_call, judge_run
from lab.evidence.model import CallRecord, RunRecord
from lab.evidence.timeline import Timeline
from lab.place import Place
from lab.scenario.calls import Call, Connect, Sendto, Step
from lab.scenario.expects import Expect, RunExpect
from lab.scenario.steps import Await, Run, all_steps
from lab.verdict import Finding


class StepJudge(Struct, frozen=True):
    """Judges steps that have ended: their `expect` against their records."""

    context: Context
    steps: dict[str, Step] = {}  #: by id; those inside `parallel` too
    awaits: dict[str, Await] = {}  #: by the id of the step that is awaited

    def know(self, steps: Iterable[Step]) -> None:
        """Add past or future steps: what one of them expects may depend on another."""
        for step in all_steps(tuple(steps)):
            if isinstance(step, Await):
                self.awaits[step.awaits] = step
            else:
                self.steps[step.id] = step

    def at(self, timeline: Timeline) -> StepJudge:
        """The same judge with other links."""
        return replace(self, context=replace(self.context, timeline=timeline))

    def judge(
        self, step: Step, calls: Mapping[str, CallRecord], runs: Mapping[str, RunRecord]
    ) -> tuple[Finding, ...]:
        """The findings of one step by the records so far, including its own; () if nothing is expected.

        An `await` speaks for the background step too: what either of them expects is judged.
        """
        if isinstance(step, Await):
            awaited = self.steps.get(step.awaits)
            own = () if awaited is None else self._one(awaited, step.awaits, calls, runs)
            return (*own, *self._one(step, step.awaits, calls, runs, by_await=True))
        return self._one(step, step.id, calls, runs)

    def _one(
        self,
        step: Step,
        record_of: str,
        calls: Mapping[str, CallRecord],
        runs: Mapping[str, RunRecord],
        *,
        by_await: bool = False,
    ) -> tuple[Finding, ...]:
        if not isinstance(step, Call | Run | Await):
            return ()
        context = self.context
        item = _Expecting(step.id, step.place, getattr(step, "expect", None))
        run = runs.get(record_of)
        if run is not None:
            of_run = self.steps.get(record_of) if by_await else self.awaits.get(record_of)
            # both may cover a background program; if neither says how it ends, the step itself is judged
            elsewhere = _says_end(of_run) or (by_await and not _says_end(step))
            findings = judge_run(item, run, tolerance=context.tolerance, end_elsewhere=elsewhere)
            # the background step has already reported that the program could not run
            could_not = by_await and run.error not in (None, "timeout", "killed")
            return tuple(f for f in findings if not (could_not and f.name == "run.error"))
        call = calls.get(record_of)
        if call is None:
            return ()
        caller = self.steps.get(record_of)
        other = caller if by_await else self.awaits.get(record_of)
        elsewhere = _speaks_of_error(other)
        if by_await and call.error is not None and not elsewhere and not _speaks_of_error(step):
            return ()  # the background step has reported that it failed
        return judge_call(
            item,
            call,
            rtt=context.timeline.rtt(call.host, self._peer(caller, call, calls), call.start_wall_ns),
            tolerance=context.tolerance,
            calls=calls,
            addresses=context.addresses,
            error_elsewhere=elsewhere,
        )

    def _peer(self, step: Step | None, call: CallRecord, calls: Mapping[str, CallRecord]) -> str | None:
        """The host at the other end of a call: from the step, the socket, or an earlier call on it."""
        if isinstance(step, Connect | Sendto):
            return self.context.host_of(step.to.host) if step.to.literal else step.to.host
        for end in (call.peer, call.remote):
            host = None if end is None else self.context.host_of(end.plain)
            if host is not None:
                return host
        others = [name for name in self.context.addresses if name != call.host]
        if len(others) == 1:  # with two hosts, there is only one possible peer
            return others[0]
        for other in calls.values():
            same = (other.host, other.process, other.socket) == (call.host, call.process, call.socket)
            if same and other.remote is not None and call.socket is not None:
                return self.context.host_of(other.remote.address)
        return None


class _Expecting(Struct, frozen=True):
    """A step as `lab.checks.expect` sees it."""

    id: str
    place: Place
    expect: Expect | RunExpect | None


def _says_end(step: Step | None) -> bool:
    """Whether a step says how a program ends."""
    expect = getattr(step, "expect", None)
    if isinstance(expect, RunExpect):
        return expect.exit is not None or expect.error is not None
    return isinstance(expect, Expect) and expect.error is not None


def _speaks_of_error(step: Step | None) -> bool:
    expect = getattr(step, "expect", None)
    return isinstance(expect, Expect) and expect.speaks_of_error
