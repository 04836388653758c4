"""What pytest loads: options, marks, fixtures and hooks. Everything else is imported when first used."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lab.api.net import Lab
    from lab.testing.labs import Labs

_CRASHED = pytest.StashKey[bool]()

MARK = "lab(source, *, hosts, …): the lab of the fixture net, with the arguments of lab.up"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lab", "labs of several hosts")
    group.addoption(
        "--lab", action="store_true", help="collect scenario files under the paths that are given"
    )
    group.addoption("--lab-keep", action="store_true", help="the lab of a failed test goes on standing")
    group.addoption("--lab-pause", action="store_true", help="stop at a failed test until Enter is pressed")
    group.addoption("--lab-wire", choices=("auto", "kernel", "uml"), help="in place of lab.yml's")
    group.addoption("--lab-ip", type=int, choices=(4, 6), help="version of IP")
    group.addoption("--lab-repeat", type=int, default=1, metavar="N", help="run each case of a file N times")
    group.addoption("--lab-out", metavar="DIR", help="folder of the run folders, in place of runs/")
    group.addoption(
        "--lab-scope",
        choices=("module", "package", "session"),
        default="module",
        help="how long a lab of the fixture lab_session stands",
    )
    parser.addini(
        "lab_files", "globs of scenario files that are collected without --lab", type="args", default=[]
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARK)
    if config.getoption("lab_ip") == 6:
        raise pytest.UsageError("--lab-ip 6 is not yet supported; allowed: 4")
    if config.getoption("lab_repeat") < 1:
        raise pytest.UsageError("--lab-repeat: a number from 1")


# --- scenario files ---------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What files are made into stays: looking for garbage in it takes 0.15 s of the 1 s of 140 cases."""
    if not session.config.getoption("lab") or not gc.isenabled():
        return (yield)
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix not in (".yml", ".yaml"):
        return None
    globs: list[str] = parent.config.getini("lab_files")
    if not parent.config.getoption("lab") and not globs:
        return None
    from lab.testing.items import ScenarioFile, is_scenario, matches

    asked = parent.config.getoption("lab") or matches(file_path, parent.config.rootpath, globs)
    if not asked or not is_scenario(file_path):
        return None
    found: ScenarioFile = ScenarioFile.from_parent(parent, path=file_path)
    return found


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that want to be alone come last; the order is kept otherwise."""
    if any(getattr(item, "lab_alone", False) for item in items):
        items.sort(key=lambda item: bool(getattr(item, "lab_alone", False)))


# --- fixtures ---------------------------------------------------------------------------------------------


def _labs(request: pytest.FixtureRequest, name: str) -> Generator[Labs]:
    from lab.testing.labs import Labs

    labs = Labs(request.config, request.path.parent, name, str(request.fixturename))
    try:
        yield labs
    finally:
        labs.close()


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Labs]:
    """`lab.up(…)` as in the module lab. All labs that it made are down when the test ends."""
    yield from _labs(request, request.node.name)


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    return config.getoption("lab_scope")


@pytest.fixture(scope=_scope)
def lab_session(request: pytest.FixtureRequest) -> Iterator[Labs]:
    """As `lab`, for labs that several tests share: by `--lab-scope` those of a module, or of all."""
    yield from _labs(request, Path(request.node.name).stem or "session")


@pytest.fixture
def net(request: pytest.FixtureRequest, lab: Labs) -> Lab:
    """The lab of the mark `lab`, up before the test begins."""
    mark = request.node.get_closest_marker("lab")
    if mark is None:
        pytest.fail(
            'the fixture net needs a mark: @pytest.mark.lab("compose/pair.yml", hosts={…})', pytrace=False
        )
    from lab.errors import LabError

    try:
        return lab.up(*mark.args, **mark.kwargs).start()
    except LabError as error:
        from lab.testing.labs import said

        text = said(error)
    pytest.fail(text, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test's labs are told of it, and it says where their run folders are."""
    if "lab.testing.labs" not in sys.modules:
        return (yield)
    from lab.testing.labs import reported, without_the_labs_lines

    without_the_labs_lines(call)
    report = yield
    reported(item, call, report)
    return report


# --- workers of xdist --------------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker has ended; one that crashed could take nothing down."""
    if error:
        node.config.stash[_CRASHED] = True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What a crashed worker left standing is removed; a worker that came after it has done so already."""
    if session.config.stash.get(_CRASHED, False):
        from lab.testing.labs import sweep_after_crash

        for line in sweep_after_crash():
            session.config.get_terminal_writer().line(line)
