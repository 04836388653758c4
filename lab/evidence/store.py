"""A run folder's evidence: `events.jsonl` ⇄ `Records`, and the captures under `pcap/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lab.evidence.model import Records
from lab.evidence.packets import Capture
from lab.evidence.trace import Trace

EVENTS_FILE = "events.jsonl"


@dataclass(frozen=True)
class Evidence:
    """What the checks and the report get: the records, and the packets."""

    records: Records
    captures: Mapping[str, Capture]  #: by host name

    @cached_property
    def trace(self) -> Trace:
        return Trace.build(self.captures, self.records)


def write_records(folder: Path, records: Records) -> Path:
    """Writes `events.jsonl` into a run folder; its path."""
    raise NotImplementedError


def read_records(folder: Path) -> Records:
    """Raises `UsageError` where the folder has no `events.jsonl` or it is of another version."""
    raise NotImplementedError


def load_evidence(folder: Path) -> Evidence:
    """The evidence of a stored run; reads the captures at once."""
    raise NotImplementedError
