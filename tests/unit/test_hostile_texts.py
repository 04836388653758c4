"""Texts of others in every field, and every form in which the lab writes: none of it is obeyed by anybody."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from lab.cli import matrix_command
from lab.evidence.model import CounterRecord, Json, LogRecord, RunRecord, ServiceRecord
from lab.evidence.reader import read_capture
from lab.evidence.store import Evidence
from lab.harmless import clean, json_text, printed, visible, yaml_text
from lab.report import (
    diagram_mermaid,
    diagram_svg,
    diagram_text,
    render,
    render_html,
    render_index,
    render_junit,
    render_suite,
)
from lab.result import Phase, Result
from lab.runner.compose import compose_text
from lab.scenario.load import load
from lab.session.log import log_commands, log_services
from lab.verdict import Verdict
from tests.fuzz.visible import FORBIDDEN, harmless
from tests.unit.report_helpers import finding, loss_story, result

HOSTILE = "a\x1b[31mb\x1b]0;title\x07c\u2028d\x85e\u202ef\ud800g\r\n- h\x9b2J\x00\u2066<script>&\"'"
ROOT = Path(__file__).parents[2]


def hostile() -> Result:
    """A result with the text wherever a text of somebody can stand."""
    texts = ("name", "source", "expected", "actual", "reason", "tolerance", "margin")
    bad = replace(finding(verdict=Verdict.FAIL), **dict.fromkeys(texts, HOSTILE))
    return replace(
        result(),
        name=HOSTILE,
        scenario=HOSTILE,
        summary=HOSTILE,
        tags=(HOSTILE,),
        params={HOSTILE: HOSTILE},
        verdict=Verdict.FAIL,
        reason=HOSTILE,
        findings=(bad,),
        phases=(Phase(HOSTILE, 0.0, 1.0),),
        notes=(HOSTILE,),
        captures=(HOSTILE,),
        values={HOSTILE: HOSTILE},
    )


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """A story whose programs, counters and causes say it too."""
    seen = loss_story().write(tmp_path_factory.mktemp("run"))
    records = seen.records
    program = RunRecord("steps[0]", "client", (HOSTILE,), 1, HOSTILE, HOSTILE, 1, 2, 1, 2, error=HOSTILE)
    counters = {"client": CounterRecord("client", {HOSTILE: 0}, {HOSTILE: 5})}
    calls = tuple(replace(call, arguments={HOSTILE: HOSTILE}, notes=(HOSTILE,)) for call in records.calls)
    return Evidence(replace(records, runs=(program,), counters=counters, calls=calls), seen.captures)


FORMS = {
    "terminal": lambda r, e: render(r, verbose=True, folder=Path(clean(HOSTILE))),
    "suite": lambda r, e: render_suite([r, r], verbose=True),
    "JUnit": lambda r, e: render_junit([r]),
    "page": lambda r, e: render_html(r, e, source=HOSTILE, files_of_run=[HOSTILE]),
    "index": lambda r, e: render_index([r], folders=[HOSTILE]),
    "diagram": lambda r, e: diagram_text(e, result=r),
    "Mermaid": lambda r, e: diagram_mermaid(e, result=r),
    "SVG": lambda r, e: diagram_svg(e, result=r),
}


@pytest.mark.parametrize("form", FORMS)
def test_no_form_has_a_control_character_of_anybody(form: str, evidence: Evidence) -> None:
    text = FORMS[form](hostile(), evidence)
    harmless(text)
    assert text.encode("utf-8")
    if form in ("JUnit", "SVG"):
        ET.fromstring(text)


@pytest.mark.parametrize("form", ["terminal", "suite", "diagram"])
def test_colours_are_the_lab_s_own(form: str, evidence: Evidence) -> None:
    drawn = {
        "terminal": lambda: render(hostile(), colour=True, verbose=True),
        "suite": lambda: render_suite([hostile()], colour=True, verbose=True),
        "diagram": lambda: diagram_text(evidence, colour=True, result=hostile()),
    }[form]()
    assert "\x1b[" in drawn
    harmless(drawn, colour=True)


def test_comments_and_names_in_captures(tmp_path: Path, evidence: Evidence) -> None:
    from lab.evidence.pcapng_write import merge

    captures = [
        dataclasses.replace(one, host=f"{HOSTILE}{at}") for at, one in enumerate(evidence.captures.values())
    ]
    comments = {(captures[0].host, 1): HOSTILE}
    merge(captures, tmp_path / "m.pcapng", comments)
    merged = read_capture(tmp_path / "m.pcapng")
    assert merged.comments
    for text in (*merged.comments.values(), *(one.name for one in merged.interfaces)):
        assert not FORBIDDEN.search(text)
        assert "\n" not in text


def test_logs_of_services_and_of_the_wire(tmp_path: Path, evidence: Evidence) -> None:
    line = LogRecord("client", "web", 1, 1_000_000_000, "stdout", HOSTILE.replace("\n", ""))
    start = ServiceRecord("client", "web", 1, "image")
    log_services(replace(evidence.records, services=(start,), logs=(line,)), tmp_path)
    command: dict[str, Json] = {"program": "tc", "duration_ms": 1, "status": 0}
    log_commands([{**command, "input": HOSTILE, "output": HOSTILE}], tmp_path / "wire.log")
    for name, lines in (("client-web", 1), ("wire", 5)):
        text = (tmp_path / f"{name}.log").read_bytes().decode("utf-8")
        harmless(text)
        assert text.count("\n") == lines
        assert "title" not in text


@pytest.mark.parametrize("libyaml", [True, False])
def test_yaml_and_json_have_no_line_but_their_own(libyaml: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not libyaml:
        monkeypatch.delattr(yaml, "CSafeDumper", raising=False)
    value: dict[str, Any] = {HOSTILE.replace("\ud800", ""): [HOSTILE.replace("\ud800", "")]}
    text = yaml_text(value)
    harmless(text)
    assert yaml.safe_load(text) == value
    harmless(yaml_text(HOSTILE))
    line = json_text(value)
    harmless(line)
    assert "\n" not in line
    assert json.loads(line) == value
    assert json.loads(json_text([HOSTILE])) == [HOSTILE]


NAMES = 'params: {x: ["a\\u2028b", "c\\x85d", "e\\nf", "g\\x1b[2J"]}\nsummary: "s\\e[31m\\L\\N"\n'


def test_what_is_made_of_a_scenario(tmp_path: Path) -> None:
    path = tmp_path / "s\u2028\x1b[2J.yml"
    path.write_text(f"lab: 1\n{NAMES}steps:\n  - {{do: run, at: client, command: [echo, '${{x}}']}}\n")
    cases = load(path)
    assert len(cases) == 4
    for case in cases:
        assert case.name.isprintable()
        harmless(compose_text(case.scenario))
    for form in (matrix_command.as_github, matrix_command.as_json):
        text = form(matrix_command.by_case(cases))
        harmless(text)
        assert len(json.loads(text)) in (1, 4)
    assert "\n" not in matrix_command.as_github(matrix_command.by_case(cases))


def test_nothing_else_prints() -> None:
    """Whatever a command says goes through `lab.cli.say`; a new one that does not would be seen here."""
    for path in (ROOT / "lab" / "cli").glob("*.py"):
        if path.name not in ("say.py", "progress.py", "sh_command.py"):
            text = path.read_text(encoding="utf-8")
            for word in ("click.echo", "print(", "sys.stdout.write", "sys.stderr.write", "secho"):
                assert word not in text, f"{path.name}: {word}"


def test_a_colour_of_somebody_is_none() -> None:
    assert printed("\x1b[31mred\x1b[8mhidden", colour=True) == "\x1b[31mred·hidden"
    assert printed("\x1b[31mred") == "·red"
    assert visible("a\nb\u202e") == "a\\nb\\u202e"
