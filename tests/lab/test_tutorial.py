"""The tutorial works as it is written: every command in it is run, in order, and shows what it says."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.engine.docker import DockerEngine
from lab.engine.images import Images

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT = 300.0  #: seconds for all of it, warm


@dataclass(frozen=True)
class Command:
    line: str
    shows: tuple[str, ...]  #: lines of the output as the tutorial has them; `…` stands for anything


def commands(text: str) -> list[Command]:
    found: list[Command] = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        found.append(Command(line, tuple(output.splitlines())))
    return found


def pattern(line: str) -> re.Pattern[str]:
    """The line with any other numbers, ids and spacing: those differ from run to run."""
    words = [re.escape(word) for word in line.split()]
    loose = r"\s+".join(
        re.sub(r"\\…|…", ".*", re.sub(r"\b[0-9a-f]{8}\b|\d+(\\\.\d+)?", "\0", w)) for w in words
    )
    return re.compile(r"\s*" + loose.replace("\0", r"[0-9a-f.,]+") + r"\s*\Z")


def first_missing(shows: tuple[str, ...], output: str) -> str | None:
    """The first line that the output does not have, or not in this order."""
    lines = iter(output.splitlines())
    for shown in shows:
        if shown.strip() in ("", "…"):
            continue
        wanted = pattern(shown)
        if not any(wanted.match(line) for line in lines):
            return shown
    return None


def test_a_line_with_other_numbers_matches_and_another_does_not() -> None:
    shows = ("PASS  mine    3.0 s", "…", "run 0a1b2c3d is down")
    assert first_missing(shows, "PASS  mine   12.81 s\nmore\nrun ffeeddcc is down\n") is None
    assert first_missing(shows, "FAIL  mine   12.81 s\nrun ffeeddcc is down\n") == shows[0]
    assert first_missing(shows, "run ffeeddcc is down\nPASS  mine 3 s\n") == shows[2]


@pytest.mark.docker
def test_every_command_of_the_tutorial(engine: DockerEngine, images: Images, tmp_path: Path) -> None:
    """In a folder of its own, with the project's files beside it; one shell for all, as a reader would."""
    for entry in ROOT.iterdir():
        if entry.name not in ("runs", ".git", ".lab"):
            (tmp_path / entry.name).symlink_to(entry)
    script = ["cd " + str(tmp_path)]
    wanted: list[Command] = []
    for kind, file, text in BLOCK.findall(TUTORIAL.read_text(encoding="utf-8")):
        if kind == "yaml" and file:
            script.append(f"cat > {file} <<'END OF FILE'\n{text}END OF FILE")
        elif kind == "console":
            for command in commands(text):
                wanted.append(command)
                # The mark must not change $?, which the next command may ask for.
                script.append(f"(exit ${{status:-0}})\n{command.line}\nstatus=$?; echo; echo '=== end'")
    assert len(wanted) > 10
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "80", "LC_ALL": "C.UTF-8"}
    ran = subprocess.run(
        ["bash", "-s"],
        input="\n".join(script) + "\n",
        capture_output=True,
        encoding="utf-8",
        env=environment,
        timeout=TIMEOUT,
        check=False,
    )
    outputs = ran.stdout.split("\n=== end\n")
    assert len(outputs) == len(wanted) + 1, ran.stdout + ran.stderr
    for command, output in zip(wanted, outputs, strict=False):
        missing = first_missing(command.shows, output)
        assert missing is None, (
            f"$ {command.line}\nshows no line like\n{missing}\nbut\n{output}\n{ran.stderr}"
        )
