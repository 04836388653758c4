"""The module pytest loads: options, marks, fixtures and hooks. All else is imported when first used."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lab.api.net import Lab
    from lab.testing.labs import Labs

_CRASHED = pytest.StashKey[bool]()

MARK = "lab(source, *, hosts, …): the lab for the fixture net, with the arguments of lab.up"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lab", "labs of several hosts")
    group.addoption("--lab", action="store_true", help="collect the scenario files under the given paths")
    group.addoption("--lab-keep", action="store_true", help="leave the lab of a failed test running")
    group.addoption("--lab-pause", action="store_true", help="stop after a failed test until you press Enter")
    group.addoption("--lab-wire", choices=("auto", "kernel", "uml"), help="instead of lab.yml's")
    group.addoption("--lab-ip", type=int, choices=(4, 6), help="IP version")
    group.addoption("--lab-repeat", type=int, default=1, metavar="N", help="run each case of a file N times")
    group.addoption("--lab-out", metavar="DIR", help="folder for run folders, instead of runs/")
    group.addoption(
        "--lab-scope",
        choices=("module", "package", "session"),
        default="module",
        help="how long a lab of the fixture lab_session lives",
    )
    parser.addini(
        "lab_files", "globs of scenario files that are collected without --lab", type="args", default=[]
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARK)
    if config.getoption("lab_ip") == 6:
        raise pytest.UsageError("--lab-ip 6 is not yet supported; allowed: 4")
    if config.getoption("lab_repeat") < 1:
        raise pytest.UsageError("--lab-repeat: allowed: a number from 1")


# --- scenario files ---------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collects without garbage collection: all that is made stays, and looking costs 0.15 s of 1 s."""
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
    """Moves cases that want to be alone to the end; otherwise the order stays."""
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
    """`lab.up(…)`, as in the module `lab`. All labs that it made are taken down when the test ends."""
    yield from _labs(request, request.node.name)


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    return config.getoption("lab_scope")


@pytest.fixture(scope=_scope)
def lab_session(request: pytest.FixtureRequest) -> Iterator[Labs]:
    """Like `lab`, for labs that several tests share; `--lab-scope` says how many."""
    yield from _labs(request, Path(request.node.name).stem or "session")


@pytest.fixture
def net(request: pytest.FixtureRequest, lab: Labs) -> Lab:
    """The lab of the test's mark `lab`, up before the test begins."""
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
    """Tells a failed test's labs of the failure, and adds their run folders to its report."""
    if "lab.testing.labs" not in _imported():
        return (yield)
    from lab.testing.labs import reported, without_the_labs_lines

    without_the_labs_lines(call)
    report = yield
    reported(item, call, report)
    return report


# --- workers of xdist --------------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Remembers that a worker crashed: it could take nothing down."""
    if error:
        node.config.stash[_CRASHED] = True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Removes what a crashed worker left behind, unless a worker that followed it did so already."""
    if session.config.stash.get(_CRASHED, False):
        from lab.testing.labs import sweep_after_crash

        for line in sweep_after_crash():
            session.config.get_terminal_writer().line(line)


def _imported() -> Any:
    import sys

    return sys.modules
