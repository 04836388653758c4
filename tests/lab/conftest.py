"""Fixtures of the tests that need real containers: the engine and the images."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine.docker import DockerEngine
from lab.engine.images import Images, ensure_images
from lab.engine.private import find_engine
from lab.errors import LabError
from lab.result import Result
from tests.conftest import without_docker
from tests.lab.commands import SOCKETS, lab, results


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
def tshark() -> str:
    """tshark, the independent judge of captures."""
    found = shutil.which("tshark")
    if found is None:
        without_docker("no tshark on this machine: apt-get install tshark")
        raise AssertionError
    return found


@pytest.fixture(scope="session")
def suite(images: Images, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Result, Path]]:
    """Every shipped scenario but those of real programs, run once: results and run folders by the
    name of the case."""
    out = tmp_path_factory.mktemp("suite")
    lab("run", *SOCKETS, "-j", "auto", "--out", out, timeout=900)
    return results(out)


@pytest.fixture(scope="session")
def images(engine: DockerEngine) -> Images:
    """The images of this checkout, built where they are missing."""
    return ensure_images(engine, _progress)
