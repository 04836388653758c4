"""What all tests share: the environment variables that would lead a test to the user's own things."""

from __future__ import annotations

import os

import pytest

#: Where a missing engine is a failure and not a reason to skip (CI, `make test`).
DOCKER_REQUIRED = os.environ.get("LAB_REQUIRE_DOCKER") == "1"


def without_docker(reason: str) -> None:
    """Skips a test that cannot run without Docker; where Docker is required it fails."""
    if DOCKER_REQUIRED:
        pytest.fail(f"LAB_REQUIRE_DOCKER=1, but: {reason}", pytrace=False)
    pytest.skip(reason)
