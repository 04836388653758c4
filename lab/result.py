"""`result.json`: the one truth about a case, versioned; every report is a function of it and the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from lab.errors import UsageError
from lab.evidence.model import LinkProof, StreamRecord
from lab.files import RESULT, read_bytes, replacing
from lab.harmless import json_text
from lab.numbers import read_json
from lab.place import Place
from lab.plain import plain, read_plain
from lab.verdict import Finding, Verdict

RESULT_VERSION = 1
RESULT_FILE = "result.json"
SCENARIO_FILE = "scenario.yml"  #: the scenario as it was run, in the run folder
TOPOLOGY_FILE = "topology.yml"  #: its topology, where it names one


class Phase(Struct, frozen=True):
    """How long one phase of a case took; phases may overlap. Seconds since the case began, and seconds."""

    name: str
    start: float
    seconds: float


class ImageFacts(Struct, frozen=True):
    tag: str
    id: str


class Environment(Struct, frozen=True):
    """Where the case ran."""

    lab: str  #: version of the lab
    python: str
    machine: str  #: x86_64 …
    kernel: str  #: of the engine's machine
    engine: str  #: "docker 20.10.24"
    engine_address: str
    images: Mapping[str, ImageFacts] = {}
    wire: str = ""  #: kernel or uml
    wire_reason: str = ""
    wire_kernel: str = ""


class ErrorFacts(Struct, frozen=True):
    """Why there is no verdict on the scenario itself: the lab broke, or could not impair."""

    kind: str  #: class of the error: WireError …
    message: str
    hint: str = ""
    place: Place | None = None


class Result(Struct, frozen=True):
    """One case. `findings` are in order: the steps' expectations as they came, then the checks."""

    version: int
    run: str  #: id of the run, also the label on its containers
    name: str  #: of the case: timeout[delay=5ms]
    scenario: str  #: the file as it was given
    summary: str
    tags: tuple[str, ...]
    params: Mapping[str, Any]
    verdict: Verdict
    reason: str  #: one sentence for the first thing that went wrong, or why it was skipped; "" for PASS
    started: str  #: ISO 8601, UTC
    seconds: float
    findings: tuple[Finding, ...] = ()
    error: ErrorFacts | None = None
    environment: Environment | None = None
    phases: tuple[Phase, ...] = ()
    links: tuple[LinkProof, ...] = ()
    streams: tuple[StreamRecord, ...] = ()
    captures: tuple[str, ...] = ()  #: pcapng files, relative to the run folder
    notes: tuple[str, ...] = ()
    values: Mapping[str, str] = {}  #: what `record` kept of programs' output

    @property
    def began(self) -> float:
        """`started` in seconds of the Unix epoch. Raises `ValueError` if it is not a date."""
        return datetime.fromisoformat(self.started).timestamp()

    @property
    def first_failure(self) -> Finding | None:
        """Where it first went wrong."""
        return next((f for f in self.findings if f.verdict.bad), None)


def time_taken(results: Iterable[Result]) -> float:
    """Seconds in which at least one of them ran: those that ran side by side count once."""
    taken, until = 0.0, 0.0
    for start, end in sorted((result.began, result.began + result.seconds) for result in results):
        taken += max(0.0, end - max(start, until))
        until = max(until, end)
    return taken


def write_result(folder: Path, result: Result) -> Path:
    """Write `result.json` into a run folder, and give its path."""
    path = folder / RESULT_FILE
    with replacing(path) as file:
        text = json_text(plain(result), indent=2)
        file.write(text.encode() + b"\n")
    return path


def read_result(folder: Path) -> Result:
    """Read a run folder's `result.json`. Raises `UsageError` if it is missing or invalid."""
    path = folder / RESULT_FILE
    try:
        raw = read_bytes(path, RESULT, folder)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{folder}: no {RESULT_FILE} in it: not a run folder", hint="look in runs/, or at runs/latest"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        result = read_plain(read_json(raw.decode()), Result)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a result of version {RESULT_VERSION}: {error}") from error
    try:
        _ = result.began
    except ValueError as error:
        raise UsageError(f"{path}: `started` is not a date: {error}") from error
    if result.version != RESULT_VERSION:
        raise UsageError(f"{path}: version {result.version}, this lab reads {RESULT_VERSION}")
    return result
