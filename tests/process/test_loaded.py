"""What a fresh process loads, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys


def test_recheck_needs_no_engine() -> None:
    code = (
        "import lab.judging.recheck, tools.mutation.mutate, sys\n"
        "print([m for m in sys.modules if m.startswith(('docker', 'lab.engine', 'lab.runner'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"
