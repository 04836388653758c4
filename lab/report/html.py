"""The HTML report: one self-contained file, and the index page over several cases.

Jinja escapes everything that comes from a scenario, a program or a packet; only the markup of the diagram and
the plots is inserted as it is, and they escape their own texts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined
from markupsafe import Markup

from lab.evidence.store import Evidence
from lab.harmless import document
from lab.place import Place
from lab.quantities import moment, plural, seconds
from lab.report import page
from lab.report.diagram import legend, svg
from lab.report.diagram.layout import lay_out
from lab.report.diagram.shapes import NARROW, Layout
from lab.report.diagram.source import diagram_of, zero_ns
from lab.report.plots import Plot, flow_plots
from lab.report.services import services
from lab.report.text import MARKS, tally
from lab.report.values import tables_of
from lab.result import Result, time_taken
from lab.verdict import Verdict

_PLOTTED_FLOWS = 6
_PAGE = "report.html.j2"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lab.report"),
        bytecode_cache=_bytecode_cache(),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = moment
    environment.globals["css"] = _css()
    environment.globals["js"] = Markup(_read("report.js"))
    environment.globals["marks"] = {verdict.value: mark for verdict, mark in MARKS.items()}
    return environment


def _bytecode_cache() -> FileSystemBytecodeCache | None:
    """A cache of compiled templates in a folder that only the user may write; it saves 45 ms each time."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(base, "lab", "templates")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.stat(folder)
    except OSError:
        return None
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        return None  # someone else could put code there
    return FileSystemBytecodeCache(folder)


def _read(name: str) -> str:
    return (files("lab.report") / "templates" / name).read_text("utf-8")


@cache
def _css() -> Markup:
    """The style sheets, each with its dark half; the system decides unless the page says otherwise."""
    parts = []
    for name, selector in (("report", ""), ("diagram", " .seq"), ("plot", " .plot")):
        dark = _read(f"{name}-dark.css")
        parts += [
            _read(f"{name}.css"),
            f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]){selector} {{ {dark} }} }}",
            f":root[data-theme=dark]{selector} {{ {dark} }}",
            # Paper is white, whatever the screen is.
            f"@media print {{ :root:not(#never){selector} {{ {_light(name)} }} }}",
        ]
    return Markup("\n".join(parts))


def _light(name: str) -> str:
    """The light values of a sheet, which come first in it."""
    sheet = _read(f"{name}.css")
    return sheet[sheet.index("{") + 1 : sheet.index("}")]


def prepare_html() -> None:
    """Compiles the template of a case's page, which takes 40 ms, while the lab only waits."""
    _environment().get_template(_PAGE)


def render_html(
    result: Result,
    evidence: Evidence | None,
    *,
    source: str = "",
    files_of_run: Sequence[str] = (),
) -> str:
    """The page of one case. `source` is the scenario's text, `files_of_run` are paths relative to the
    page."""
    context: dict[str, Any] = {
        "result": result,
        "took": seconds(result.seconds),
        "started": _date(result.started),
        "held": page.held(result),
        "tally": tally(f.verdict for f in result.findings),
        "phases": page.phases(result),
        "environment": page.environment(result, evidence),
        "files": [_file(name, result) for name in files_of_run],
    }
    context |= _evidence_context(result, evidence)
    context["first"] = result.first_failure
    place = _place(result)
    context["excerpt"] = page.excerpt(source, place.line) if place is not None and source else None
    context["sections"] = _sections(result, context)
    return document(_environment().get_template(_PAGE).render(context))


def _evidence_context(result: Result, evidence: Evidence | None) -> dict[str, Any]:
    """What the evidence adds to the page; empty without evidence."""
    names = "diagram packets packet_json plots more_flows calls more_calls sockets more_sockets"
    names += " counters counter_hosts programs services wire_log"
    empty: dict[str, Any] = dict.fromkeys(names.split(), "")
    empty |= {"anchors": {}, "streams": page.streams(result, evidence)}
    if evidence is None:
        return empty
    zero = zero_ns(evidence)
    diagram = diagram_of(evidence, title=result.name, findings=result.findings)
    layout = lay_out(diagram)
    journeys = evidence.trace.journeys
    frames: dict[int, str] = {}
    anchors: dict[tuple[str, int], str] = {}
    for packet in diagram.packets:
        refs = journeys[packet.key].refs
        frames[packet.key] = ", ".join(f"{ref.host} #{ref.number}" for ref in refs)
        anchors |= {(ref.host, ref.number): f"p{packet.key}" for ref in refs}
    plots: list[tuple[str, list[Plot]]] = []
    unplotted = 0
    for flow in evidence.trace.flows:
        if len(plots) == _PLOTTED_FLOWS:
            unplotted += 1
        elif drawn := flow_plots(flow, zero):
            plots.append((flow.name, drawn))
    calls, more_calls = page.calls(diagram)
    sockets, more_sockets = page.sockets(diagram)
    hosts, counters = page.counters(evidence)
    return empty | {
        "anchors": anchors,
        "diagram": {
            "flows": diagram.flows,
            "columns": ", ".join(host.name for host in diagram.hosts),
            "summary": svg.summary(diagram),
            "views": [_view("wide", layout), _view("narrow", lay_out(diagram, NARROW))],
            "legend": [(Markup(sample), text) for sample, text in legend.samples(diagram)],
            "omitted": diagram.omitted,
            "total": diagram.total_packets,
        },
        "packets": page.packet_rows(diagram, frames),
        "packet_json": Markup(page.packet_data(diagram)),
        "plots": plots,
        "more_flows": f"{unplotted} more flows are not plotted." if unplotted else "",
        "calls": calls,
        "more_calls": more_calls,
        "sockets": sockets,
        "more_sockets": more_sockets,
        "counters": counters,
        "counter_hosts": hosts,
        "programs": page.programs(evidence.records.runs),
        "services": services(evidence.records, result.findings, zero),
        "wire_log": page.wire_log(evidence, zero),
    }


def _view(name: str, layout: Layout) -> dict[str, Any]:
    """One drawing of the diagram; the page shows the one that fits its width."""
    first = layout.blocks[0] if layout.blocks else None
    return {
        "name": name,
        "width": round(layout.width),
        "height": round(layout.height),
        "head_height": round(svg.head_height(layout)),
        "hidden": (
            f"The states of {plural(layout.hidden_sockets, 'more socket')} are in the table below"
            if layout.hidden_sockets
            else ""
        ),
        "gap": round(first.right if first is not None and name == "wide" else 0),
        # The drawing escapes its own texts.
        "head": Markup("".join(svg.head(layout))),
        "body": Markup("".join(svg.body(layout))),
    }


def _place(result: Result) -> Place | None:
    """Where a case first went wrong."""
    first = result.first_failure
    return first.place if first is not None else result.error.place if result.error is not None else None


def _sections(result: Result, context: Mapping[str, Any]) -> list[tuple[str, str]]:
    known = [
        ("why", "Verdict", True),
        ("judged", "Steps and checks", result.findings),
        ("diagram", "Diagram", context["diagram"]),
        ("packets", "Packets", context["diagram"]),
        ("plots", "Over time", context["plots"]),
        ("links", "Links", result.links),
        ("services", "Services", context["services"]),
        ("calls", "Calls", context["calls"]),
        ("states", "States", context["sockets"]),
        ("counters", "Counters", context["counters"] or context["streams"]),
        ("logs", "Logs", context["programs"] or context["wire_log"]),
        ("environment", "Environment", context["phases"] or context["environment"]),
    ]
    return [(anchor, name) for anchor, name, there in known if there]


_NOTES = {
    "result.json": "the verdict, with all numbers",
    "events.jsonl": "calls, states, counters, wire events",
    "scenario.yml": "as it ran",
    "compose.yml": "the hosts",
    "junit.xml": "for CI",
}


def _file(name: str, result: Result) -> dict[str, str]:
    note = _NOTES.get(name, "")
    if name in result.captures:
        note = "opens in Wireshark"
    return {"name": name, "href": quote(name, errors="replace"), "note": note}


def _date(text: str) -> str:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def render_index(results: Sequence[Result], *, folders: Sequence[str] = ()) -> str:
    """The page over several cases: a matrix of parameters for each swept scenario, then all cases.

    `folders` are the run folders relative to the page, one for each result, or empty for no links.
    """
    where = list(folders) or [""] * len(results)
    cases = [_case(result, folder) for result, folder in zip(results, where, strict=True)]
    total = Verdict.of(r.verdict for r in results)
    context = {
        "total": total.value,
        "tally": tally(r.verdict for r in results),
        "took": seconds(time_taken(results)),
        "began": _date(min((r.started for r in results), default="")),
        "cases": cases,
        "broken": [case for case in cases if case["bad"]],
        "matrices": _matrices(results, cases),
        "values": list(tables_of(results)),
    }
    return document(_environment().get_template("index.html.j2").render(context))


def _case(result: Result, folder: str) -> dict[str, Any]:
    place = _place(result)
    return {
        "name": result.name,
        "verdict": result.verdict.value,
        "bad": result.verdict.bad,
        "reason": result.reason,
        "place": str(place) if place else "",
        "summary": result.summary,
        "took": seconds(result.seconds),
        "href": quote(f"{folder}/report.html", errors="replace") if folder else "",
    }


def _matrices(results: Sequence[Result], cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A table for each scenario with parameters: the last parameter across, the others down."""
    grouped: dict[str, list[int]] = {}
    for n, result in enumerate(results):
        if result.params:
            grouped.setdefault(result.scenario, []).append(n)
    matrices = []
    for scenario, members in grouped.items():
        names = list(results[members[0]].params)
        across, down = names[-1], names[:-1]
        columns: list[str] = []
        rows: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
        for n in members:
            params = {k: str(v) for k, v in results[n].params.items()}
            column = params.get(across, "")
            if column not in columns:
                columns.append(column)
            row = ", ".join(f"{name} {params.get(name, '')}" for name in down) or PurePath(scenario).stem
            rows.setdefault(row, {}).setdefault(column, []).append(cases[n])
        matrices.append(
            {
                "scenario": PurePath(scenario).stem,
                "caption": f"{scenario}: {across} across" + (f", {', '.join(down)} down" if down else ""),
                "corner": ", ".join(down),
                "columns": [f"{across} {column}" for column in columns],
                "rows": [
                    {"name": name, "cells": [cells.get(column, []) for column in columns]}
                    for name, cells in rows.items()
                ],
            }
        )
    return matrices
