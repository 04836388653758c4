"""Feeds cases to a target, in a process whose memory and time are bounded, and gathers what breaks.

A case is a folder of small files. What may come of it: nothing, or an error of the lab's own. Anything
else is a finding, and so are 5 s of processor time, 20 s by the clock, and 1 GiB of memory.

    python -m tests.fuzz loader --seconds 600 --seed 7 --save /tmp/found
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any

import click

from lab.errors import LabError

CORPUS = Path(__file__).parents[1] / "data" / "hostile"
PROCESSOR = 5.0  #: seconds of processor time for one case
CLOCK = 20.0  #: and by the clock: a wait that nobody ends. Others may need the processors too
MEMORY = 1 << 30  #: bytes that the process may have over what it has when the target is loaded

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Target:
    """What is fed. `make` gives the files of one case; `feed` takes the folder that they lie in."""

    make: Callable[[random.Random], Files]
    feed: Callable[[Path], None]


class TooLong(BaseException):
    """The case had its time. No `Exception`: nothing that is fed may take it for one of its own."""


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLong(f"more than {PROCESSOR if number == signal.SIGPROF else CLOCK:g} s")


def put(files: Files, folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def taken(folder: Path) -> dict[str, bytes]:
    """The files of a case of the corpus."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def bound_memory() -> None:
    """From now on the process may have `MEMORY` more than it has."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def broken(target: Target, files: Files) -> str:
    """What broke when the target was fed with a case; empty where nothing did."""
    said: list[str] = []
    threading.excepthook = lambda args: said.append(f"in a thread: {args.exc_value!r}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "case"
        folder.mkdir()
        put(files, folder)
        for number in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(number, _too_long)
        signal.setitimer(signal.ITIMER_PROF, PROCESSOR)
        signal.setitimer(signal.ITIMER_REAL, CLOCK)
        try:
            target.feed(folder)
        except (LabError, click.ClickException):
            pass
        except (Exception, TooLong):  # noqa: BLE001 - whatever else comes of a case is what is looked for
            said.append(traceback.format_exc(limit=-12))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
    return "\n".join(said)


@dataclass
class Tally:
    """What a run of many cases came to."""

    cases: int = 0
    slowest: float = 0.0  #: seconds of processor time of one case
    found: dict[str, str] | None = None  #: by where it broke: the text, and where the case was saved

    def facts(self) -> dict[str, Any]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"cases": self.cases, "slowest": self.slowest, "peak": peak << 10, "found": self.found or {}}


def fuzz(target: Target, *, seed: int, seconds: float, count: int, save: Path | None) -> Tally:
    """Feeds `count` cases; where that is 0, as many as `seconds` allow. A place that breaks is told once."""
    tally = Tally(found={})
    assert tally.found is not None
    until = time.monotonic() + seconds
    while tally.cases < count if count else time.monotonic() < until:
        files = target.make(random.Random(f"{seed}.{tally.cases}"))
        began = time.process_time()
        said = broken(target, files)
        tally.slowest = max(tally.slowest, time.process_time() - began)
        tally.cases += 1
        if said and (key := _place(said)) not in tally.found:
            tally.found[key] = said
            if save is not None:
                folder = save / sha256(key.encode()).hexdigest()[:8]
                put(files, folder)
                print(f"{folder}\n{said}\n", file=sys.stderr, flush=True)
    return tally


def _place(said: str) -> str:
    """Where it broke: the last lines of the traceback that name a place, and the kind of the error."""
    places = [line.strip() for line in said.splitlines() if line.lstrip().startswith("File ")]
    return "\n".join([*places[-2:], said.strip().splitlines()[-1].split(":")[0]])


def main(targets: Mapping[str, Target]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", choices=targets)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--corpus", action="store_true", help="feed the stored cases, and no others")
    asked = parser.parse_args()
    target = targets[asked.target]
    bound_memory()
    if asked.corpus:
        tally = Tally(found={})
        assert tally.found is not None
        for folder in sorted((CORPUS / asked.target).iterdir()):
            began = time.process_time()
            if said := broken(target, taken(folder)):
                tally.found[folder.name] = said
            tally.slowest = max(tally.slowest, time.process_time() - began)
            tally.cases += 1
    else:
        tally = fuzz(target, seed=asked.seed, seconds=asked.seconds, count=asked.count, save=asked.save)
    print(json.dumps(tally.facts()))
    return 1 if tally.found else 0
