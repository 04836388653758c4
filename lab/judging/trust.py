"""Whether a run can be trusted: all frames used the wire, which impaired as configured and lost nothing else.

Pure, so the same for a live run and for `lab recheck`.
"""

from __future__ import annotations

from lab.errors import LabError, WireError
from lab.evidence.model import LinkProof
from lab.evidence.proof import contradictions, describe, prove
from lab.evidence.store import Evidence
from lab.judging.around import went_around
from lab.quantities import plural

_SHOWN = 5  #: packets that an error names


def assess(evidence: Evidence) -> tuple[tuple[LinkProof, ...], LabError | None]:
    """Configured against measured for every link, and the reason not to trust the run, if any."""
    proofs = prove(evidence.trace)
    reason = _capture_lost(evidence) or went_around(evidence) or _wire_lost(evidence)
    return proofs, reason or _contradiction(proofs)


def _capture_lost(evidence: Evidence) -> LabError | None:
    lost = [f"{facts.host}: {facts.dropped}" for facts in evidence.records.captures if facts.dropped]
    if not lost:
        return None
    return WireError(
        f"captures overloaded: packets that tcpdump did not get ({', '.join(lost)})",
        hint="send less, or slower: this machine cannot capture that much",
    )


def _wire_lost(evidence: Evidence) -> LabError | None:
    hint = "send less or slower, or run fewer cases side by side"
    wire = evidence.records.wire
    if wire is not None and wire.overruns:
        where = ", ".join(f"{place}: {count}" for place, count in wire.overruns.items())
        return WireError(
            f"wire overloaded: it lost packets that it was not configured to lose ({where})", hint=hint
        )
    lost = evidence.trace.unexplained()
    if not lost:
        return None
    named = ", ".join(f"{j.source} → {j.target} #{j.packet.number}" for j in lost[:_SHOWN])
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    return WireError(
        f"wire overloaded: nothing configured explains {plural(len(lost), 'missing packet')} ({named}{more})",
        hint=hint,
    )


def _contradiction(proofs: tuple[LinkProof, ...]) -> LabError | None:
    wrong = contradictions(proofs)
    if not wrong:
        return None
    return WireError(
        f"the wire did not impair as configured: {'; '.join(map(describe, wrong))}",
        hint="the wire's read-back in events.jsonl says what tc had; was it changed behind the lab's back?",
    )
