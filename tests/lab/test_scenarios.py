"""Every shipped scenario on real containers, and what can be said of its run folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lab.judging.recheck import recheck
from lab.report import render
from lab.result import Result
from lab.scenario.load import load_all
from lab.site import load_site
from lab.verdict import Verdict
from tests.conftest import without_docker
from tests.lab import report_chromium
from tests.lab.commands import ROOT, SOCKETS, lab
from tests.lab.test_evidence_tshark import assert_agreement
from tools.mutation.mutate import Mutation, mutate

pytestmark = pytest.mark.docker

Suite = dict[str, tuple[Result, Path]]

CASES = [case.name for case in load_all(SOCKETS, policy=load_site(ROOT / "lab.yml").policy)]
CAUGHT_AT_LEAST = 0.95  #: of all falsified expectations


@pytest.mark.parametrize("name", CASES)
def test_the_scenario_passes(suite: Suite, name: str) -> None:
    result, folder = suite[name]
    assert result.verdict is Verdict.PASS, render(result, folder=folder)


@pytest.mark.parametrize("name", CASES)
def test_its_captures_are_counted_as_tshark_counts_them(suite: Suite, name: str, tshark: str) -> None:
    captures = sorted((suite[name][1] / "pcap").glob("*.pcapng"))
    assert captures
    for path in captures:
        assert_agreement(tshark, path)


@pytest.mark.parametrize("name", CASES)
def test_recheck_comes_to_the_same_findings(suite: Suite, name: str) -> None:
    result, folder = suite[name]
    again = recheck(folder)
    assert again.verdict is result.verdict
    assert [(f.source, f.name, f.verdict, f.actual) for f in again.findings] == [
        (f.source, f.name, f.verdict, f.actual) for f in result.findings
    ]


def test_falsified_expectations_are_caught(suite: Suite) -> None:
    mutations: list[Mutation] = [
        mutate(folder) for result, folder in suite.values() if result.verdict is Verdict.PASS
    ]
    told = "\n".join(mutation.text() for mutation in mutations)
    print(told)
    for mutation in mutations:
        assert mutation.caught > 0, mutation.text()
    caught, of = sum(m.caught for m in mutations), sum(len(m.mutants) for m in mutations)
    assert caught / of >= CAUGHT_AT_LEAST, f"{caught} of {of} caught\n{told}"


def test_reports_open_without_a_console_error(suite: Suite) -> None:
    program = report_chromium.find()
    if program is None:
        without_docker("no Chromium on this machine: apt-get install chromium")
        raise AssertionError
    said: dict[str, list[str]] = {}
    with report_chromium.Browser(program, timeout=300) as browser:
        for name, (_, folder) in suite.items():
            if messages := browser.open(folder / "report.html"):
                said[name] = messages
        index = next(iter(suite.values()))[1].parent / "index.html"
        assert browser.open(index) == []
        assert browser.evaluate("document.querySelectorAll('a[href$=\"report.html\"]').length") >= len(suite)
    assert said == {}


def test_report_recheck_and_pcap_need_no_engine(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(suite["loss"][1], folder)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    before = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    assert lab("report", folder).exit_code == 0
    assert (folder / "report.html").read_text() == before
    assert lab("recheck", folder).exit_code == 0
    merged = lab("pcap", folder)
    assert merged.exit_code == 0
    assert Path(merged.stdout.strip()).stat().st_size > 1_000_000
    diagram = lab("report", "--diagram", folder)
    assert "SYN" in diagram.stdout
    assert max(map(len, diagram.stdout.splitlines())) <= 80


def test_recheck_takes_other_expectations_and_nothing_else(suite: Suite, tmp_path: Path) -> None:
    folder = suite["truncated-recv"][1]
    text = (folder / "scenario.yml").read_text()
    other = tmp_path / "other.yml"
    other.write_text(text.replace('expect: {data: "hello"}', 'expect: {data: "hullo"}'))
    failed = lab("recheck", folder, "--scenario", other)
    assert failed.exit_code == 1
    assert "recv.data" in failed.stdout
    other.write_text(text.replace("delay: 10ms", "delay: 20ms"))
    refused = lab("recheck", folder, "--scenario", other)
    assert refused.exit_code == 2
    assert "delay" in refused.stderr
