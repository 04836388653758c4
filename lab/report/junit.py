"""JUnit XML for CI: a test case for each lab case; failure = FAIL, error = ERROR, skipped = SKIP."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

import junitparser

from lab.harmless import clean, document
from lab.report.terminal import finding_lines
from lab.report.text import Paint
from lab.result import Result
from lab.verdict import Verdict

_junit: Any = junitparser  # its functions are not typed


def render_junit(results: Iterable[Result]) -> str:
    """The XML of one or many cases in one suite, with an XML declaration."""
    suite = _junit.TestSuite("lab")
    cases = list(results)
    for result in cases:
        suite.add_testcase(_case(result))
    if cases:
        suite.timestamp = document(min(result.started for result in cases))
    xml = _junit.JUnitXml("lab")
    xml.add_testsuite(suite)
    xml.update_statistics()
    text = xml.tostring()
    return document(text.decode() if isinstance(text, bytes) else str(text))


def _case(result: Result) -> Any:
    classname = PurePath(result.scenario).with_suffix("").as_posix().strip("/").replace("/", ".")
    case = _junit.TestCase(document(result.name), document(classname), round(result.seconds, 3))
    properties = _junit.Properties()
    for name, value in _properties(result):
        properties.append(_junit.Property(document(name), document(value)))
    case.append(properties)
    if result.verdict is Verdict.SKIP:
        case.result = [_junit.Skipped(document(result.reason), "SKIP")]
    elif result.verdict is not Verdict.PASS:
        kind, what = _junit.Error, result.error.kind if result.error else "ERROR"
        if result.verdict is Verdict.FAIL:
            kind, what = _junit.Failure, result.first_failure.name if result.first_failure else "FAIL"
        outcome = kind(document(result.reason), document(what))
        outcome.text = _details(result)
        case.result = [outcome]
    case.system_out = document(
        "\n".join(
            f"{f.verdict.value:<5} {f.place}: {f.name}: {f.actual or f.reason}" for f in result.findings
        )
    )
    return case


def _properties(result: Result) -> Iterable[tuple[str, str]]:
    yield "run", result.run
    for name, value in result.params.items():
        yield f"param.{name}", str(value)
    if result.tags:
        yield "tags", ", ".join(result.tags)
    if result.environment is not None:
        yield "wire", result.environment.wire
        yield "kernel", result.environment.kernel
        yield "engine", result.environment.engine


def _details(result: Result) -> str:
    """The first failure in full, as in the terminal, then the other failures."""
    lines = []
    if result.error is not None:
        place = f"{result.error.place}: " if result.error.place else ""
        lines.append(f"{place}{clean(result.error.message, keep_newlines=True)}")
        if result.error.hint:
            lines.append(f"next: {clean(result.error.hint)}")
    for finding in result.findings:
        if finding.verdict.bad:
            lines += finding_lines(finding, Paint(False), indent="")
    return document("\n".join(lines))
