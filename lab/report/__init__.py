"""Reports: pure functions of a result and its evidence, for the terminal, for CI and for people."""

from __future__ import annotations

from pathlib import Path

from lab.evidence.store import Evidence
from lab.files import read_bounded, write_whole
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
_SOURCE = 4 << 20  #: bytes of a scenario that the page shows

_SHORT = Budget(all_below=90, special=70, ends=25, bundles=40)  #: what a terminal or a page of text bears


def write_reports(folder: Path, result: Result, evidence: Evidence | None, *, index: str = "") -> None:
    """Writes `report.html` and `junit.xml` into a run folder. `evidence` is None where none was collected."""
    write_whole(folder / JUNIT_FILE, render_junit([result]))
    try:
        source = read_bounded(folder / "scenario.yml", _SOURCE, follow=False).decode("utf-8", "replace")
    except OSError:
        source = ""  # not there, or not a file of the folder's own: the page goes without it
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name != REPORT_FILE
    )
    page = render_html(result, evidence, source=source, files_of_run=names[:200], index=index)
    write_whole(folder / REPORT_FILE, page)


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
    """The sequence diagram as one SVG document, light or dark as its reader prefers."""
    findings = result.findings if result is not None else ()
    return svg.render(diagram_of(evidence, title=result.name if result else "run", findings=findings))
