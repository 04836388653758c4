"""How SIGINT and SIGTERM reach work that waits in threads: one flag, and callbacks that unblock the waits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lab.errors import EXIT_INTERRUPTED, LabError


class Interrupted(LabError):
    """The user asked the lab to stop."""

    exit_code = EXIT_INTERRUPTED


class Interrupt:
    """Set once; from then on `check` raises and every callback has been called."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._event = threading.Event()
        self.reason: str | None = None

    def set(self, reason: str) -> None:
        with self._lock:
            if self.reason is not None:
                return
            self.reason = reason
            callbacks = list(self._callbacks)
        self._event.set()
        for callback in callbacks:
            callback()

    def check(self) -> None:
        """Raise `Interrupted` once set."""
        if self.reason is not None:
            raise Interrupted(f"interrupted by {self.reason}")

    def wait(self, seconds: float) -> None:
        """Waits this long; raises `Interrupted` as soon as it is set."""
        self._event.wait(seconds)
        self.check()

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Within the block `set` calls `callback` from its own thread; at once where it is set already."""
        with self._lock:
            self._callbacks.append(callback)
            late = self.reason is not None
        if late:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)


@contextmanager
def signals_set(interrupt: Interrupt) -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and SIGHUP set `interrupt` and do nothing else.

    The handlers are installed even where SIGINT was ignored: a shell without job control starts `&` jobs
    that way, and Python keeps it.
    """

    def handler(number: int, _frame: FrameType | None) -> None:
        # Callbacks take locks that the interrupted main thread may hold: set from a thread of its own.
        name = signal.Signals(number).name
        threading.Thread(target=interrupt.set, args=(name,), name="interrupt").start()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
