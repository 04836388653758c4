"""The contents of the HTML report as plain values; the template only lays them out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lab.evidence.model import RunRecord, StreamRecord
from lab.evidence.store import Evidence
from lab.harmless import clean
from lab.quantities import duration, moment, plural, seconds, size
from lab.report.diagram import words
from lab.report.diagram.model import Bundle, Call, Diagram, Packet, spoken_name
from lab.result import Result

_CALLS = 1_000
_SOCKETS = 200
_OUTPUT = 20_000  #: characters of a program's output shown
_READBACKS = 60


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


def packet_rows(diagram: Diagram, frames: Mapping[int, str]) -> list[dict[str, Any]]:
    """The diagram's text alternative: its packets and bundles in order of time."""
    rows: list[tuple[int, dict[str, Any]]] = []

    def way(shape: Packet | Bundle) -> str:
        tag = f"{letters}: " if (letters := diagram.tag(shape.flow)) else ""
        return f"{tag}{spoken_name(shape.source)} → {spoken_name(shape.target)}"

    for p in diagram.packets:
        rows.append(
            (
                p.start_ns,
                {
                    "flow": "" if p.flow is None else p.flow,
                    "bad": p.decisive,
                    "sent": "" if p.sent_ns is None else moment(p.sent_ns),
                    "received": "" if p.received_ns is None else moment(p.received_ns),
                    "way": way(p),
                    "label": " ".join(x for x in (p.label, p.payload) if x),
                    "anchor": f"p{p.key}",
                    "fate": fate_text(p),
                    "frames": frames[p.key],
                },
            )
        )
    for b in diagram.bundles:
        rows.append(
            (
                b.first_sent_ns,
                {
                    "flow": "" if b.flow is None else b.flow,
                    "bad": False,
                    "sent": f"{moment(b.first_sent_ns)} …",
                    "received": "" if b.first_received_ns is None else f"{moment(b.first_received_ns)} …",
                    "way": way(b),
                    "label": b.label,
                    "anchor": f"b{b.key}",
                    "fate": b.detail,
                    "frames": "",
                },
            )
        )
    rows.sort(key=lambda row: row[0])
    return [row for _, row in rows]


def fate_text(p: Packet) -> str:
    parts = []
    if p.outcome:
        parts.append(p.outcome)
    elif p.delay_ns is not None:
        parts.append(f"arrived after {duration(p.delay_ns)}")
    if p.note:
        parts.append(p.note)
    return ", ".join(parts)


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


def calls(diagram: Diagram) -> tuple[Sequence[Call], str]:
    rest = len(diagram.calls) - _CALLS
    return diagram.calls[:_CALLS], f"{plural(rest, 'call')} more: see events.jsonl." if rest > 0 else ""


def sockets(diagram: Diagram) -> tuple[list[dict[str, Any]], str]:
    """Each socket with the states that it went through."""
    paths: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for state in diagram.states:
        path = paths.setdefault((state.host, state.socket), [])
        path.append((state.label, moment(state.start_ns)))
    for key, last in {(state.host, state.socket): state for state in diagram.states}.items():
        if last.end_ns is not None:
            paths[key].append(("gone", moment(last.end_ns)))
    rows = [{"host": host, "socket": socket, "path": path} for (host, socket), path in paths.items()]
    rest = len(rows) - _SOCKETS
    return rows[:_SOCKETS], f"{plural(rest, 'socket')} more: see events.jsonl." if rest > 0 else ""


def counters(evidence: Evidence) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Names of the hosts, and each counter that changed anywhere, with its change on each host."""
    known = evidence.records.counters
    records = {host: known[host] for host in evidence.records.hosts if host in known}

    def change(host: str, name: str) -> int:
        return records[host].after.get(name, 0) - records[host].before.get(name, 0)

    names = {name for host, record in records.items() for name in record.after if change(host, name)}
    rows = [
        (name, [f"{delta:+,}" if (delta := change(host, name)) else "" for host in records])
        for name in sorted(names)
    ]
    return list(records), rows


def streams(result: Result, evidence: Evidence | None) -> Sequence[StreamRecord]:
    return (result.streams or (evidence.records.streams if evidence is not None else ()))[:_SOCKETS]


def programs(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    return [
        {
            "host": run.host,
            "title": " ".join(run.command),
            "outcome": words.run_outcome(run),
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
