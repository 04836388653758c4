"""Where a run's files go: `runs/<utc>-<scenario>-<id>/`, and the link `runs/latest`."""

from __future__ import annotations

import os
import re
import secrets
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from lab.errors import UsageError

_LONGEST = 150  #: characters; a file system takes 255, and numbers and stamps are added
_UNSAFE = re.compile(r"[^A-Za-z0-9._=,+-]+")


def new_run_id() -> str:
    """Eight hex digits: unique among the runs of a machine, short enough for a container's name."""
    return secrets.token_hex(4)


def file_name(case: str) -> str:
    """A case's name as a file name: `timeout[delay=5ms]` → `timeout-delay=5ms`. A long one is cut."""
    name = _UNSAFE.sub("-", case).strip("-.") or "case"
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}-{sha256(name.encode()).hexdigest()[:8]}"


class RunFolder(Struct, frozen=True):
    """One case's folder: its own below `runs/`, or one of many below an invocation's."""

    path: Path

    @property
    def pcaps(self) -> Path:
        return self.path / "pcap"

    @property
    def logs(self) -> Path:
        return self.path / "logs"


def make_folder(runs: Path, name: str, run_id: str, now: datetime | None = None) -> Path:
    """A new folder for an invocation below `runs`; raises `UsageError` where it cannot be written."""
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    path = runs / f"{stamp}-{file_name(name)}-{run_id}"
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be made: {error.strerror}", hint="name a folder that you may write with --out"
        ) from error
    return path


def make_case_folder(parent: Path) -> RunFolder:
    """The parts of a case's folder."""
    folder = RunFolder(parent)
    for part in (folder.pcaps, folder.logs):
        part.mkdir(parents=True, exist_ok=True)
    return folder


def link_latest(folder: Path) -> None:
    """Points `latest` beside `folder` at it, in one step, so that two runs at once cannot break it."""
    latest = folder.parent / "latest"
    temporary = folder.parent / f".latest-{secrets.token_hex(4)}"
    temporary.symlink_to(folder.name)
    os.replace(temporary, latest)
