"""The gallery `docs/gallery.md`: a section for each scenario, its text from the file, its picture from a run.

    python -m lab run scenarios -j auto
    python -m tools.gallery runs/latest     the page and its pictures
    python -m tools.gallery --text          only the page, after a change of a comment in a scenario

The page depends only on the scenario files, and the pictures only on the run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import click

from lab.errors import LabError, UsageError
from lab.evidence.store import Evidence, load_evidence
from lab.report.diagram import svg
from lab.report.diagram.bundling import Budget
from lab.report.diagram.source import diagram_of
from lab.result import RESULT_FILE, Result, read_result
from lab.scenario.load import load_all
from lab.session.folder import file_name
from lab.site import load_site
from lab.verdict import Verdict

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = ROOT / "docs" / "gallery"

LARGEST = 58_000  #: bytes of a picture; a page with a hundred must stay light
LARGEST_OF_PROGRAMS = 250_000  #: real programs have many connections, none of which can be left out
_BUDGET = Budget(all_below=90, special=70, ends=25, bundles=40)

#: Folder below scenarios/ → its heading and what its scenarios have in common, in the order of the page.
GROUPS = {
    "": ("First steps", "Five scenarios to begin with: open, send, lose, wait, close."),
    "connect": ("Connecting", "What connect() waits for, and what it reports when nothing comes."),
    "data": (
        "Sending and receiving",
        "Streams have no messages, buffers have an end, and small packets wait.",
    ),
    "timeouts": ("Timeouts", "Calls that give up on time, and calls that do not wait at all."),
    "close": ("Closing", "FIN, RST, and what remains of a connection."),
    "queue": ("Waiting to be accepted", "The backlog: how many may wait, and what becomes of the next."),
    "servers": ("Servers and clients", "The article's two programs, and better ways to serve clients."),
    "sockets": ("Sockets themselves", "Descriptors and ports: what a process may hold."),
    "failure": ("When things break", "Killed processes, dead hosts, cut cables."),
    "link": ("Links", "Loss, jitter, duplicates, slow and asymmetric links: how TCP copes with them."),
    "udp": ("UDP", "Datagrams: no connection, no order, no word about loss."),
    "network": ("Below the sockets", "Ping and ARP."),
    "apps": ("Real programs", "What people ask maintainers about, and the setting that fixes it."),
}


_HEAD = """\
# Gallery

{number} scenarios, each with the sequence diagram of a real run: the calls at both ends with their results,
the states of the sockets, and every packet with the time it took. A broken arrow is a packet that was lost.
Open a picture to see it large, or run the scenario and open `runs/latest/report.html`, which shows the
fields of each packet. [Row by row](seed.md) lists the points of the article that the lab began with, each
with its scenarios.

The command `lab` is available after `source .venv/bin/activate`; `lab run scenarios -j auto` runs them all.

`python -m tools.gallery` makes this page from the comments in the files and from one run of them.
"""


@dataclass(frozen=True, slots=True)
class Section:
    """The section of the page about one scenario file."""

    file: str  #: scenarios/close/half-close.yml
    summary: str
    teaches: str  #: the first paragraph of the comment at the top
    no_luck: str  #: why it cannot pass by luck; "" if the file does not say
    cases: tuple[str, ...]
    rows: tuple[int, ...]  #: rows of the article, from its tags seed-N

    @property
    def title(self) -> str:
        """close/half-close"""
        return self.file.removeprefix("scenarios/").removesuffix(".yml")

    @property
    def group(self) -> str:
        return self.title.rpartition("/")[0]

    @property
    def picture(self) -> str:
        return f"{file_name(self.title)}.svg"

    @property
    def largest(self) -> int:
        """The most bytes its picture may have."""
        return LARGEST_OF_PROGRAMS if self.group == "apps" else LARGEST

    @property
    def drawn(self) -> str:
        """The case whose run is drawn: the last of a sweep, as sweeps go from mild to harsh."""
        return self.cases[-1]


def sections(root: Path = ROOT) -> list[Section]:
    """All scenarios in the order of the page. Raises `UsageError` if one does not say what it teaches."""
    found: list[Section] = []
    cases = load_all([root / "scenarios"], policy=load_site(root / "lab.yml").policy)
    for path, group in groupby(cases, key=lambda case: case.path):
        own = list(group)
        comment = _paragraphs(own[0].source_text)
        file = path.relative_to(root).as_posix()
        if not comment:
            raise UsageError(f"{file}: it needs a comment at the top that says what it teaches")
        found.append(
            Section(
                file,
                own[0].scenario.summary,
                comment[0],
                next((text for text in comment[1:] if text.startswith("No luck: ")), ""),
                tuple(case.name for case in own),
                tuple(int(tag[5:]) for tag in own[0].scenario.tags if re.fullmatch(r"seed-\d+", tag)),
            )
        )
    unknown = sorted({section.group for section in found} - set(GROUPS))
    if unknown:
        raise UsageError(f"scenarios/{unknown[0]}: no heading for it in GROUPS of tools/gallery.py")
    order = list(GROUPS)
    return sorted(found, key=lambda section: (order.index(section.group), section.file))


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of the comment at the top of a file, each on one line, without the schema's line."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# yaml-language-server:"):
            lines.append(line.lstrip("#").strip())
    return [" ".join(part.split()) for part in "\n".join(lines).split("\n\n") if part.strip()]


def page(all_sections: Sequence[Section]) -> str:
    """The whole of `docs/gallery.md`."""
    lines = [_HEAD.format(number=len(all_sections))]
    groups = [(name, list(own)) for name, own in groupby(all_sections, key=lambda section: section.group)]
    for name, own in groups:
        shown = ", ".join(f"[{_short(one)}](#{_anchor(one.title)})" for one in own)
        lines.append(f"- **[{GROUPS[name][0]}](#{_anchor(GROUPS[name][0])})**: {shown}")
    for name, own in groups:
        heading, common = GROUPS[name]
        lines += ["", f"## {heading}", "", common]
        for section in own:
            lines += ["", *_section(section)]
    return "\n".join(lines) + "\n"


def _short(section: Section) -> str:
    return section.title.rpartition("/")[2]


def _section(section: Section) -> Iterator[str]:
    yield f"### {section.title}"
    yield ""
    yield _text(section.teaches)
    yield ""
    if section.no_luck:
        yield f"*{_text(section.no_luck)}*"
        yield ""
    yield "```sh"
    yield f"lab run {section.file}"
    yield "```"
    yield ""
    said = f"[The file](../{section.file})"
    if section.rows:
        rows = ", ".join(map(str, section.rows))
        said += f" · [row{'s' * (len(section.rows) > 1)} {rows} of the article](seed.md)"
    if len(section.cases) > 1:
        said += f" · {len(section.cases)} cases; the picture shows `{section.drawn}`"
    yield said
    yield ""
    alt = f"Sequence diagram: {section.summary}".replace("[", "(").replace("]", ")")
    yield f"[![{_text(alt)}](gallery/{section.picture})](gallery/{section.picture})"


def _text(text: str) -> str:
    """Plain text as Markdown, in which names like SO_REUSEADDR and b"" appear as they are."""
    return re.sub(r"([\\`*_<>])", r"\\\1", text)


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading: `close/half-close` → `closehalf-close`."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def picture(evidence: Evidence, result: Result, largest: int = LARGEST) -> str:
    """The diagram of a run as SVG of at most `largest` bytes; a long run is drawn with more bundles."""
    budget = _BUDGET
    while True:
        drawn = svg.render(diagram_of(evidence, title=result.name, findings=result.findings, budget=budget))
        if len(drawn.encode()) <= largest:
            return drawn
        if budget.all_below < 4:
            raise UsageError(f"{result.name}: its picture has {len(drawn)} bytes, allowed are {largest}")
        budget = Budget(
            all_below=budget.all_below // 2,
            special=budget.special // 2,
            ends=budget.ends // 2,
            bundles=max(4, budget.bundles // 2),
        )


def draw(runs: Sequence[Path], all_sections: Sequence[Section], pictures: Path) -> list[str]:
    """Draws the cases that passed in the folders of runs; of a case in several, the last one.

    Returns which pictures were left as they were, and why.
    """
    found = {result.name: (result, folder) for run in runs for result, folder in _results(run)}
    left: list[str] = []
    for section in all_sections:
        result, folder = found.get(section.drawn, (None, Path()))
        if result is None or not result.scenario.endswith(section.file):
            left.append(f"{section.title}: {section.drawn} was not run there")
        elif result.verdict is not Verdict.PASS:
            left.append(f"{section.title}: {section.drawn} ended in {result.verdict} there")
        else:
            drawn = picture(load_evidence(folder), result, section.largest)
            (pictures / section.picture).write_text(drawn, encoding="utf-8")
    return left


def _results(run: Path) -> Iterator[tuple[Result, Path]]:
    """The results of a run of one case, or of many, with their folders."""
    for file in (*run.glob(RESULT_FILE), *sorted(run.glob(f"*/{RESULT_FILE}"))):
        yield read_result(file.parent), file.parent


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--text", is_flag=True, help="Only the page, with the pictures as they are.")
def main(runs: tuple[Path, ...], text: bool) -> None:
    """Write docs/gallery.md, and its pictures from RUNS, folders of `lab run` (default: runs/latest)."""
    try:
        found = sections()
        PICTURES.mkdir(exist_ok=True)
        left = [] if text else draw(runs or (Path("runs/latest"),), found, PICTURES)
    except LabError as error:
        sys.exit(str(error))
    wanted = {section.picture for section in found}
    for old in PICTURES.glob("*.svg"):
        if old.name not in wanted:
            old.unlink()
    PAGE.write_text(page(found), encoding="utf-8")
    for one in left:
        click.echo(f"picture left as it was: {one}", err=True)
    missing = [section.picture for section in found if not (PICTURES / section.picture).is_file()]
    if missing:
        sys.exit(f"no picture yet: {', '.join(missing)}")


if __name__ == "__main__":
    main()
