"""The HTML report: one file, no network, everything escaped; and, with a Chromium, opened and used."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lab.evidence.model import Records, WireEvent
from lab.evidence.store import Evidence
from lab.report import (
    diagram_mermaid,
    diagram_svg,
    diagram_text,
    render_html,
    render_index,
    write_reports,
)
from lab.report.page import script_json
from lab.result import Result
from lab.verdict import PacketRef, Verdict
from tests.unit.report_helpers import (
    Story,
    bulk_story,
    finding,
    loss_story,
    result,
    run_folder,
    run_folders,
    timeout_story,
)

VOID = {"meta", "link", "br", "input", "img", "hr", "circle", "line", "path", "rect", "polygon"}


class Page(HTMLParser):
    """Ids, links, texts and whether every element is closed where it should be."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        if identity := values.get("id"):
            self.ids.append(identity)
        if tag == "a" and (href := values.get("href")):
            self.links.append(href)
        elif href := values.get("href") or values.get("src"):
            self.loads.append(href)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.wrong.append(f"</{tag}> in {self.open[-3:]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def opened(html: str) -> Page:
    page = Page(html)
    assert page.wrong == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    return page


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return run_folders(tmp_path_factory.mktemp)


def test_the_page_says_what_a_person_wants_to_know(runs: dict[str, Path]) -> None:
    page = opened((runs["loss"] / "report.html").read_text("utf-8"))
    for words in (
        "It first went wrong here",
        "scenarios/story.yml:17:5",
        "timeout after 1.00 s",
        "<the first segment was lost>",
        "line 17",
        "client #6",
        "arrived after 20.1 ms",
        "dropped by rule drop-1 (steps[5])",
        "20.1 … 20.4 ms",
        "this kernel has no sch_netem",
        "TcpActiveOpens",
        "SYN_SENT",
    ):
        assert words in page.text
    assert "It held" in opened((runs["three"] / "report.html").read_text("utf-8")).text
    assert "delay asked for 50ms, tc says 25ms" in (runs["timeout"] / "report.html").read_text("utf-8")


def test_every_jump_leads_somewhere(runs: dict[str, Path]) -> None:
    for folder in runs.values():
        page = opened((folder / "report.html").read_text("utf-8"))
        inner = [link[1:] for link in page.links if link.startswith("#")]
        assert inner
        assert set(inner) <= set(page.ids)
        outer = [link for link in page.links if not link.startswith("#")]
        assert any(link.startswith("pcap/") for link in outer)
        assert all((folder / link).is_file() for link in outer)


def test_the_page_loads_nothing(runs: dict[str, Path]) -> None:
    for folder in runs.values():
        html = (folder / "report.html").read_text("utf-8")
        assert opened(html).loads == ["data:,"]
        for forbidden in ("http://", "https://", "@import", "url("):
            assert forbidden not in html.replace("http://www.w3.org/2000/svg", "")


def test_the_page_has_landmarks_captions_and_a_text_alternative(runs: dict[str, Path]) -> None:
    html = (runs["loss"] / "report.html").read_text("utf-8")
    page = opened(html)
    assert {"header", "nav", "main", "footer", "h1", "h2", "caption"} <= set(page.tags)
    assert page.tags.count("table") == page.tags.count("caption")
    assert page.tags.count("h1") == 1
    assert html.count('<tr data-f="0"') == 15
    assert re.search(r'<html lang="en">', html)
    assert 'aria-label="0: ' not in html or "client to server" in html


def test_what_users_bring_is_escaped_everywhere(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
    story = timeout_story()
    story.call("client", "send", 1, 2, socket=evil, got=evil.encode(), data=evil)
    story.tcp("client", "server", 3, 9, 24, 78, 1, evil.encode())
    story.state("client", 3, evil, 40000, ("server", 8001))
    story.events.append(WireEvent(story.ns(4), "drop", evil, rule=evil, source=evil, target=evil, match=evil))
    failing = finding(
        evil, Verdict.FAIL, 17, actual=evil, expected=evil, margin=evil, reason=evil, source=evil
    )
    outcome = result(
        Verdict.FAIL,
        name=evil,
        summary=evil,
        tags=(evil,),
        params={evil: evil},
        findings=(failing,),
        reason=evil,
        notes=(evil,),
        scenario=evil,
    )
    evidence = run_folder(tmp_path, story, outcome)
    html = render_html(outcome, evidence, source=f"{evil}\n" * 30, files_of_run=[evil])
    page = opened(html)
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert "alert(1)" in page.text
    assert "<b>warning</b>" in page.text  # a program's stderr
    embedded = re.search(r'<script type="application/json" id="packet-data">(.*?)</script>', html, re.S)
    assert embedded is not None
    assert evil[:9] in json.dumps(json.loads(embedded[1]))
    opened(render_index([outcome], folders=[evil]))


def test_json_in_a_script_cannot_end_it() -> None:
    text = script_json({"a": "</script><!--&\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--&\u2028"}


def test_a_page_without_evidence_still_tells_the_verdict() -> None:
    for verdict in Verdict:
        page = opened(render_html(result(verdict), None))
        assert verdict.value in page.text
        assert "svg" not in page.tags


def test_a_case_that_broke_early_still_has_a_page(tmp_path: Path) -> None:
    """No hosts, no captures, calls of hosts that are unknown, times that go back."""
    nothing = Evidence(Records(hosts={}, wire=None), {})
    assert "ERROR" in opened(render_html(result(Verdict.ERROR), nothing)).text
    assert diagram_text(nothing)
    assert diagram_mermaid(nothing)
    story = Story({})
    story.call("ghost", "connect", 5, 3, socket="c", to="nobody:1")
    odd = Evidence(story.records(), {})
    page = opened(render_html(result(Verdict.ERROR), odd))
    assert "c.connect(nobody:1)" in page.text
    assert "c.connect(nobody:1)" in diagram_text(odd)
    half = run_folder(tmp_path, loss_story(), result())
    (tmp_path / "pcap" / "server.pcapng").unlink()
    one_sided = Evidence(half.records, {"client": half.captures["client"]})
    assert "client" in opened(render_html(result(), one_sided)).text


def test_reports_are_functions_of_result_and_evidence(tmp_path: Path) -> None:
    outcome = result(Verdict.FAIL)
    evidence = run_folder(tmp_path, loss_story(), outcome)
    assert render_html(outcome, evidence) == render_html(outcome, evidence)
    write_reports(tmp_path, outcome, evidence)
    first = (tmp_path / "report.html").read_bytes()
    write_reports(tmp_path, outcome, evidence)
    assert (tmp_path / "report.html").read_bytes() == first


def test_a_long_run_stays_small(tmp_path: Path) -> None:
    """Size is bounded by what is drawn: four times the packets, hardly more page."""
    sizes = []
    for segments in (700, 2_800):
        outcome = result()
        evidence = run_folder(tmp_path / str(segments), bulk_story(segments, lose_every=11), outcome)
        sizes.append(len(render_html(outcome, evidence)))
    assert sizes[1] < 1.15 * sizes[0]
    assert sizes[1] < 1_000_000


def test_the_index_has_a_matrix_and_all_cases() -> None:
    results: list[Result] = []
    for delay in ("5ms", "100ms"):
        for loss in ("0%", "5%"):
            verdict = Verdict.FAIL if (delay, loss) == ("100ms", "5%") else Verdict.PASS
            name = f"story[delay={delay},loss={loss}]"
            results.append(result(verdict, name=name, params={"delay": delay, "loss": loss}))
    results.append(result(Verdict.SKIP, name="lonely", params={}, scenario="scenarios/lonely.yml"))
    html = render_index(results, folders=[f"run {n}" for n in range(5)])
    page = opened(html)
    assert page.links.count("run%203/report.html") == 3  # what did not hold, the matrix, the list
    assert "1 failed" in page.text
    matrix = html[html.index('<table class="matrix">') : html.index("</table>")]
    assert re.findall(r'<th scope="col">(.*?)</th>', matrix) == ["delay", "loss 0%", "loss 5%"]
    assert re.findall(r'<th scope="row">(.*?)</th>', matrix) == ["delay 5ms", "delay 100ms"]
    assert "delay down" in matrix
    assert "ipv6" in page.text
    assert opened(render_index([])).text


def test_diagrams_by_themselves(runs: dict[str, Path], tmp_path: Path) -> None:
    outcome = result(Verdict.FAIL)
    evidence = run_folder(tmp_path, loss_story(), outcome)
    assert "FAIL" in diagram_text(evidence, result=outcome)
    assert "FAIL" not in diagram_text(evidence)
    assert diagram_mermaid(evidence).startswith("sequenceDiagram")
    assert diagram_svg(evidence).startswith("<svg")


def test_refs_of_packets_that_are_not_drawn_are_not_links() -> None:
    failing = finding("packets", Verdict.FAIL, packets=(PacketRef("client", 999_999),))
    page = opened(render_html(result(Verdict.FAIL, findings=(failing,)), None))
    assert "client #999999" in page.text
    assert not [link for link in page.links if link.startswith("#p")]
