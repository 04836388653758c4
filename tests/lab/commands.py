"""The command line as a user types it, for tests."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.result import Result, read_result

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = ROOT / "scenarios"
APPS = SCENARIOS / "apps"  #: real programs, in images of some hundred megabytes: by `make test-all`
SOCKETS = [path for path in sorted(SCENARIOS.iterdir()) if path != APPS and any(path.rglob("*.yml"))]
SOCKETS += sorted(SCENARIOS.glob("*.yml"))


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


def lab(*arguments: str | Path, timeout: float = 300.0) -> Ended:
    """Runs `python -m lab …` in the repository."""
    done = subprocess.run(
        argv(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def argv(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "lab", *map(str, arguments)]


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Starts `python -m lab …` in the repository, its output in pipes."""
    return subprocess.Popen(
        argv(*arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def results(out: Path) -> dict[str, tuple[Result, Path]]:
    """The results of an invocation with `--out`, by the name of the case, with their folders."""
    newest = (out / "latest").resolve()
    files = [newest / "result.json"] if (newest / "result.json").is_file() else newest.glob("*/result.json")
    found = [(read_result(file.parent), file.parent) for file in files]
    return {result.name: (result, folder) for result, folder in found}
