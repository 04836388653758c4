"""A call that goes on in the background while the program does something else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from lab.api.steps import Time, time_text
from lab.evidence.model import CallRecord, RunRecord
from lab.units import Duration

if TYPE_CHECKING:
    from lab.session.session import Session

__tracebackhide__ = True  #: a failed test shows its own lines, not these

T = TypeVar("T")
#: The values of `background`: they decide whether a call gives its value, or a `Call`.
Off = Literal[False]
On = Literal[True]


class Call(Generic[T]):
    """What `background=True` gives. A call that nobody awaits is judged when the block ends, as in a
    scenario."""

    def __init__(self, session: Session, step: str, convert: Callable[[CallRecord | RunRecord], T]) -> None:
        self.id = step  #: the id of its step, for checks
        self._session = session
        self._convert = convert
        self._lock = threading.Lock()
        self._record: CallRecord | RunRecord | None = None
        self._began = time.monotonic_ns()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._record is not None or self._session.wait(self.id, 0)

    @property
    def elapsed(self) -> float:
        """Seconds from its start to its end, by the host's own clock; the time so far while it goes on."""
        record = self._record
        if record is None:
            if not self.done:
                return (time.monotonic_ns() - self._began) / 1e9
            record = self._end()
        return (record.end_mono_ns - record.start_mono_ns) / 1e9

    def result(self, timeout: Time | None = None) -> T:
        """What the call returns, or raises what it raises. Waits for its end, at most `timeout`.

        Raises `TimeoutError` where it has not ended by then; the call goes on.
        """
        limit = None if timeout is None else Duration.parse(time_text(timeout))
        if self._record is None and not self._session.wait(self.id, limit.seconds if limit else None):
            raise TimeoutError(f"{self.id} has not ended within {limit}; it goes on")
        return self._convert(self._end())

    def _end(self) -> CallRecord | RunRecord:
        with self._lock:
            if self._record is None:
                self._record = self._session.end(self.id)
            return self._record

    def __repr__(self) -> str:
        return f"<Call {self.id}: {'ended' if self.done else 'goes on'}>"
