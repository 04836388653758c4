"""The HTML report in a real browser: opened, looked at by script, used by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import without_docker
from tests.lab import report_chromium
from tests.unit.report_helpers import run_folders

pytestmark = pytest.mark.docker  # needs Debian's Chromium as the others need Docker: required where that is


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return run_folders(tmp_path_factory.mktemp)


@pytest.fixture(scope="module")
def browser() -> Iterator[report_chromium.Browser]:
    program = report_chromium.find()
    if program is None:
        without_docker("no Chromium on this machine: apt-get install chromium")
        raise AssertionError
    with report_chromium.Browser(program) as found:
        yield found


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_chromium_opens_the_reports_without_a_word(
    browser: report_chromium.Browser, runs: dict[str, Path], width: int, dark: bool
) -> None:
    for folder in runs.values():
        assert browser.open(folder / "report.html", width=width, dark=dark) == []
        wide, inner = browser.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= inner
        ground = browser.evaluate("getComputedStyle(document.querySelector('section')).backgroundColor")
        assert ground == ("rgb(17, 22, 28)" if dark else "rgb(255, 255, 255)")


def test_chromium_tells_what_a_broken_page_does(browser: report_chromium.Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        '<script>console.error("so"); missing()</script><img src="http://127.0.0.1:9/x.png">'
    )
    said = browser.open(tmp_path / "bad.html")
    assert "console.error: so" in said
    assert any("missing is not defined" in line for line in said)
    assert "request: http://127.0.0.1:9/x.png" in said


def test_packets_by_keyboard_filter_and_jump(browser: report_chromium.Browser, runs: dict[str, Path]) -> None:
    browser.open(runs["loss"] / "report.html")
    browser.evaluate("document.querySelector('a.jump').click()")
    heading = "document.querySelector('#inspector h3').textContent"
    assert "seq=12" in browser.evaluate(heading)
    assert not browser.evaluate("document.querySelector('#inspector').hidden")
    browser.press("ArrowDown")
    assert "seq=1460" in browser.evaluate(heading)
    assert "198.18.7.11:8001" in browser.evaluate("document.querySelector('#inspector dl').textContent")
    browser.press("Escape")
    assert browser.evaluate("document.querySelector('#inspector').hidden")
    browser.open(runs["three"] / "report.html")
    browser.evaluate(
        "(f => {f.value = '1'; f.dispatchEvent(new Event('change'))})(document.querySelector('#flow'))"
    )
    shown = browser.evaluate("document.querySelectorAll('.viewer.wide .p:not(.off)').length")
    rows = browser.evaluate("document.querySelectorAll('#packet-table tbody tr:not([hidden])').length")
    assert shown == rows == 2


def test_paper_is_white(browser: report_chromium.Browser, runs: dict[str, Path]) -> None:
    assert browser.open(runs["bulk"] / "report.html", dark=True, media="print") == []
    for part in ("body", ".viewer.wide .seq", ".plot"):
        ink = browser.evaluate(f"getComputedStyle(document.querySelector('{part}')).color")
        assert max(int(value) for value in re.findall(r"\d+", ink)) < 120
    assert browser.evaluate("getComputedStyle(document.querySelector('.tools')).display") == "none"


def test_the_theme_can_be_changed(browser: report_chromium.Browser, runs: dict[str, Path]) -> None:
    browser.open(runs["loss"] / "report.html")
    ground = "getComputedStyle(document.querySelector('.seq')).backgroundColor"
    assert browser.evaluate(ground) == "rgb(255, 255, 255)"
    browser.evaluate("document.querySelector('#theme').click()")
    assert browser.evaluate(ground) == "rgb(17, 22, 28)"
    browser.evaluate("document.querySelector('#theme').click()")


def test_at_400_px_all_words_of_the_drawing_are_inside_it(
    browser: report_chromium.Browser, runs: dict[str, Path]
) -> None:
    """By the browser's own measures, whatever fonts it has."""
    outside = """[...document.querySelectorAll('.viewer.narrow .body-svg text')].filter(t => {
        const box = t.getBBox(), whole = t.ownerSVGElement.viewBox.baseVal;
        return !t.getAttribute('transform') && (box.x < -1 || box.x + box.width > whole.width + 1);
    }).map(t => t.textContent)"""
    for folder in runs.values():
        browser.open(folder / "report.html", width=400)
        assert browser.evaluate("document.querySelectorAll('.viewer.narrow .body-svg text').length") > 5
        assert browser.evaluate(outside) == []


def test_at_400_px_a_table_s_caption_is_read_without_scrolling(
    browser: report_chromium.Browser, runs: dict[str, Path]
) -> None:
    for folder in runs.values():
        browser.open(folder / "report.html", width=400)
        right = "[...document.querySelectorAll('caption')].map(c => c.getBoundingClientRect().right)"
        ends = browser.evaluate(right)
        assert len(ends) > 4
        assert max(ends) <= 400
        wide = "[...document.querySelectorAll('.scroll table')].some(t => t.offsetWidth > 500)"
        assert browser.evaluate(wide), "no table is wider than the page: nothing was asked"
