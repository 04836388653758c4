"""The checks of what a user's program did: whether it runs, how it ended, what it wrote."""

from __future__ import annotations

from msgspec.structs import replace

from lab.checks.common import MAX_REFS, Context, failed, found, hold_count, passed
from lab.checks.moments import Window
from lab.evidence.services import how_it_ended, wrote
from lab.evidence.store import Evidence
from lab.quantities import plural
from lab.scenario.checks import LogCheck, ServiceCheck
from lab.scenario.ranges import Range
from lab.verdict import Finding, LogRef

_MATCHES = 3  #: lines that a finding names


def judge_service(check: ServiceCheck, evidence: Evidence, context: Context) -> Finding:
    """The last start of a service: all that the check asks for must hold."""
    records = evidence.records
    starts = [r for r in records.services if r.host == check.at and check.service in (None, r.service)]
    if not starts:
        reason = f"no service of {check.at} was started"
        return failed(check, "service", _wanted(check), "not started", reason)
    last = starts[-1]
    if check.running is not None and check.running != (last.ended_wall_ns is None):
        wanted = "it runs" if check.running else "it has ended"
        return failed(check, "service", wanted, how_it_ended(last), f"{last.service}: {how_it_ended(last)}")
    if check.exit is not None:
        code = last.exit_code
        if code is None or last.ended_wall_ns is None or not check.exit.holds(code):
            reason = f"{last.service}: {how_it_ended(last)}, and not with {check.exit}"
            return failed(check, "service", f"exit status {check.exit}", how_it_ended(last), reason)
    for stream, match in (("stdout", check.stdout), ("stderr", check.stderr)):
        if match is None:
            continue
        text = "".join(f"{one.text}\n" for one in records.logs if wrote(last, one) and one.stream == stream)
        if not match.holds(text):
            differs = "holds nothing that matches" if match.regex else "is not"
            reason = f"{last.service}: {stream} {differs} {match}"
            return failed(check, "service", f"{stream} {match}", text[-200:] or "nothing", reason)
    return passed(check, "service", _wanted(check), how_it_ended(last))


def _wanted(check: ServiceCheck) -> str:
    parts = []
    if check.running is not None:
        parts.append("it runs" if check.running else "it has ended")
    if check.exit is not None:
        parts.append(f"exit status {check.exit}")
    outputs = (("stdout", check.stdout), ("stderr", check.stderr))
    parts += [f"{name} {match}" for name, match in outputs if match is not None]
    return ", ".join(parts) or "it was started"


def judge_log(check: LogCheck, evidence: Evidence, context: Context) -> Finding:
    """How many lines of a service's log match. Without `count` one is enough."""
    records = evidence.records
    window = Window.of(check, records)
    if window.missing:
        return failed(check, "log", f"lines{window.text}", "none", window.missing)
    lines = [
        line
        for line in records.logs
        if line.host == check.at
        and check.service in (None, line.service)
        and check.stream in (None, line.stream)
        and window.holds(line.wall_ns)
    ]
    matching = [line for line in lines if check.match.holds(line.text)]
    wanted = check.count if check.count is not None else Range(1, None)
    held = hold_count(wanted, len(matching), f"lines of {check.at} that match {check.match}{window.text}")
    cut = any(record.log_cut for record in records.services if record.host == check.at)
    if cut:  # what is missing may match too: only what those that are there prove is proven
        more = hold_count(wanted, len(matching) + 1, "")
        missing = "it wrote more than is kept, so lines are missing"
        if not held.ok:
            held = held.because(f"{held.reason}; {missing}")
        elif wanted.max is not None or not more.ok:
            held = replace(held, ok=False, reason=f"nobody knows how many lines match: {missing}")
    actual = f"{plural(len(matching), 'line')} of {len(lines):,}"
    if matching:
        actual += ": " + "; ".join(repr(line.text[:60]) for line in matching[:_MATCHES])
    judged = found(check, "log", held, expected=f"{wanted} matching {check.match}", actual=actual)
    lines_seen = tuple(LogRef(one.host, one.service, one.start, one.wall_ns) for one in matching[:MAX_REFS])
    return replace(judged, lines=lines_seen)
