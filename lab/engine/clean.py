"""Who owns the objects on the engine, and the removal of what a dead owner left.

A run holds a lock on a file for as long as it lives, and every object it makes names that file. A process id
proves nothing across boots and PID namespaces; a lock ends with its holder, however that died.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path

from msgspec import Struct

from lab.engine.base import LABEL_BOOT, LABEL_LOCK, LABEL_PID, LABEL_RUN, Engine
from lab.engine.state import state_dir
from lab.errors import EngineError, LabEnvironmentError
from lab.files import Unfit, opened

LABEL_MACHINE = "lab.machine"  #: the owner's machine: a lock file says nothing about a run on another one

RUN_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")  #: what may become part of a path

_KEPT = b"kept\n"


class Owner(Enum):
    """What is known of the owner of an object."""

    ALIVE = "alive"  #: it holds its lock
    DEAD = "dead"  #: its lock is free, or its machine has been started again since
    KEPT = "kept"  #: it ended and left its lab running on purpose (`--keep`, `lab up`)
    UNKNOWN = "unknown"  #: another machine's, or its lock file cannot be seen from here


class Swept(Struct, frozen=True):
    """What was removed, by name, and what could not be, with the reason."""

    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.containers or self.networks or self.volumes or self.failures)


class Leftover(Struct, frozen=True):
    """One run's objects on the engine."""

    run: str
    owner: Owner
    containers: Mapping[str, str]  #: id → name
    networks: Mapping[str, str]
    lock: Path | None
    volumes: tuple[str, ...] = ()  #: by name, which is their id


class RunLock:
    """Held by a run from before its first object until after its last.

    with RunLock.take(run_id) as lock: … every object gets `lock.labels()` …
    """

    def __init__(self, run: str, path: Path, descriptor: int) -> None:
        self.run = run
        self.path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, run: str, folder: Path | None = None) -> RunLock:
        path = (folder if folder is not None else locks_dir()) / f"{run}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                # Readable by all: another user's sweep must be able to see that it is held.
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    os.close(descriptor)
                    raise LabEnvironmentError(f"the run {run} is already going on ({path})") from error
                # A sweep may have removed the file between our open and our lock.
                if _same_file(path, descriptor):
                    return cls(run, path, descriptor)
                os.close(descriptor)
        except OSError as error:
            raise LabEnvironmentError(
                f"{path}: cannot be locked: {error}", hint="set LAB_STATE to a folder that can be written"
            ) from error

    def labels(self) -> dict[str, str]:
        return {
            LABEL_RUN: self.run,
            LABEL_PID: str(os.getpid()),
            LABEL_BOOT: boot_id(),
            LABEL_MACHINE: machine(),
            LABEL_LOCK: str(self.path),
        }

    def release(self) -> None:
        """Everything of this run is gone: so is its lock file."""
        if self._descriptor is not None:
            self.path.unlink(missing_ok=True)
            self._close()

    def keep(self) -> None:
        """The lab stays: no sweep takes it until it is removed by hand or the machine starts again."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, _KEPT, 0)
            self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def locks_dir() -> Path:
    return state_dir() / "locks"


def boot_id() -> str:
    return _first_line("/proc/sys/kernel/random/boot_id")


def machine() -> str:
    """This machine's name for labels; its host name where /etc/machine-id does not exist."""
    return _first_line("/etc/machine-id") or os.uname().nodename


def owner(labels: Mapping[str, str]) -> Owner:
    path = _lock_of(labels)
    if path is None or labels.get(LABEL_MACHINE, machine()) != machine():
        return Owner.UNKNOWN
    if labels.get(LABEL_BOOT) != boot_id():
        return Owner.DEAD
    return _holder(path)


def some_run_died() -> bool:
    """Whether a run on this machine ended without removing its lock: it may have left something."""
    return any(_holder(path) is Owner.DEAD for path in locks_dir().glob("*.lock"))


def _holder(path: Path) -> Owner:
    """What a lock file says of the run that made it."""
    try:
        descriptor = _open_lock(path)
    except OSError:
        return Owner.UNKNOWN
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return Owner.KEPT if os.pread(descriptor, len(_KEPT), 0) == _KEPT else Owner.DEAD
    except BlockingIOError:
        return Owner.ALIVE
    finally:
        os.close(descriptor)


def leftovers(engine: Engine) -> list[Leftover]:
    """Every run that has something on the engine, living ones too. What only looks like one is left out."""
    kinds = (
        [(c.labels, c.id, c.name) for c in engine.containers({LABEL_RUN: None})],
        [(n.labels, n.id, n.name) for n in engine.networks()],
        [(v.labels, v.name, v.name) for v in engine.volumes({LABEL_RUN: None})],
    )
    runs: dict[str, tuple[Mapping[str, str], tuple[dict[str, str], ...]]] = {}
    for kind, objects in enumerate(kinds):
        for labels, identity, name in objects:
            if _is_ours(labels):
                _, own = runs.setdefault(labels[LABEL_RUN], (labels, tuple({} for _ in kinds)))
                own[kind][identity] = name
    return [
        Leftover(run, owner(labels), containers, networks, _lock_of(labels), tuple(volumes))
        for run, (labels, (containers, networks, volumes)) in sorted(runs.items())
    ]


def sweep(
    engine: Engine,
    *,
    owners: Sequence[Owner] = (Owner.DEAD,),
    run: str | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Swept:
    """Removes the objects of runs whose owner is one of `owners` (of one run only, where given).

    Two sweeps at once are safe: each holds the dead owner's lock while it removes, and what is held counts as
    alive.
    A living run is never removed, whatever `owners` says.
    """
    total = Swept()
    for left in leftovers(engine):
        if left.owner is Owner.ALIVE or left.owner not in owners or run not in (None, left.run):
            continue
        with _held(left) as held:
            if held:
                progress(f"removing what run {left.run} left ({left.owner.value})")
                done = remove_objects(engine, left.containers, left.networks, left.volumes)
                total = Swept(
                    total.containers + done.containers,
                    total.networks + done.networks,
                    total.failures + done.failures,
                    total.volumes + done.volumes,
                )
                if left.lock is not None and not done.failures:
                    with contextlib.suppress(OSError):
                        os.close(_open_lock(left.lock))  # it is still a lock, not somebody else's file
                        left.lock.unlink(missing_ok=True)
    return total


def remove_objects(
    engine: Engine, containers: Mapping[str, str], networks: Mapping[str, str], volumes: Sequence[str] = ()
) -> Swept:
    """Containers side by side, then networks and volumes; a failure does not stop the rest."""
    removed: list[str] = []
    failures: list[str] = []

    def removes(verb: Callable[[str], None], identity: str, name: str) -> str | None:
        try:
            verb(identity)
        except EngineError as error:
            failures.append(f"{name}: {error}")
            return None
        return name

    if containers:
        with ThreadPoolExecutor(min(8, len(containers))) as pool:
            jobs = [pool.submit(removes, engine.remove, *item) for item in containers.items()]
            removed = [name for job in jobs if (name := job.result()) is not None]
    gone = [name for item in networks.items() if (name := removes(engine.remove_network, *item)) is not None]
    stored = [name for name in volumes if removes(engine.remove_volume, name, name)]
    return Swept(tuple(removed), tuple(gone), tuple(failures), tuple(stored))


def remove_run(engine: Engine, run: str) -> Swept:
    """Everything that carries the label of this run: its hosts, wire and services, networks and volumes."""
    return remove_objects(
        engine,
        {container.id: container.name for container in engine.containers({LABEL_RUN: run})},
        {net.id: net.name for net in engine.networks() if net.labels.get(LABEL_RUN) == run},
        [volume.name for volume in engine.volumes({LABEL_RUN: run})],
    )


@contextlib.contextmanager
def _held(left: Leftover) -> Iterator[bool]:
    """Takes over a dead owner's lock; False where someone else has just done so.

    Without a lock file to hold (another machine's run, a former boot's) there is nothing to agree on, and
    removing twice is harmless.
    """
    descriptor = None
    if left.lock is not None and left.owner in (Owner.DEAD, Owner.KEPT):
        with contextlib.suppress(OSError):
            descriptor = _open_lock(left.lock)
    if descriptor is None:
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _lock_of(labels: Mapping[str, str]) -> Path | None:
    """The lock file that an object's labels speak of, if they can speak of one of this lab's.

    Anybody may label a container: no path is taken from a label. The path is made of a run id that is one, in
    this lab's own folder; a label that says anything else is another lab's, whose lock is not seen from here.
    """
    run = labels.get(LABEL_RUN, "")
    if not RUN_ID.fullmatch(run):
        return None
    path = locks_dir() / f"{run}.lock"
    return path if labels.get(LABEL_LOCK) == str(path) else None


def _open_lock(path: Path) -> int:
    """A descriptor of a lock file: a small file of its own, and neither a link nor anything else."""
    with opened(path, len(_KEPT), path.parent) as file:
        if file.read(len(_KEPT)) in (b"", _KEPT):
            return os.dup(file.fileno())
    raise Unfit(errno.EINVAL, "not a lock of the lab", str(path))


def _is_ours(labels: Mapping[str, str]) -> bool:
    """Whether the labels are all that a run gives; what has only one of that name is somebody else's."""
    wanted = (LABEL_RUN, LABEL_LOCK, LABEL_BOOT, LABEL_MACHINE)
    return all(labels.get(label) for label in wanted) and RUN_ID.fullmatch(labels[LABEL_RUN]) is not None


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
