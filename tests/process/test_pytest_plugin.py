"""The pytest plugin, by pytest's own tests of plugins, on an engine in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import lab.runner.finishing
import lab.session.session
import lab.testing.items
import lab.testing.labs  # pytester forgets what is first imported inside it, so it is imported here
from lab.api.engine import NoEngine, Opened
from tests.unit.fake_lab import IMAGES, FakeLab, at, dies

pytest_plugins = ["pytester"]

#: Where the package is installed with its entry point, pytest loads the plugin itself.
_INSTALLED = any(one.value == "lab.testing.plugin" for one in entry_points(group="pytest11"))
PLUGIN = () if _INSTALLED else ("-p", "lab.testing.plugin")

GOOD = """\
lab: 1
tags: [close, odd-tag]
params: {port: [80, 81]}
steps:
  - {do: connect, at: client, to: "server:${port}", as: c}
"""
FAILS = 'lab: 1\nsteps:\n  - {do: connect, at: client, to: "server:80", expect: {error: EPIPE}}\n'
ALONE = 'lab: 1\nalone: true\nsteps:\n  - {do: connect, at: client, to: "server:80"}\n'


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeLab]:
    """An engine in memory under everything that the plugin starts; at the end nothing may be left on it."""
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))
    lab.testing.items._site.cache_clear()
    made = FakeLab({})
    on = Opened(made.engine, made.engine, IMAGES, lambda: None)
    monkeypatch.setattr("lab.api.up.opened", lambda site: on)
    yield made
    assert made.left() == []


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess(*PLUGIN, "-p", "no:cacheprovider", "--strict-markers", *arguments)


def test_each_case_of_a_file_is_an_item_with_its_tags(pytester: pytest.Pytester, fake: FakeLab) -> None:
    pytester.makefile(".yml", good=GOOD)
    result = run(pytester, "--lab", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["good.yml::good?port=80? PASSED*", "good.yml::good?port=81? PASSED*"])
    run(pytester, "--lab", "-m", "close").assert_outcomes(passed=2)
    run(pytester, "--lab", "-m", "not odd-tag").assert_outcomes(deselected=2)
    run(pytester, "--lab", "good.yml::good[port=81]").assert_outcomes(passed=1)


def test_files_are_collected_only_where_they_are_asked_for(pytester: pytest.Pytester, fake: FakeLab) -> None:
    pytester.makefile(".yml", good=GOOD, other="services: {}\n")
    run(pytester).assert_outcomes()
    pytester.makeini("[pytest]\nlab_files = g*.yml\n")
    run(pytester).assert_outcomes(passed=2)
    pytester.makeini("[pytest]\nlab_files = deep/*.yml\n")
    run(pytester).assert_outcomes()


def test_a_failure_reads_as_in_the_terminal(pytester: pytest.Pytester, fake: FakeLab) -> None:
    pytester.makefile(".yml", fails=FAILS)
    result = run(pytester, "--lab", "--lab-out", "there", "--junitxml", "junit.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*fails.yml:3:5: connect.error (steps*", "*expected   EPIPE*", "*Folder *there/*"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*runtest*")
    (folder,) = (pytester.path / "there").glob("*-fails-*")
    assert (folder / "report.html").is_file()
    junit = Path(pytester.path / "junit.xml").read_text()
    assert f'name="run_folder" value="{folder}"' in junit
    assert 'name="wire"' in junit
    assert 'name="engine"' in junit


def test_a_broken_file_is_one_item_with_all_its_problems(pytester: pytest.Pytester, fake: FakeLab) -> None:
    pytester.makefile(".yml", bad="lab: 1\nsteps:\n  - {do: conect}\nchecks: [{check: clos}]\n")
    result = run(pytester, "--lab")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["bad.yml:3:10: *conect*", "bad.yml:4:18: *clos*"])


def test_a_lab_that_broke_fails_and_says_why(pytester: pytest.Pytester, fake: FakeLab) -> None:
    fake.answers = {"set_up": at("server", dies)}
    pytester.makefile(".yml", good=GOOD)
    result = run(pytester, "--lab", "-k", "80")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*the agent of server dies*"])


def test_cases_that_say_alone_come_last(pytester: pytest.Pytester, fake: FakeLab) -> None:
    pytester.makefile(".yml", a=ALONE, good=GOOD)
    pytester.makepyfile(test_z="def test_z(): pass")
    lines = run(pytester, "--lab", "--collect-only", "-q").outlines
    assert [line.split("::")[-1] for line in lines[:4]] == ["good[port=80]", "good[port=81]", "test_z", "a"]


def test_repeat_makes_an_item_each_time(pytester: pytest.Pytester, fake: FakeLab) -> None:
    pytester.makefile(".yml", a=ALONE)
    run(pytester, "--lab", "--lab-repeat", "3").assert_outcomes(passed=3)


def test_fixtures_give_labs_that_are_down_when_the_test_ends(
    pytester: pytest.Pytester, fake: FakeLab
) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_lazy(lab):
            net = lab.up(hosts={"a": {}, "b": {}})
            assert net["a"].connect("b:80").name

        def test_block(lab):
            with lab.up(hosts={"a": {}, "b": {}}) as net, pytest.raises(lab.CheckFailed):
                net.check("handshake", from_="a", to="b:80")

        @pytest.mark.lab(hosts={"a": {}, "b": {}})
        def test_mark(net):
            net.cut("a")

        @pytest.fixture(scope="module")
        def shared(lab_session):
            with lab_session.up(hosts={"a": {}}) as net:
                yield net

        def test_one(shared):
            pass

        def test_two(shared):
            assert len(shared.hosts) == 1
        """
    )
    run(pytester).assert_outcomes(passed=5)
    assert len(list((pytester.path / "runs").glob("*-test_lazy-*"))) == 1


def test_a_failed_test_names_its_run_folder_and_the_run_failed_too(
    pytester: pytest.Pytester, fake: FakeLab
) -> None:
    pytester.makepyfile(
        """
        def test_it(lab):
            net = lab.up(hosts={"a": {}})
            assert net["a"].name == "b"
        """
    )
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["run folder: runs/*-test_it-*"])
    (folder,) = (pytester.path / "runs").glob("*-test_it-*")
    assert '"verdict": "FAIL"' in (folder / "result.json").read_text()


def test_what_is_wrong_with_a_mark_is_said_without_a_traceback(
    pytester: pytest.Pytester, fake: FakeLab
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.lab(hosts={"a": {"link": {"delay": 5}}})
        def test_it(net):
            pass

        def test_unmarked(net):
            pass
        """
    )
    result = run(pytester)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["lab.up: hosts.a.link.delay: 5 has no unit*", "*needs a mark*"])
    result.stdout.no_fnmatch_line("*load_given*")


@pytest.mark.parametrize(("required", "outcome"), [("0", "skipped"), ("1", "failed")])
def test_without_an_engine_tests_are_skipped_or_fail(
    required: str, outcome: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(site: object) -> Opened:
        raise NoEngine("no engine answers", hint="start one")

    monkeypatch.setattr("lab.api.up.opened", none)
    monkeypatch.setenv("LAB_REQUIRE_DOCKER", required)
    pytester.makefile(".yml", a=ALONE)
    pytester.makepyfile('def test_it(lab):\n    lab.up(hosts={"a": {}}).start()')
    result = run(pytester, "--lab", "-ra")
    result.assert_outcomes(**{outcome: 2})
    result.stdout.fnmatch_lines(["*no engine answers*"])


def test_ip_6_is_refused(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--lab-ip", "6")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--lab-ip 6 is not yet supported*"])


def test_it_imports_nothing_of_the_lab_unless_it_is_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    pytester.makeconftest(
        """
        import sys

        def pytest_sessionfinish():
            heavy = ("lab.", "pydantic", "docker")
            print("imported:", *sorted(m for m in sys.modules if m.startswith(heavy)))
        """
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *PLUGIN,
            "-q",
            "-s",
            "-p",
            "no:hypothesispytest",
            str(pytester.path),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    (line,) = [line for line in done.stdout.splitlines() if "imported:" in line]
    assert line.split("imported:")[1].split() == ["lab.testing", "lab.testing.plugin"]
