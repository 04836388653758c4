"""What somebody else may send: files that are none, texts that grow, patterns that hang, names."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from images.host.lab_agent import lines
from lab import files, patterns, site, units
from lab.cli import cli
from lab.engine import stream
from lab.engine.base import LABEL_BOOT, LABEL_LOCK, LABEL_RUN, ContainerSpec
from lab.engine.clean import LABEL_MACHINE, Owner, boot_id, machine, sweep
from lab.engine.fake import FakeEngine
from lab.errors import LabError, UsageError
from lab.evidence import store
from lab.evidence.reader import read_capture
from lab.evidence.store import load_evidence, read_records
from lab.host import convert
from lab.judging.recheck import recheck, stored_case
from lab.result import Result, read_result
from lab.runner import invocation
from lab.runner.case import CaseRunner
from lab.runner.suite import Outcome, plan_jobs, run_jobs
from lab.scenario import budget, data, params, problems, tree
from lab.scenario.data import Data
from lab.scenario.load import Case, load
from lab.scenario.steps import MAX_STEPS
from lab.session import folder
from lab.session.folder import RunFolder, make_case_folder
from lab.session.interrupt import Interrupt
from lab.verdict import Verdict
from tests.engine_compliance import CAT, shell
from tests.unit.fake_lab import FakeLab
from tests.unit.report_helpers import loss_story, result, run_folder

GOOD = "lab: 1\nsteps: [{do: sleep, for: 1ms}]\n"


def wrong(path: Path) -> str:
    with pytest.raises(LabError) as caught:
        load(path)
    return str(caught.value)


def scenario(folder: Path, text: str = GOOD, name: str = "s.yml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# --- what is no file, or somebody else's ------------------------------------------------------------------


def unfit(path: Path, kind: str, outside: Path) -> None:
    """Puts what is no file of the project at `path`."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind.startswith("/"):
        path.symlink_to(kind)
    else:
        outside.write_text("secret: word\n")
        path.symlink_to(outside)


UNFIT = ("fifo", "folder", "/dev/zero", "/dev/stdin", "/proc/kmsg", "/proc/self/environ", "link")


@pytest.mark.parametrize("kind", UNFIT)
def test_a_scenario_is_a_file_of_its_project(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "project" / "s.yml"
    path.parent.mkdir()
    unfit(path, kind, tmp_path / "elsewhere.yml")
    said = wrong(path)
    assert str(path) in said
    assert "secret" not in said
    assert any(word in said for word in ("FIFO", "folder", "device", "leads out", "cannot be read")), said


@pytest.mark.parametrize("kind", UNFIT)
def test_a_topology_is_a_file_of_its_project(tmp_path: Path, kind: str) -> None:
    path = scenario(tmp_path / "project", "lab: 1\ntopology: t.yml\nsteps: []\n")
    unfit(path.parent / "t.yml", kind, tmp_path / "elsewhere.yml")
    said = wrong(path)
    assert "t.yml" in said
    assert "secret" not in said


def test_a_link_that_ends_inside_the_project_is_followed(tmp_path: Path) -> None:
    (tmp_path / "lab.yml").write_text("{}\n")
    real = scenario(tmp_path / "real")
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "s.yml"
    link.symlink_to(real)
    assert len(load(link)) == 1


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run, as it comes by mail."""
    folder = tmp_path / "run"
    folder.mkdir()
    run_folder(folder, loss_story(), result())
    (folder / "scenario.yml").write_text(GOOD)
    return folder


@pytest.mark.parametrize("name", ["report.html", "junit.xml"])
def test_a_report_takes_the_place_of_a_link(tmp_path: Path, run: Path, name: str) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(mine)
    done = CliRunner().invoke(cli, ["report", str(run)])
    assert done.exit_code == 0, done.output
    assert mine.read_text() == "mine"
    assert not (run / name).is_symlink()
    assert (run / name).stat().st_size > 100


def test_merged_captures_take_the_place_of_a_link(tmp_path: Path, run: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (run / "merged.pcapng").symlink_to(mine)
    done = CliRunner().invoke(cli, ["pcap", str(run)])
    assert done.exit_code == 0, done.output
    assert mine.read_text() == "mine"
    assert read_capture(run / "merged.pcapng").t_ns


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("name", ["result.json", "events.jsonl", "scenario.yml", "pcap/client.pcapng"])
def test_the_files_of_a_run_are_its_own(tmp_path: Path, run: Path, name: str, kind: str) -> None:
    (run / name).unlink()
    unfit(run / name, kind, tmp_path / "elsewhere")
    asked: dict[str, Callable[[Path], object]] = {
        "result.json": read_result,
        "events.jsonl": read_records,
        "scenario.yml": stored_case,
        "pcap/client.pcapng": load_evidence,
    }
    with pytest.raises(LabError) as caught:
        asked[name](run)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("seconds", ['"1e400"', '"4"', "1e300", "1e999", "NaN", "null", "true"])
def test_the_seconds_of_a_result_are_a_number(run: Path, seconds: str) -> None:
    path = run / "result.json"
    text, found = re.subn(r'"seconds": [0-9.]+', f'"seconds": {seconds}', path.read_text(), count=1)
    assert found
    path.write_text(text)
    with pytest.raises(UsageError, match="not a result of version 1"):
        read_result(run)


@pytest.mark.parametrize("out", ["../other.pcapng", "/other.pcapng"])
def test_a_capture_that_lies_outside_the_run_is_not_read(tmp_path: Path, run: Path, out: str) -> None:
    inside = run / "pcap" / "client.pcapng"
    other = tmp_path / "other.pcapng"
    inside.rename(other)
    events = run / "events.jsonl"
    name = out if out.startswith("..") else str(other)
    events.write_text(events.read_text().replace("pcap/client.pcapng", name))
    with pytest.raises(LabError, match="leads out"):
        load_evidence(run)


def test_the_sender_does_not_say_where_the_topology_is(tmp_path: Path, run: Path) -> None:
    secret = tmp_path / "secret.yml"
    secret.write_text("services: {client: {}, server: {}}\nsecret: word\n")
    (run / "scenario.yml").write_text(f"lab: 1\ntopology: {secret}\nsteps: []\n")
    with pytest.raises(LabError, match=r"topology\.yml") as caught:
        recheck(run)
    assert "word" not in str(caught.value)


def test_a_report_shows_no_scenario_from_elsewhere(tmp_path: Path, run: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret word")
    (run / "scenario.yml").unlink()
    (run / "scenario.yml").symlink_to(secret)
    assert CliRunner().invoke(cli, ["report", str(run)]).exit_code == 0
    assert "the secret word" not in (run / "report.html").read_text()


def test_a_hole_in_a_capture_is_not_a_million_packets(tmp_path: Path) -> None:
    path = tmp_path / "c.pcap"
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
    with path.open("r+b") as file:
        file.truncate(100 << 20)
    tracemalloc.start()
    capture = read_capture(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert capture.truncated
    assert "no bytes" in capture.note
    assert peak < 16 << 20


def test_what_is_written_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("before")

    def half() -> None:
        with files.replacing(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["x"]


def test_a_file_that_grows_is_read_up_to_the_bound(tmp_path: Path) -> None:
    assert len(files.read_bytes(Path("/proc/self/status"), 1 << 16)) > 100  # its size says 0
    with pytest.raises(files.Unfit, match="more than 100 bytes"):
        files.read_bytes(Path("/proc/self/status"), 100)


# --- objects of somebody on the same engine ---------------------------------------------------------------


@pytest.mark.parametrize("run", ["deadbeef", "../../victim", "/victim", "a/b", "", ".", "x\n"])
@pytest.mark.parametrize("owners", [(Owner.DEAD,), tuple(Owner)])
def test_no_label_names_a_file_that_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str, owners: tuple[Owner, ...]
) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))
    (tmp_path / "state" / "locks").mkdir(parents=True)
    victim = tmp_path / "victim.lock"
    victim.write_text("mine")
    engine = FakeEngine({"image": shell})
    for boot in (boot_id(), "before"):
        labels = {LABEL_RUN: run, LABEL_LOCK: str(victim), LABEL_BOOT: boot, LABEL_MACHINE: machine()}
        engine.create(ContainerSpec(f"theirs-{boot[:6]}", "image", labels, command=CAT))
    sweep(engine)
    assert len(engine.containers({})) == 2, "a container of no run of ours is not swept"
    sweep(engine, owners=owners)
    assert victim.read_text() == "mine"


# --- no internal errors -----------------------------------------------------------------------------------


class Breaks:
    """In place of a `CaseRunner`: breaks on the cases of one name as nobody foresaw."""

    def listener(self, event: object) -> None:
        pass

    def run(self, case: Case, run: str, folder: RunFolder, cpu: int) -> Result:
        if case.name == "broken":
            raise OverflowError("nobody foresaw this")
        return replace(result(), name=case.name)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_suite_goes_on_where_one_case_breaks(tmp_path: Path, workers: int) -> None:
    names = ("first", "broken", "last")
    cases = [load(scenario(tmp_path, name=f"{name}.yml"))[0] for name in names]
    folder, jobs = plan_jobs(cases, tmp_path / "runs", 1)
    seen: list[Outcome] = []
    outcomes = run_jobs(jobs, cast(CaseRunner, Breaks()), Interrupt(), workers, seen.append)
    verdicts = [(outcome.result.name, outcome.result.verdict) for outcome in outcomes]
    assert verdicts == [("first", Verdict.PASS), ("broken", Verdict.ERROR), ("last", Verdict.PASS)]
    assert len(seen) == 3
    broken = outcomes[1]
    assert "nobody foresaw this" in broken.result.reason
    assert "Traceback" in (broken.folder / "traceback.txt").read_text()
    assert read_result(broken.folder) == broken.result
    invocation._write_index(folder, outcomes)
    assert "nobody foresaw this" in (folder / "junit.xml").read_text()
    assert (folder / "index.html").is_file()


# --- bounds -----------------------------------------------------------------------------------------------

STEPS = "lab: 1\nsteps:\n"
LONG = "a" * 3_000
STEP_OF_TEN = "  - {do: run, at: client, command: ['" + "${x}" * 10 + "']}\n"
GROWING = {
    "aliases": f"lab: 1\nx-a: &a {'a' * 1_000_000}\nx-l: [{', '.join(['*a'] * 9_000)}]\nsteps: []\n",
    "merges": f"lab: 1\nx-a: &a {{{', '.join(f'k{i}: 1' for i in range(40_000))}}}\n"
    f"x-m: {{<<: [{', '.join(['*a'] * 5_000)}]}}\nsteps: []\n",
    "digits": STEPS + f"  - {{do: sleep, for: {'9' * 5_000}ms}}\n",
    "years": STEPS + f"  - {{do: sleep, for: {'9' * 20}m}}\n",
    "time-out": f"lab: 1\ntimeout: {'9' * 400}s\nsteps: [{{do: sleep, for: 1ms}}]\n",
    "surrogate": 'lab: 1\nsummary: "a\\ud800b"\nsteps: [{do: sleep, for: 1ms}]\n',
    "params": f"lab: 1\nparams: {{a: [{', '.join(map(str, range(40_000)))}]}}\n"
    "steps: [{do: sleep, for: '${a}ms'}]\n",
    "hosts": f"lab: 1\nhosts: {{{', '.join(f'h{i}: {{}}' for i in range(5_000))}}}\n"
    + "steps:\n"
    + "".join(f"  - {{at: hots{i}, do: socket, as: c}}\n" for i in range(300)),
    "counts": STEPS + "  - {at: client, do: socket, as: c, count: 10000}\n" * 5_000,
    "counts of other names": STEPS
    + "".join(f"  - {{at: client, do: socket, as: c{i}, count: 10000}}\n" for i in range(5_000)),
    "ids": STEPS
    + "".join(f"  - {{do: sleep, for: 1ms, id: known{i}}}\n" for i in range(1_400))
    + "checks:\n"
    + "".join(f"  - {{check: order, of: [unknown{i}, knovn{i}]}}\n" for i in range(1_400)),
    "services": "lab: 1\nhosts: {a: {services: {"
    + ", ".join(f"s{i}: {{image: x, depends_on: [t{i}]}}" for i in range(1_400))
    + "}}}\nsteps: []\n",
    "slips": STEPS + "".join(f"  - {{do: nothing{i}, at: q{i}}}\n" for i in range(20_000)),
    "products": "lab: 1\nparams: {a: &n ["
    + ", ".join(map(str, range(900)))
    + "], b: *n, c: *n, d: *n}\nsteps: [{do: sleep, for: '${a}${b}${c}${d}ms'}]\n",
    "texts of parameters": f"lab: 1\nparams: {{x: ['{'a' * 4_000}', b]}}\nsteps:\n"
    + f"  - {{do: run, at: client, command: ['{'${x}' * 1_000}']}}\n" * 300,
    "texts in many cases": f"lab: 1\nparams: {{x: [{', '.join(str(i) + LONG for i in range(1_000))}]}}\n"
    + f"steps:\n{STEP_OF_TEN * 50}",
    "lists of parameters": f"lab: 1\nparams: {{x: [[{', '.join(['a'] * 4_000)}]]}}\nsteps:\n"
    + "  - {do: run, at: client, command: '${x}'}\n" * 3_000,
    "large cases": f"lab: 1\nparams: {{x: [{', '.join(map(str, range(1_000)))}]}}\nsteps:\n"
    + "  - {do: sleep, for: '${x}ms'}\n" * 4_000,
    "size": STEPS + f"  - {{at: client, do: recv, on: c, size: {'9' * 30}GiB}}\n",
    "elapsed": STEPS + f"  - {{do: connect, to: 'server:1', expect: {{elapsed: {'9' * 5_000}s}}}}\n",
    "rate": STEPS + f"  - {{do: link, host: client, rate: {'9' * 30}gbit}}\n",
    "round trips": STEPS + f"  - {{do: connect, to: 'server:1', expect: {{elapsed: {'9' * 30}rtt}}}}\n",
}


@pytest.mark.parametrize("row", GROWING)
def test_what_grows_ends_in_an_error_soon(tmp_path: Path, row: str) -> None:
    path = scenario(tmp_path, GROWING[row])
    before = time.process_time()
    said = wrong(path)
    assert time.process_time() - before < 5
    assert str(path) in said
    assert len(said) < 1_000_000


def test_a_gigabyte_of_expected_data_is_never_held() -> None:
    recipe = Data(random_length=1 << 30)
    tracemalloc.start()
    try:
        assert sum(map(len, itertools.islice(recipe.pieces(), 20))) == 20 << 20
        assert len(recipe.begin(10)) == 10
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [Data(b"abc", 1_000_000), Data(b"", 5), Data(b"x"), Data(b"ab", 0), Data(random_length=3 << 20, seed=7)],
    ids=str,
)
def test_data_in_pieces_is_the_data(data: Data) -> None:
    assert len(data.bytes()) == data.length
    assert data.sha256() == hashlib.sha256(data.bytes()).hexdigest()
    assert data.begin(5) == data.bytes()[:5]
    if data.random_length is None:
        assert data.bytes() == data.unit * data.times


def test_a_parallel_that_gets_no_more_threads_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = "".join(f"      - {{at: client, do: socket, as: c{i}}}\n" for i in range(30))
    path = scenario(tmp_path, f"lab: 1\nsteps:\n  - do: parallel\n    steps:\n{inner}")
    start, left = threading.Thread.start, [10]

    def no_more(self: threading.Thread) -> None:
        if self.name.startswith("parallel"):
            left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", no_more)
    fake = FakeLab()
    done = fake.runner().run(load(path)[0], "0" * 8, make_case_folder(tmp_path / "run"), 0)
    assert done.verdict is Verdict.ERROR
    assert "30 steps need a thread each" in done.reason
    assert fake.left() == []


# --- the table of the docs --------------------------------------------------------------------------------


def test_the_table_of_bounds_is_that_of_the_code() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "security.md"
    rows = [line.strip("| ").split(" | ") for line in page.read_text().splitlines() if line.startswith("|")]
    told = {row[0]: row[1] for row in rows if len(row) == 2}
    mib = 1 << 20
    assert {name: text for name, text in told.items() if name not in ("what", "---")} == {
        "a YAML file": f"{tree.MAX_BYTES // mib} MiB, {tree.MAX_DEPTH} levels",
        "its values, aliases expanded": f"{tree.MAX_VALUES:,}, and {tree.MAX_EXPANDED // mib} MiB of text",
        "keys that `<<` copies": f"{tree.MAX_MERGED:,}",
        "cases of a file": f"{params.MAX_CASES:,}",
        "values of all cases of a file": f"{budget.MAX_CASE_VALUES:,}",
        "characters that parameters put into all cases": f"{budget.MAX_PUT_IN // mib} MiB",
        "steps of a scenario, rounds of `repeat` included": f"{MAX_STEPS:,}",
        "a duration": f"{units.LONGEST_NS // (86_400 * 10**9)} days",
        "a rate, a size": "2^63-1 bits a second, bytes" if units.MOST == 2**63 - 1 else "",
        "data that is sent or expected, by its recipe": (
            f"{data._LARGEST >> 30} GiB; it is made and hashed {data._AT_ONCE // mib} MiB at a time"
        ),
        "problems told": f"{problems.SHOWN}, of {problems._LONGEST_LINE:,} characters each",
        "words compared for a suggestion": f"{budget.MAX_COMPARED:,} a file",
        "a pattern": f"{patterns.LIMIT:g} s, {patterns.MEMORY // mib} MiB",
        "`lab.yml`": f"{site._MOST_BYTES >> 10} KiB, {site._MOST_ALIASES} aliases",
        "`result.json`": f"{files.RESULT // mib} MiB",
        "`events.jsonl`": f"{files.EVENTS // mib} MiB, {store.MAX_LINE // mib} MiB a line",
        "a line to an agent": f"{lines.LONGEST // mib} MiB",
        "a line from an agent": f"{stream.LONGEST_LINE // mib} MiB",
        "a capture": f"{files.CAPTURE >> 30} GiB; reading ends at a packet of no bytes",
        "a program's output": f"{convert.PRINTED >> 20} MiB of each stream is kept",
        "a case's name as the name of a folder": f"{folder._LONGEST} characters",
    }
