"""Fixtures of the tests that need real containers: the engine and the images."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from lab.engine.docker import DockerEngine
from lab.engine.images import Images, ensure_images
from lab.engine.private import find_engine
from lab.errors import LabError
from tests.conftest import without_docker


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    """The engine that `lab run` would use. It is not started for a test: `make test` has done that."""
    try:
        found = find_engine(_progress, start=False)
    except LabError as error:
        without_docker(f"{error} ({error.hint})")
        raise
    yield found
    found.close()


@pytest.fixture(scope="session")
def images(engine: DockerEngine) -> Images:
    """The images of this checkout, built where they are missing."""
    return ensure_images(engine, _progress)
