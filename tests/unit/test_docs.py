"""The documentation: links lead somewhere, generated pages are up to date, commands are ones that exist."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from msgspec import Struct, structs
from msgspec.structs import replace
from pydantic import BaseModel

from lab import result, verdict
from lab.cli import cli
from lab.evidence import model, store
from lab.policy import Policy
from lab.scenario.load import load
from lab.site import _File, load_site
from lab.tolerance import Tolerance
from tools import cli_reference, compose_reference, gallery, python_reference

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*.md")),
    *sorted((ROOT / "images").rglob("*.md")),
]
RUN_FOLDER = (ROOT / "docs" / "reference" / "run-folder.md").read_text(encoding="utf-8")
SITE = (ROOT / "docs" / "reference" / "site.md").read_text(encoding="utf-8")
FILES = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "scenarios").rglob("*.yml"))]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


@functools.cache
def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Links


def links(page: Path) -> Iterator[str]:
    text = without_code(page.read_text(encoding="utf-8"))
    yield from re.findall(r"\]\(([^)\s]+)\)", text)
    yield from re.findall(r'(?:src|href)="([^"]+)"', text)


def broken(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere, to a file or to a heading in it."""
    found = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading!\n[here](page.md#a-heading) [no](gone.md) ![no](x.png) [no](#other) `[code](gone)`\n"
        '<img src="gone.png"> [out](https://example.org/gone)\n'
    )
    assert broken(page) == ["gone.md", "x.png", "#other", "gone.png"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_the_index_leads_to_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    led_to = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert [
        name(page) for page in (ROOT / "docs").rglob("*.md") if page != index and page not in led_to
    ] == []


def test_the_readme_shows_what_the_tests_run() -> None:
    """Each example there is a file, or a part of one, that a lab test runs."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (scenario,) = re.findall(r"^```yaml\n(lab: 1\ntopology.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert scenario == (ROOT / "examples" / "shop.yml").read_text(encoding="utf-8")
    (test,) = re.findall(r"^```python\n@pytest[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert test in (ROOT / "examples" / "pytest" / "test_answers.py").read_text(encoding="utf-8")


# Commands


def shown_commands(page: Path) -> Iterator[list[str]]:
    """The lines of code blocks that call the lab, without what the shell does around them."""
    text = page.read_text(encoding="utf-8")
    for kind, block in re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if kind not in ("", "sh", "console"):
            continue
        for line in block.splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["lab"]:
                yield words[1:]
            elif words[1:3] == ["-m", "lab"]:
                yield words[3:]


def parse(words: list[str]) -> None:
    """Raises what click says of a command line; nothing is run."""
    with click.Context(cli, info_name="lab", **cli.context_settings) as context:
        command, rest = cli.get_command(context, words[0]), words[1:]
        if isinstance(command, click.Group):
            command, rest = command.get_command(context, rest[0]), rest[1:]
        if command is None:
            raise click.UsageError(f"no such command: {' '.join(words)}")
        with command.make_context(command.name, list(rest), parent=context):
            pass


@pytest.mark.parametrize(
    "words",
    [["rnu", "x.yml"], ["run"], ["run", "x.yml", "--jobz", "2"], ["report", "--width", "5"], ["engine", "x"]],
)
def test_a_command_that_does_not_exist_is_seen(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(words)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_exist_and_take_their_options(page: Path) -> None:
    for words in shown_commands(page):
        parse(words)


def test_there_are_commands() -> None:
    assert sum(1 for page in PAGES for _ in shown_commands(page)) > 100


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yml")), ids=lambda path: path.stem)
def test_an_example_is_valid(path: Path) -> None:
    assert load(path)


# The command line


def test_the_python_reference_is_up_to_date() -> None:
    written = python_reference.PAGE.read_text(encoding="utf-8")
    assert written == python_reference.text(), (
        "run: python -m tools.python_reference > docs/reference/python.md"
    )


def test_the_reference_of_the_command_line_is_up_to_date() -> None:
    written = cli_reference.PAGE.read_text(encoding="utf-8")
    assert written == cli_reference.text(), "run: python -m tools.cli_reference > docs/reference/cli.md"


# The gallery


@functools.cache
def sections() -> list[gallery.Section]:
    return gallery.sections()


def test_the_page_of_the_gallery_is_up_to_date() -> None:
    assert gallery.PAGE.read_text(encoding="utf-8") == gallery.page(sections()), (
        "run: python -m tools.gallery --text"
    )


def test_every_scenario_has_a_section_and_a_picture() -> None:
    assert sorted(section.file for section in sections()) == sorted(FILES)
    pictures = [section.picture for section in sections()]
    assert sorted(path.name for path in gallery.PICTURES.iterdir()) == sorted(pictures)


@pytest.mark.parametrize("file", FILES)
def test_a_scenario_says_what_it_teaches(file: str) -> None:
    """In three sentences or four, up to eight about a program that everybody uses; and why it cannot pass by
    luck."""
    (section,) = [one for one in sections() if one.file == file]
    most = 8 if section.file.startswith("scenarios/apps/") else 4
    assert 3 <= len(re.findall(r"[.?!](?=\s|$)", section.teaches)) <= most
    assert section.no_luck
    assert section.summary


def test_pictures_are_small_and_are_pictures() -> None:
    sizes = {path.name: path.stat().st_size for path in gallery.PICTURES.glob("*.svg")}
    assert {one.picture for one in sections() if sizes[one.picture] > one.largest} == set()
    assert sum(sizes.values()) < 4_000_000
    for path in gallery.PICTURES.glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("<svg ")
        assert "</svg>" in text


def test_a_long_run_is_drawn_small_and_always_alike() -> None:
    folder = ROOT / "tests" / "data" / "captures" / "heavyloss"
    facts = result.Result(
        1, "0", "heavyloss", "x.yml", "", (), {}, verdict.Verdict.PASS, "", "2026-01-01T00:00:00", 1.0
    )
    small = gallery.picture(store.load_evidence(folder), facts, largest=30_000)
    assert len(small.encode()) <= 30_000
    assert small == gallery.picture(store.load_evidence(folder), facts, largest=30_000)
    assert len(gallery.picture(store.load_evidence(folder), facts)) > len(small)


def test_only_what_passed_is_drawn(tmp_path: Path) -> None:
    """The picture that is there stays, and it is said why."""
    (section,) = [one for one in sections() if one.title == "handshake"]
    run = tmp_path / "run"
    (run / "handshake").mkdir(parents=True)
    facts = result.Result(
        1, "0", "handshake", section.file, "", (), {}, verdict.Verdict.FAIL, "no", "2026-01-01T00:00:00", 1.0
    )
    result.write_result(run / "handshake", facts)
    assert gallery.draw([run], [section], tmp_path) == ["handshake: handshake ended in FAIL there"]
    other = structs.replace(facts, verdict=verdict.Verdict.PASS, scenario="elsewhere/handshake2.yml")
    result.write_result(run / "handshake", other)
    assert gallery.draw([run], [section], tmp_path) == ["handshake: handshake was not run there"]


# The run folder


def rows(text: str, heading: str) -> list[list[str]]:
    """The names in backquotes of the first cell of each row under a heading, up to the next heading."""
    part = re.split(r"^#+ ", text[text.index(heading) + len(heading) :], maxsplit=1, flags=re.MULTILINE)[0]
    cells = [line.split("|")[1:-1] for line in part.splitlines() if line.startswith("| `")]
    return [re.findall(r"`([^`]+)`", cell[0]) for cell in cells]


@pytest.mark.parametrize(
    ("heading", "cls"),
    [
        ("\n## result.json\n", result.Result),
        ("\n### findings\n", verdict.Finding),
        ("\n### error\n", result.ErrorFacts),
        ("\n### environment\n", result.Environment),
        ("\n### phases\n", result.Phase),
        ("\n### links\n", model.LinkProof),
        ("\n### streams\n", model.StreamRecord),
    ],
)
def test_every_field_of_the_result(heading: str, cls: type[Struct]) -> None:
    assert [words[0] for words in rows(RUN_FOLDER, heading)] == list(cls.__struct_fields__)


def test_every_kind_of_event() -> None:
    """With its fields; a record's own `kind` is written as `type`."""
    classes = {
        "host": model.HostFacts,
        "tolerance": Tolerance,
        "wire": model.WireFacts,
        "capture": model.CaptureFacts,
        "counters": model.CounterRecord,
        "stream": model.StreamRecord,
        "step": model.StepRecord,
        "wire event": model.WireEvent,
        "call": model.CallRecord,
        "run": model.RunRecord,
        "service": model.ServiceRecord,
        "log": model.LogRecord,
        "state": model.StateSample,
    }
    assert set(classes) == {kind.name for kind in store._KINDS}
    part = RUN_FOLDER[RUN_FOLDER.index("\n## events.jsonl\n") :]
    told = {
        cells[0].strip(" `"): re.findall(r"`([^`]+)`", cells[2])
        for line in part.splitlines()
        if line.startswith("| `") and (cells := line.split("|")[1:-1])
    }
    assert told == {
        kind: ["type" if name == "kind" else name for name in cls.__struct_fields__]
        for kind, cls in classes.items()
    }


def test_every_file_of_a_run_folder() -> None:
    told = [words[0] for words in rows(RUN_FOLDER, "\n## The files of a case\n")]
    assert {result.RESULT_FILE, store.EVENTS_FILE, "scenario.yml", "pcap/<host>.pcapng", "logs/"} <= set(told)


# lab.yml


def keys(cls: type[BaseModel], before: str = "") -> Iterator[str]:
    for key, field in cls.model_fields.items():
        yield f"{before}{key}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{before}{key}.")


def test_every_key_of_the_site() -> None:
    assert [words[0] for words in rows(SITE, "# lab.yml\n")] == list(keys(_File))


def test_the_site_page_shows_the_file_as_it_ships(tmp_path: Path) -> None:
    shipped = (ROOT / "lab.yml").read_text(encoding="utf-8")
    assert re.findall(r"^```yaml\n(.*?)^```", SITE, re.MULTILINE | re.DOTALL) == [shipped]
    empty = tmp_path / "lab.yml"
    empty.write_text("")
    assert replace(load_site(ROOT / "lab.yml"), policy=Policy()) == load_site(empty)


# Changes


@pytest.mark.parametrize("path", sorted((ROOT / "changelog.d").glob("[a-z]*.md")), ids=lambda path: path.stem)
def test_a_change_is_one_line_each(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines
    assert [line for line in lines if not re.fullmatch(r"- \S.*[.]", line)] == []


def test_the_reference_of_compose_is_the_table() -> None:
    written = compose_reference.PAGE.read_text(encoding="utf-8")
    assert written == compose_reference.text(), (
        "run: python -m tools.compose_reference > docs/reference/compose.md"
    )
