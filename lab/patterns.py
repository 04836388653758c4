"""Patterns of a scenario: Python's `re`, multi-line, with a time limit.

A pattern is untrusted, and `re` cannot be interrupted: `^(a+)+$` on thirty letters takes hours. So a pattern
that may take long runs in a process of its own, which is killed when its time is up. A pattern with at most
one repetition on a short text is surely quick, and runs here.
"""

from __future__ import annotations

import atexit
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from lab.errors import LabError

LIMIT = 2.0  #: seconds for one question
MEMORY = 512 << 20  #: bytes that the process may have
_SHORT = 2_000  #: characters: one repetition over it takes 2 million steps at most, 20 ms
_LONGEST = 64 << 20  #: characters of a text that is searched
_REPEATS = re.compile(r"[*+?{]")
_CHOICES = re.compile(r"[|\\]|\(\?")  #: alternatives, references, lookarounds: many ways to match one text

Groups = tuple[str | None, ...]


class PatternTooSlow(LabError):
    """A pattern that did not finish in time."""


def search(pattern: str, text: str) -> Groups | None:
    """The first match with its groups, group 0 first; None if there is none. Raises `PatternTooSlow`."""
    if _is_quick(pattern, text):
        found = re.search(pattern, text, re.MULTILINE)
        return None if found is None else (found.group(), *found.groups())
    return _WORKER.ask(pattern, text[-_LONGEST:])


def _is_quick(pattern: str, text: str) -> bool:
    """Whether the text is short, and the pattern has one way through it and at most one repetition."""
    return len(text) <= _SHORT and len(_REPEATS.findall(pattern)) <= 1 and not _CHOICES.search(pattern)


class _Worker:
    """The process that matches. One question at a time; a new process after one that had to be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, pattern: str, text: str) -> Groups | None:
        question = json.dumps([pattern, text]).encode()
        with self._lock:
            process = self._process or self._start()
            timer = threading.Timer(LIMIT, process.kill)
            timer.start()
            try:
                answer = self._exchange(process, question)
            finally:
                timer.cancel()
            if answer is None:
                self.end()
                raise PatternTooSlow(
                    f"the pattern /{pattern}/ took longer than {LIMIT:g} s, or more than {MEMORY >> 20} MB, "
                    f"on {len(text):,} characters",
                    hint="repetitions inside repetitions, like (a+)+, take forever: write it without them",
                )
            return None if answer[0] is None else tuple(answer[0])

    def _start(self) -> subprocess.Popen[bytes]:
        worker = Path(__file__).with_name("pattern_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(worker), str(MEMORY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the lab's to handle
        )
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], question: bytes) -> Any:
        """The answer, in a list; None where the process ended."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(len(question).to_bytes(8, "big") + question)
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


_WORKER = _Worker()
atexit.register(_WORKER.end)
