"""The contents of the HTML report as plain values; the template only lays them out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lab.evidence.model import RunRecord
from lab.evidence.store import Evidence
from lab.harmless import clean
from lab.quantities import duration, moment, plural, seconds, size
from lab.report.diagram.model import Diagram, Packet
from lab.result import Result
from lab.verdict import Finding, PacketRef, Verdict

_CALLS = 1_000
_SOCKETS = 200
_OUTPUT = 20_000  #: characters of a program's output shown
_READBACKS = 60

Anchors = Mapping[tuple[str, int], str]


def findings(result: Result, anchors: Anchors) -> list[dict[str, Any]]:
    return [finding(f, anchors) for f in result.findings]


def finding(found: Finding, anchors: Anchors) -> dict[str, Any]:
    return {
        "verdict": found.verdict.value,
        "bad": found.verdict in (Verdict.FAIL, Verdict.ERROR),
        "name": found.name,
        "source": found.source,
        "place": str(found.place),
        "line": found.place.line,
        "expected": found.expected,
        "actual": found.actual,
        # "none" says nothing about an exact expectation
        "tolerance": "" if found.tolerance.startswith("none") else found.tolerance,
        "margin": found.margin,
        "reason": found.reason,
        "refs": references(found.packets, anchors),
    }


def references(refs: Iterable[PacketRef], anchors: Anchors) -> list[dict[str, str]]:
    """Frames by host and number; those of one packet at both ends lead to the same arrow."""
    return [
        {"text": f"{ref.host} #{ref.number}", "anchor": anchors.get((ref.host, ref.number), "")}
        for ref in refs
    ]


def held(result: Result) -> str:
    """The sentence for a PASS."""
    steps = sum(1 for f in result.findings if not f.source.startswith("checks["))
    checks = len(result.findings) - steps
    parts = [plural(steps, "expectation of the steps", "expectations of the steps")] if steps else []
    if checks:
        parts.append(plural(checks, "check"))
    if not parts:
        return "All steps went through; nothing else was asked."
    return f"{' and '.join(parts)}: all as expected."


def excerpt(source: str, line: int, around: int = 3) -> dict[str, Any] | None:
    """The lines of the scenario around the one that failed."""
    lines = source.splitlines()
    if not 1 <= line <= len(lines):
        return None
    low, high = max(1, line - around), min(len(lines), line + around)
    return {"line": line, "lines": [(n, lines[n - 1]) for n in range(low, high + 1)]}


def packet_rows(diagram: Diagram, frames: Callable[[int], str]) -> list[dict[str, Any]]:
    """The diagram's text alternative: its packets and bundles in order of time."""
    rows: list[tuple[int, dict[str, Any]]] = []

    def tag(flow: int | None) -> str:
        return f"{letters}: " if (letters := diagram.tag(flow)) else ""

    for p in diagram.packets:
        rows.append(
            (
                p.start_ns,
                {
                    "flow": "" if p.flow is None else p.flow,
                    "bad": p.decisive,
                    "sent": "" if p.sent_ns is None else moment(p.sent_ns),
                    "received": "" if p.received_ns is None else moment(p.received_ns),
                    "way": f"{tag(p.flow)}{_name(p.source)} → {_name(p.target)}",
                    "label": " ".join(x for x in (p.label, p.payload) if x),
                    "anchor": f"p{p.key}",
                    "fate": fate_text(p),
                    "frames": frames(p.key),
                },
            )
        )
    for b in diagram.bundles:
        way = f"{tag(b.flow)}{_name(b.source)} → {_name(b.target)}"
        rows.append(
            (
                b.first_sent_ns,
                {
                    "flow": "" if b.flow is None else b.flow,
                    "bad": False,
                    "sent": f"{moment(b.first_sent_ns)} …",
                    "received": "" if b.first_received_ns is None else f"{moment(b.first_received_ns)} …",
                    "way": way,
                    "label": b.label,
                    "anchor": f"b{b.key}",
                    "fate": b.detail,
                    "frames": "",
                },
            )
        )
    rows.sort(key=lambda row: row[0])
    return [row for _, row in rows]


def _name(host: str) -> str:
    return "the wire" if host == "wire" else host


def fate_text(p: Packet) -> str:
    words = []
    if p.outcome:
        words.append(p.outcome)
    elif p.sent_ns is not None and p.received_ns is not None:
        words.append(f"arrived after {duration(p.received_ns - p.sent_ns)}")
    if p.note:
        words.append(p.note)
    return ", ".join(words)


def packet_data(diagram: Diagram) -> str:
    """The packets' details for the page's script, safe inside a script element."""
    data: dict[str, list[tuple[str, str]]] = {f"p{p.key}": list(p.fields.items()) for p in diagram.packets}
    for b in diagram.bundles:
        data[f"b{b.key}"] = [
            ("packets", f"{b.packets:,}"),
            ("bytes", f"{b.bytes:,}"),
            ("sent", f"{moment(b.first_sent_ns)} … {moment(b.last_sent_ns)}"),
            ("lost", f"{b.lost:,}"),
            ("sent again", f"{b.retransmitted:,}"),
            *([("seq", f"{b.seq[0]:,} … {b.seq[1]:,}")] if b.seq else []),
        ]
    return script_json(data)


def script_json(value: object) -> str:
    """JSON that cannot end the script element around it, nor begin a comment or an entity."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def links(result: Result) -> list[dict[str, Any]]:
    return [
        {
            "path": f"{p.source} → {p.target}" if p.target else f"{p.source} {p.direction or ''}",
            "quantity": p.quantity,
            "configured": p.configured,
            "measured": p.measured,
            "spread": p.spread,
            "samples": f"{p.samples:,}",
            "verdict": p.verdict,
            "bad": p.verdict == "contradiction",
            "p": "" if p.p is None else f"p = {p.p:.2g}",
            "detail": p.detail,
        }
        for p in result.links
    ]


def calls(diagram: Diagram) -> tuple[list[dict[str, Any]], str]:
    rows = [
        {
            "at": moment(c.start_ns),
            "host": c.host,
            "title": c.title,
            "outcome": c.outcome,
            "failed": c.failed,
            "step": c.step,
            "notes": c.notes,
        }
        for c in diagram.calls
    ]
    rest = len(rows) - _CALLS
    return rows[:_CALLS], f"{plural(rest, 'call')} more: see events.jsonl." if rest > 0 else ""


def sockets(diagram: Diagram) -> tuple[list[dict[str, Any]], str]:
    """Each socket with the states that it went through."""
    paths: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for state in diagram.states:
        path = paths.setdefault((state.host, state.socket), [])
        path.append((state.label, moment(state.start_ns)))
    for state in diagram.states:
        if state.end_ns is not None and paths[state.host, state.socket][-1] == (
            state.label,
            moment(state.start_ns),
        ):
            paths[state.host, state.socket].append(("gone", moment(state.end_ns)))
    rows = [{"host": host, "socket": socket, "path": path} for (host, socket), path in paths.items()]
    rest = len(rows) - _SOCKETS
    return rows[:_SOCKETS], f"{plural(rest, 'socket')} more: see events.jsonl." if rest > 0 else ""


def counters(evidence: Evidence) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Names of the hosts, and each counter that changed anywhere, with its change on each host."""
    hosts = [host for host in evidence.records.hosts if host in evidence.records.counters]
    names: set[str] = set()
    for host in hosts:
        record = evidence.records.counters[host]
        names |= {n for n, after in record.after.items() if record.before.get(n, 0) != after}
    rows = []
    for name in sorted(names):
        deltas = []
        for host in hosts:
            record = evidence.records.counters[host]
            delta = record.after.get(name, 0) - record.before.get(name, 0)
            deltas.append(f"{delta:+,}" if delta else "")
        rows.append((name, deltas))
    return hosts, rows


def streams(result: Result, evidence: Evidence | None) -> list[dict[str, str]]:
    found = result.streams or (evidence.records.streams if evidence is not None else ())
    return [
        {
            "host": s.host,
            "socket": f"{s.socket} {s.local} → {s.remote}",
            "sent": f"{s.sent_bytes:,}",
            "received": f"{s.received_bytes:,}",
            "sent_hash": f"sha256 {s.sent_sha256}",
            "received_hash": f"sha256 {s.received_sha256}",
        }
        for s in found[:_SOCKETS]
    ]


def programs(runs: Sequence[RunRecord], outcome: Callable[[RunRecord], str]) -> list[dict[str, Any]]:
    return [
        {
            "host": run.host,
            "title": " ".join(run.command),
            "outcome": outcome(run),
            "step": run.step,
            "stdout": _output(run.stdout),
            "stderr": _output(run.stderr),
            "open": bool(run.error or run.exit_code or run.stderr),
        }
        for run in runs
    ]


def _output(text: str) -> str:
    text = clean(text, keep_newlines=True)
    if len(text) <= _OUTPUT:
        return text
    half = _OUTPUT // 2
    return f"{text[:half]}\n… {size(len(text) - _OUTPUT)} left out …\n{text[-half:]}"


def wire_log(evidence: Evidence, zero: int) -> list[dict[str, str]]:
    wire = evidence.records.wire
    entries = []
    for entry in (wire.readback if wire is not None else ())[:_READBACKS]:
        at = entry.get("wall_ns")
        when = moment(int(at) - zero) if isinstance(at, int) else ""
        step = entry.get("step") or "before the first step"
        entries.append(
            {"title": f"{when} {step}".strip(), "text": _output(json.dumps(entry.get("qdiscs"), indent=1))}
        )
    return entries


def phases(result: Result) -> list[dict[str, Any]]:
    whole = max((p.start + p.seconds for p in result.phases), default=0.0) or 1.0
    return [
        {
            "name": p.name,
            "left": round(100 * p.start / whole, 2),
            "width": round(100 * p.seconds / whole, 2),
            "took": seconds(p.seconds),
        }
        for p in result.phases
    ]


def environment(result: Result, evidence: Evidence | None) -> list[tuple[str, str]]:
    env = result.environment
    if env is None:
        return []
    rows = [
        ("wire", f"{env.wire}: {env.wire_reason}" if env.wire_reason else env.wire),
        ("wire's kernel", env.wire_kernel),
        ("kernel", f"{env.kernel} {env.machine}"),
        ("engine", f"{env.engine} at {env.engine_address}"),
        ("lab", f"{env.lab}, Python {env.python}"),
        *((f"image {name}", f"{image.tag} {image.id[:26]}") for name, image in env.images.items()),
    ]
    if evidence is not None:
        for host in evidence.records.hosts.values():
            listed = ", ".join(f"{name} = {value}" for name, value in sorted(host.sysctls.items())[:12])
            rows.append((host.name, f"{host.address} {host.mac}" + (f"; {listed}" if listed else "")))
    return [(name, value) for name, value in rows if value]
