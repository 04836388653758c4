"""Where the lab keeps what outlives one command: locks, the private engine, build locks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabEnvironmentError


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """`$LAB_STATE`; otherwise `/var/lib/lab` for root, or `$XDG_STATE_HOME/lab` (`~/.local/state/lab`).

    Root has one place for the whole machine whatever HOME says, so that a run under sudo and one as root see
    each other's locks and use the same private engine.
    """
    if chosen := environ.get("LAB_STATE"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/lab")
    if xdg := environ.get("XDG_STATE_HOME"):
        return Path(xdg) / "lab"
    return Path.home() / ".local" / "state" / "lab"


@contextmanager
def lock_file(path: Path) -> Iterator[int]:
    """The descriptor of a file to lock, made where it is not there; closing it ends the lock.

    The file is left behind: removing it would let two holders lock two different files of one name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LabEnvironmentError(
            f"{path}: cannot be locked: {error.strerror}",
            hint="set LAB_STATE to a folder of yours, or run it as root",
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file, waiting for whoever has it."""
    with lock_file(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
