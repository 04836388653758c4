"""Run folders as commands take them."""

from __future__ import annotations

from pathlib import Path

from lab.errors import UsageError
from lab.result import RESULT_FILE


def run_folder(path: Path) -> Path:
    """The folder of one case. Raises `UsageError` for a folder of many, naming them, and for any other."""
    if (path / RESULT_FILE).is_file():
        return path
    if not path.exists():
        raise UsageError(
            f"{path}: no such folder", hint="`lab run` writes to runs/; runs/latest is the newest"
        )
    cases = sorted(found.parent for found in path.glob(f"*/{RESULT_FILE}"))
    if cases:
        shown = "\n".join(f"  {case}" for case in cases[:20])
        raise UsageError(f"{path}: holds {len(cases)} runs; name one of them:\n{shown}")
    raise UsageError(f"{path}: no {RESULT_FILE} in it: not a run folder", hint="look in runs/")
