"""What is said about a service, from its records: how it ended, whether that was wrong, its last words."""

from __future__ import annotations

from collections.abc import Sequence

from lab.evidence.model import LogRecord, Records, ServiceRecord
from lab.verdict import Finding

#: What is said of a service that took more than the site gives.
ADVICE_OVER = "if the program needs more, raise the limit in lab.yml; else mend what it does without end"
ENDED_ALONE = "service.end"  #: the name of a finding about a service that ended by itself
_SHOWN = 20  #: lines that a failure shows


def how_it_ended(record: ServiceRecord) -> str:
    """In words: `it ended with exit status 1`, `it was killed by the kernel …`."""
    if record.error:
        return f"it could not be started: {record.error}"
    if record.ended_wall_ns is None:
        return "it runs"
    if record.out_of_memory:
        return f"it was killed by the kernel: {record.limit or 'it reached its limit of memory'}"
    if record.limit and record.signal is not None:
        return f"it was ended: {record.limit}"
    ended = f"it ended with exit status {record.exit_code}"
    if record.signal is not None:
        ended = f"it was ended by signal {record.signal} (exit status {record.exit_code})"
    return f"{ended}, and {record.limit}" if record.limit else ended


def label_of(record: ServiceRecord) -> str:
    """As people are told: `web`, or `web/worker`."""
    return record.host if record.service == record.host else f"{record.host}/{record.service}"


def went_wrong(record: ServiceRecord, findings: Sequence[Finding]) -> bool:
    """Whether this start did not get ready, met a limit, or ended though nothing spoke of that."""
    if record.error or record.not_ready or (record.limit and not record.out_of_memory):
        return True
    return record.ended_by is None and any(
        finding.name == ENDED_ALONE and finding.reason.startswith(f"{label_of(record)}: ")
        for finding in findings
    )


def last_output(records: Records, record: ServiceRecord) -> str:
    """The last lines of one start of a service, indented; "" where it wrote nothing."""
    lines = [line for line in records.logs if wrote(record, line)]
    return "\n".join(f"  {line.text}" for line in lines[-_SHOWN:])


def wrote(record: ServiceRecord, line: LogRecord) -> bool:
    """Whether this start of a service wrote the line."""
    return (line.host, line.service, line.start) == (record.host, record.service, record.start)
