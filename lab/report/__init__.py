"""Reports: pure functions of a result and its evidence, for the terminal, for CI and for a browser."""

from __future__ import annotations

import itertools
from pathlib import Path

from lab.evidence.store import Evidence
from lab.files import is_file, read_bytes, write_text
from lab.report.diagram import mermaid, svg, text
from lab.report.diagram.bundling import Budget
from lab.report.diagram.source import diagram_of
from lab.report.html import prepare_html, render_html, render_index
from lab.report.junit import render_junit
from lab.report.terminal import render, render_suite
from lab.result import Result

__all__ = [
    "diagram_mermaid",
    "diagram_svg",
    "diagram_text",
    "prepare_html",
    "render",
    "render_html",
    "render_index",
    "render_junit",
    "render_suite",
    "write_reports",
]

REPORT_FILE = "report.html"
JUNIT_FILE = "junit.xml"

_MOST_SEEN = 10_000  #: names in a run folder that are examined
_MOST_NAMED = 200  #: files that the page links to

_SHORT = Budget(all_below=90, special=70, ends=25, bundles=40)  #: what fits a terminal or a page of text


def write_reports(folder: Path, result: Result, evidence: Evidence | None, *, index: str = "") -> None:
    """Writes `report.html` and `junit.xml` into a run folder. `evidence` is None if none was collected."""
    write_text(folder / JUNIT_FILE, render_junit([result]))
    page = render_html(result, evidence, source=_source(folder), files_of_run=_names(folder), index=index)
    write_text(folder / REPORT_FILE, page)


def _source(folder: Path) -> str:
    try:
        return read_bytes(folder / "scenario.yml", root=folder).decode("utf-8", "replace")
    except OSError:
        return ""


def _names(folder: Path) -> list[str]:
    """The files in a run folder that the page links to: real files, at most two folders down."""
    found: list[str] = []
    for path in itertools.islice(
        itertools.chain.from_iterable(map(folder.glob, ("*", "*/*", "*/*/*"))), _MOST_SEEN
    ):
        if path.name != REPORT_FILE and is_file(path, folder):
            found.append(path.relative_to(folder).as_posix())
    return sorted(found)[:_MOST_NAMED]


def diagram_text(
    evidence: Evidence,
    *,
    width: int = 80,
    colour: bool = False,
    ascii: bool = False,
    result: Result | None = None,
) -> str:
    """The sequence diagram for a terminal. `result` marks the calls that failed."""
    findings = result.findings if result is not None else ()
    diagram = diagram_of(evidence, title=result.name if result else "", findings=findings, budget=_SHORT)
    return text.render(diagram, width=width, colour=colour, ascii=ascii)


def diagram_mermaid(evidence: Evidence, *, result: Result | None = None) -> str:
    """The sequence diagram as Mermaid text."""
    findings = result.findings if result is not None else ()
    return mermaid.render(
        diagram_of(evidence, title=result.name if result else "", findings=findings, budget=_SHORT)
    )


def diagram_svg(evidence: Evidence, *, result: Result | None = None) -> str:
    """The sequence diagram as one SVG document, light or dark as the reader prefers."""
    findings = result.findings if result is not None else ()
    return svg.render(diagram_of(evidence, title=result.name if result else "run", findings=findings))
