"""Pure judgement of a case's evidence: the checks of a scenario, and what its steps expect.

`JUDGES` is the table of all checks: the model of `lab.scenario.checks` and the function that judges it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.checks.common import Context, failed
from lab.checks.connection import judge_close, judge_handshake
from lab.checks.data import judge_bytes
from lab.checks.host import judge_counter, judge_state
from lab.checks.order import judge_order
from lab.checks.recorded import judge_call_check
from lab.checks.schedule import judge_schedule
from lab.checks.service import judge_log, judge_service
from lab.checks.value import judge_value
from lab.checks.wire import (
    judge_duplicated,
    judge_loss,
    judge_one_way,
    judge_packets,
    judge_reordered,
    judge_retransmissions,
)
from lab.evidence.store import Evidence
from lab.patterns import PatternTooSlow
from lab.scenario.checks import (
    BytesCheck,
    CallCheck,
    Check,
    CloseCheck,
    CounterCheck,
    DuplicatedCheck,
    HandshakeCheck,
    LogCheck,
    LossCheck,
    OneWayCheck,
    OrderCheck,
    PacketsCheck,
    ReorderedCheck,
    RetransmissionsCheck,
    ScheduleCheck,
    ServiceCheck,
    StateCheck,
    ValueCheck,
)
from lab.verdict import Finding, Verdict

#: A judge takes its own kind of check, the evidence and the context.
Judge = Callable[[Any, Evidence, Context], Finding]

JUDGES: Mapping[type[Check], Judge] = {
    HandshakeCheck: judge_handshake,
    CloseCheck: judge_close,
    PacketsCheck: judge_packets,
    RetransmissionsCheck: judge_retransmissions,
    OneWayCheck: judge_one_way,
    LossCheck: judge_loss,
    ReorderedCheck: judge_reordered,
    DuplicatedCheck: judge_duplicated,
    ScheduleCheck: judge_schedule,
    StateCheck: judge_state,
    CounterCheck: judge_counter,
    OrderCheck: judge_order,
    BytesCheck: judge_bytes,
    ServiceCheck: judge_service,
    LogCheck: judge_log,
    ValueCheck: judge_value,
    CallCheck: judge_call_check,
}


def judge(check: Check, evidence: Evidence, context: Context) -> Finding:
    """Judge one check by the evidence. A check without a judge is an ERROR, never a pass."""
    known = JUDGES.get(type(check))
    if known is None:
        reason = f"this lab cannot judge the check {check.check!r} yet"
        return Finding(
            check.check, check.id, check.place, Verdict.ERROR, check.check, "not judged", reason=reason
        )
    try:
        return known(check, evidence, context)
    except PatternTooSlow as error:
        return failed(check, check.check, "an answer in time", "none", str(error))


def judge_checks(
    checks: Sequence[Check], evidence: Evidence, context: Context | None = None
) -> tuple[Finding, ...]:
    """One finding for each check, in order; the context comes from the evidence's own records."""
    known = context or Context.of(evidence.records)
    return tuple(judge(check, evidence, known) for check in checks)
