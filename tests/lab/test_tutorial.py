"""The tutorial works as it is written: every command in it is run, in order, and shows what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from tests.lab.commands import ROOT
from tests.lab.pages import Command, first_missing, follow

TIMEOUT = 300.0  #: seconds for all of it, warm


def test_a_line_with_other_numbers_matches_and_another_does_not() -> None:
    shows = ("PASS  mine    3.0 s", "…", "run 0a1b2c3d is down")
    command = Command("lab run mine.yml", shows)
    assert first_missing(command, "PASS  mine   12.81 s\nmore\nrun ffeeddcc is down\n") is None
    assert first_missing(command, "FAIL  mine   12.81 s\nrun ffeeddcc is down\n") == shows[0]
    assert first_missing(command, "run ffeeddcc is down\nPASS  mine 3 s\n") == shows[2]


def test_an_exit_status_is_not_any_number() -> None:
    assert first_missing(Command("echo $?", ("1",)), "1\n") is None
    assert first_missing(Command("echo $?", ("1",)), "0\n") == "1"


@pytest.mark.docker
def test_every_command_of_the_tutorial(engine: DockerEngine, images: Images, tmp_path: Path) -> None:
    assert follow(ROOT / "docs" / "tutorial.md", tmp_path, TIMEOUT) > 10
