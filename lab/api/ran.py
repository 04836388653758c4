"""A program that ran on a host or in a service."""

from __future__ import annotations

from lab.evidence.model import CallRecord, RunRecord


class Ran:
    """A program that ran: `exit` (-9 where KILL ended it), `stdout` and `stderr` (text), `elapsed` (s).

    `error` is `timeout` where it ran out of time and was ended, `killed` where its host lost power.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.exit = record.exit_code
        self.stdout = record.stdout
        self.stderr = record.stderr
        self.error = record.error
        self.elapsed = (record.end_mono_ns - record.start_mono_ns) / 1e9

    def __repr__(self) -> str:
        return f"<{self.record.command[0]}: {self.error or f'exit {self.exit}'}>"


def ran_of(record: CallRecord | RunRecord) -> Ran:
    """The outcome of a program. Raises `FileNotFoundError` where it could not be started."""
    assert isinstance(record, RunRecord)
    if record.exit_code is None and "could not be started" in (record.error or ""):
        raise FileNotFoundError(record.error)
    return Ran(record)
