"""Events at a host other than calls and packets: its services, the log lines that matter, signals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.evidence.model import LogRecord, Records, ServiceRecord, StepRecord
from lab.evidence.services import went_wrong
from lab.harmless import clean
from lab.report.diagram.model import Moment
from lab.report.text import cut
from lab.verdict import Finding, LogRef

_MOMENTS = 120
_LINE = 60  #: cells of a log line shown
_DONE = {"kill": "signal", "pause": "paused", "resume": "resumed"}


def moments_of(records: Records, zero: int, findings: Sequence[Finding]) -> tuple[tuple[Moment, ...], int]:
    """The moments in order of time, and how many are left out."""
    found = [
        *(moment for service in records.services for moment in _life(service, zero, findings)),
        *_lines(records.logs, zero, findings),
        *(moment for step in records.steps for moment in _signal(step, zero)),
    ]
    found.sort(key=lambda moment: moment.t_ns)
    if len(found) <= _MOMENTS:
        return tuple(found), 0
    # What a service did comes before what it wrote.
    kept = sorted(found, key=lambda moment: moment.kind == "log")[:_MOMENTS]
    return tuple(sorted(kept, key=lambda moment: moment.t_ns)), len(found) - _MOMENTS


def _life(record: ServiceRecord, zero: int, findings: Sequence[Finding]) -> Iterator[Moment]:
    """The moments of a service: started, ready, ended; with the number of any start after the first."""
    name = record.service if record.start == 1 else f"{record.service} (start {record.start})"

    def moment(wall_ns: int, text: str, *, bad: bool = False) -> Moment:
        return Moment(record.host, wall_ns - zero, clean(f"{name}: {text}"), "service", bad)

    if record.started_wall_ns is not None:
        yield moment(record.started_wall_ns, "started")
    if record.ready_wall_ns is not None:
        yield moment(record.ready_wall_ns, "ready")
    if record.ended_wall_ns is not None:
        yield moment(record.ended_wall_ns, _end(record), bad=went_wrong(record, findings))


def _end(record: ServiceRecord) -> str:
    """How a start ended and by which step."""
    if record.error:
        return f"not started: {record.error}"
    if record.limit and not record.out_of_memory:
        how = f"ended: {record.limit.partition(' (')[0]}"
    elif record.out_of_memory:
        how = "killed by the kernel: out of memory"
    elif record.signal is not None:
        how = f"ended by signal {record.signal}"
    else:
        how = f"ended with exit status {record.exit_code}"
    if record.ended_by is None:
        return how
    return f"{how} ({record.ended_by})" if record.ended_by else f"{how}, with the lab"


def _lines(logs: Sequence[LogRecord], zero: int, findings: Sequence[Finding]) -> Iterator[Moment]:
    """Each line that a check matched, once."""
    wanted: dict[LogRef, bool] = {}
    for finding in findings:
        bad = finding.verdict.bad
        for ref in finding.lines:
            wanted[ref] = wanted.get(ref, False) or bad
    for line in logs if wanted else ():
        ref = LogRef(line.host, line.service, line.start, line.wall_ns)
        if ref in wanted:
            text = f"{line.service}: “{cut(clean(line.text), _LINE)}”"
            yield Moment(line.host, line.wall_ns - zero, text, "log", wanted.pop(ref))


def _signal(step: StepRecord, zero: int) -> Iterator[Moment]:
    """A signal to a process, a program or a service."""
    if step.do in _DONE and step.at is not None:
        # A program may handle the signal and go on.
        what = f"{_DONE[step.do]} {step.signal or ''}".strip() if step.do == "kill" else _DONE[step.do]
        text = f"{step.target}: {what} ({step.step})" if step.target else f"{what} ({step.step})"
        yield Moment(step.at, step.end_wall_ns - zero, clean(text), "signal")
