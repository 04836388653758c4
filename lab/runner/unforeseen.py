"""A case that an unexpected exception ended: its result is an ERROR, and a file holds the traceback."""

from __future__ import annotations

import contextlib
import traceback
from datetime import UTC, datetime
from pathlib import Path

from lab import __version__
from lab.errors import LabError
from lab.files import write_text
from lab.result import RESULT_VERSION, SCENARIO_FILE, ErrorFacts, Result, write_result
from lab.scenario.load import Case
from lab.verdict import Verdict

TRACEBACK_FILE = "traceback.txt"


def unforeseen(case: Case, run: str, folder: Path, began: datetime, error: Exception) -> Result:
    """Writes the traceback and the result into the case's folder, as far as possible; returns the result."""
    kind = type(error).__name__
    first = (str(error).splitlines() or [""])[0]
    message = first if isinstance(error, LabError) else f"the lab broke: {kind}: {first}"
    path = folder / TRACEBACK_FILE
    result = Result(
        version=RESULT_VERSION,
        run=run,
        name=case.name,
        scenario=str(case.path),
        summary=case.scenario.summary,
        tags=case.scenario.tags,
        params={name: str(value) for name, value in case.params.items()},
        verdict=Verdict.ERROR,
        reason=message,
        started=began.isoformat(timespec="milliseconds"),
        seconds=round((datetime.now(UTC) - began).total_seconds(), 3),
        error=ErrorFacts(kind, message, f"{path} says where; it is worth a report, with {SCENARIO_FILE}"),
    )
    with contextlib.suppress(OSError):  # on a full disk no file can be written; the result still reports it
        write_text(path, f"lab {__version__}\n" + "".join(traceback.format_exception(error)))
        write_text(folder / SCENARIO_FILE, case.source_text)
        write_result(folder, result)
    return result
