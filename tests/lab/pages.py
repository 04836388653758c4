"""Pages of the documentation as a reader goes through them: every command run, and what it shows looked for.

A block of `console` has commands behind `$ ` and, below each, lines that its output must have in this order;
`…` stands for anything. A block of `yaml file=NAME` is a file that the reader makes.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.lab.commands import ROOT, argv

BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    line: str
    shows: tuple[str, ...]  #: lines of the output as the page has them; `…` stands for anything


def commands(text: str) -> list[Command]:
    """The commands of a console block."""
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


def first_missing(command: Command, output: str) -> str | None:
    """The first line that the output does not have, or not in this order. An exit status is held exactly."""
    if command.line == "echo $?":
        return None if output.split() == list(command.shows) else "\n".join(command.shows)
    lines = iter(output.splitlines())
    for shown in command.shows:
        if shown.strip() in ("", "…"):
            continue
        wanted = pattern(shown)
        if not any(wanted.match(line) for line in lines):
            return shown
    return None


def follow(page: Path, folder: Path, timeout: float) -> int:
    """Runs every command of a page in `folder`, the project's files beside it, in one shell like a reader's.

    Asserts that each shows what the page says; the number of commands.
    """
    for entry in ROOT.iterdir():
        if entry.name not in ("runs", ".git", ".lab"):
            (folder / entry.name).symlink_to(entry)
    script = [f"cd {folder}; exec 2>&1"]  # a reader sees both streams, and errors go to the second
    wanted: list[Command] = []
    for kind, file, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "yaml" and file:
            script.append(f"cat > {file} <<'END OF FILE'\n{text}END OF FILE")
        elif kind == "console":
            for command in commands(text):
                wanted.append(command)
                # The mark must not change $?, which the next command may ask for.
                script.append(f"(exit ${{status:-0}})\n{command.line}\nstatus=$?; echo; echo '=== end'")
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "80", "LC_ALL": "C.UTF-8"}
    ran = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        stdin=subprocess.DEVNULL,  # a script on stdin would be read by `lab sh`
        capture_output=True,
        encoding="utf-8",
        env=environment,
        timeout=timeout,
        check=False,
    )
    try:
        _compare(page, wanted, ran)
    except AssertionError:
        # A page that breaks off must not leave standing what it would have taken down.
        for run in re.findall(r"^The hosts of run (\w+) are up", ran.stdout, re.MULTILINE):
            subprocess.run(argv("down", run), cwd=ROOT, capture_output=True, timeout=60, check=False)
        raise
    return len(wanted)


def _compare(page: Path, wanted: list[Command], ran: subprocess.CompletedProcess[str]) -> None:
    outputs = ran.stdout.split("\n=== end\n")
    assert len(outputs) == len(wanted) + 1, ran.stdout + ran.stderr
    for command, output in zip(wanted, outputs, strict=False):
        missing = first_missing(command, output)
        assert missing is None, (
            f"{page.name}: $ {command.line}\nshows no line like\n{missing}\nbut\n{output}\n{ran.stderr}"
        )
