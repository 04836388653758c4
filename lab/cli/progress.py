"""What the lab says on stderr while it works: plain lines, and one that is overwritten on a terminal."""

from __future__ import annotations

import sys
import threading
from typing import TextIO

from lab.harmless import clean, printed
from lab.session.events import Event, Said


class Progress:
    """A listener to a lab's events. A `line` stays; the next text overwrites a `status`, for terminals only.

    With `verbose` a status is a line. Thread-safe.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False, verbose: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._verbose = verbose
        self._lock = threading.Lock()
        self._live = self._stream.isatty()
        self._shown = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Said):
            (self.line if event.lasting else self.status)(event.text)

    def line(self, text: str) -> None:
        if self._quiet:
            return
        with self._lock:
            self._wipe()
            self._stream.write(printed(text) + "\n")
            self._stream.flush()

    def status(self, text: str) -> None:
        if self._verbose:
            self.line(text)
        if self._quiet or self._verbose or not self._live:
            return
        with self._lock:
            self._wipe()
            text = clean(text)[:79]
            self._stream.write(text)
            self._stream.flush()
            self._shown = len(text)

    def clear(self) -> None:
        """Erases the status, before stdout is written."""
        with self._lock:
            self._wipe()
            self._stream.flush()

    def _wipe(self) -> None:
        if self._shown:
            self._stream.write("\r" + " " * self._shown + "\r")
            self._shown = 0
