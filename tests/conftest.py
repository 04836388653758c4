"""What all tests share: where Docker is required, a test that needs it is never skipped."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import NoReturn

import pytest

#: Where a missing engine is a failure and not a reason to skip (CI, `make test`).
DOCKER_REQUIRED = os.environ.get("LAB_REQUIRE_DOCKER") == "1"


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
