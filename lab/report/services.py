"""The services in the HTML report: how each start of one went, and what it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.evidence.model import LogRecord, Records, ServiceRecord
from lab.evidence.services import how_it_ended, went_wrong
from lab.harmless import clean
from lab.quantities import moment
from lab.verdict import Finding, LogRef

_LINES = 400  #: shown of one start: the first half and the last; the log file has all that are kept
_TEXT = 2_000  #: characters of one line


def services(records: Records, findings: Sequence[Finding], zero: int) -> list[dict[str, Any]]:
    """One entry for each start of a service, by host and start."""
    matched = {ref for finding in findings for ref in finding.lines}
    written: dict[tuple[str, str, int], list[LogRecord]] = {}
    for line in records.logs:
        written.setdefault((line.host, line.service, line.start), []).append(line)
    return [
        _start(
            record,
            written.get((record.host, record.service, record.start), []),
            matched,
            zero,
            bad=went_wrong(record, findings),
        )
        for record in records.services
    ]


def _start(
    record: ServiceRecord, lines: Sequence[LogRecord], matched: set[LogRef], zero: int, *, bad: bool
) -> dict[str, Any]:
    shown, left_out = _shown(lines)
    return {
        "host": record.host,
        "name": record.service if record.start == 1 else f"{record.service} (start {record.start})",
        "image": record.image,
        "started": _when(record.started_wall_ns, zero),
        "ready": _when(record.ready_wall_ns, zero),
        "ended": _when(record.ended_wall_ns, zero),
        "outcome": _outcome(record),
        "bad": bad,
        "lines": [_line(line, matched, zero) for line in shown],
        "left_out": left_out,
        "half": _LINES // 2,
        "total": len(lines),
        "cut": record.log_cut,
    }


def _when(wall_ns: int | None, zero: int) -> str:
    return "" if wall_ns is None else moment(wall_ns - zero)


def _outcome(record: ServiceRecord) -> str:
    """How and by whom it was ended, what its healthcheck said last, and whether it was ever ready."""
    parts = [clean(how_it_ended(record))]
    if record.ended_by is not None and record.ended_wall_ns is not None:
        parts.append(f"by {record.ended_by}" if record.ended_by else "with the lab")
    if record.health is not None:
        parts.append(record.health)
    if record.not_ready and not record.error:
        parts.append("it was never ready")
    return ", ".join(parts)


def _shown(lines: Sequence[LogRecord]) -> tuple[Sequence[LogRecord], int]:
    if len(lines) <= _LINES:
        return lines, 0
    half = _LINES // 2
    return [*lines[:half], *lines[-half:]], len(lines) - _LINES


def _line(line: LogRecord, matched: set[LogRef], zero: int) -> dict[str, Any]:
    text = clean(line.text)
    return {
        "at": moment(line.wall_ns - zero),
        "stream": line.stream,
        "text": text if len(text) <= _TEXT and not line.cut else f"{text[:_TEXT]} …",
        "matched": LogRef(line.host, line.service, line.start, line.wall_ns) in matched,
    }
