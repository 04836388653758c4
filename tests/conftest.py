"""What all tests share: a test that needs Docker fails where it is required; signals are as usual; garbage is
looked for only in what tests make."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator
from typing import NoReturn

import pytest

#: Where a missing engine is a failure and not a reason to skip (CI, `make test`).
DOCKER_REQUIRED = os.environ.get("LAB_REQUIRE_DOCKER") == "1"


def usual_signals() -> None:
    """Takes back what the starting process ignores or blocks: `&` in a script, `nohup` and some CI systems
    ignore SIGINT or SIGHUP, and every program that a test starts would inherit it.

    SIGPIPE and SIGXFSZ are ignored by Python itself.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


usual_signals()


def without_docker(reason: str) -> None:
    """Skips a test that cannot run without Docker; where Docker is required it fails."""
    if DOCKER_REQUIRED:
        pytest.fail(f"LAB_REQUIRE_DOCKER=1, but: {reason}", pytrace=False)
    pytest.skip(reason)


NOT_HERE = "not on this machine: "


def not_here(reason: str) -> NoReturn:
    """Skips a test that speaks of another kind of machine, with Docker or without."""
    pytest.skip(NOT_HERE + reason)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Modules and tests stay to the end: looking for garbage took 1.3 to 2 s of each worker."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip by any way but `not_here` counts as a failure: CI must not be green for want of an engine."""
    report = yield
    if (
        DOCKER_REQUIRED
        and report.skipped
        and not hasattr(report, "wasxfail")
        and item.get_closest_marker("docker")
        and not (call.excinfo is not None and str(call.excinfo.value).startswith(NOT_HERE))
    ):
        report.outcome = "failed"
        report.longrepr = (
            f"LAB_REQUIRE_DOCKER=1, but {item.nodeid} was skipped: {call.excinfo and call.excinfo.value}"
        )
    return report
