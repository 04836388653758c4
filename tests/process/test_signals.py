"""Tests do not depend on inherited signals: a run that is started with them ignored passes all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: A test that fails where SIGINT stays ignored.
TEST = "tests/process/test_programs.py::test_ctrl_c_ends_the_server"
#: 32 and 33 are the C library's own: what `make` starts has them ignored, and no program can change that.
OF_THE_LIBRARY = 0b11 << 31
#: What a test's own programs inherit, as the kernel says it.
INHERITED = """
import subprocess, tests.conftest
status = subprocess.run(["cat", "/proc/self/status"], stdout=subprocess.PIPE, text=True).stdout
print(*(line.split()[1] for line in status.splitlines() if line.startswith(("SigIgn", "SigBlk"))))
"""


def with_signals_ignored(*argv: str) -> subprocess.CompletedProcess[str]:
    """As `nohup make test &` in a script: SIGINT, SIGHUP and SIGQUIT are ignored."""
    return subprocess.run(
        ["sh", "-c", 'trap "" INT HUP QUIT; exec "$@"', "sh", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_run_with_signals_ignored_passes() -> None:
    done = with_signals_ignored(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TEST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_what_tests_start_ignores_nothing_and_blocks_nothing() -> None:
    done = with_signals_ignored(sys.executable, "-c", INHERITED)
    assert done.stdout.split(), done.stderr
    assert [int(word, 16) & ~OF_THE_LIBRARY for word in done.stdout.split()] == [0, 0], done.stdout


def test_the_run_is_one_that_would_fail() -> None:
    """Without conftest.py the same test fails: the proof above proves something."""
    done = with_signals_ignored(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest", TEST
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout
