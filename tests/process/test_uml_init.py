"""The first process of the wire's user-mode Linux does without `strict`, and keeps to it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

INIT = Path(__file__).parents[2] / "images" / "wire" / "uml-init.pl"


def compiled(script: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["perl", "-Mstrict", "-wc", str(script)], capture_output=True, text=True, check=False
    )


def test_it_compiles_under_strict_without_a_warning() -> None:
    assert compiled(INIT).stderr == f"{INIT} syntax OK\n"


@pytest.mark.parametrize("line", ["$undeclared = 1;", "my $twice; my $twice;"])
def test_that_would_be_seen(line: str, tmp_path: Path) -> None:
    broken = tmp_path / "init.pl"
    broken.write_text(INIT.read_text() + line + "\n")
    assert compiled(broken).stderr != f"{broken} syntax OK\n"
