"""What a program gets when something fails: a call's failure as Python's own error, a check's as an
assertion error."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from lab.errors import LabError
from lab.evidence.model import CallRecord
from lab.verdict import Finding


class CheckFailed(AssertionError):
    """A check, or something else that the lab judges, failed. The text is that of `findings`."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        # Jinja2 and all that reports take 0.1 s, and few labs fail.
        from lab.report.terminal import finding_lines
        from lab.report.text import Paint

        self.findings = tuple(findings)
        plain = Paint(False)
        super().__init__("\n".join(line for one in findings for line in finding_lines(one, plain, indent="")))


class ProcessKilled(Exception):
    """The process that made a call ended before the call did. `record` is the call's."""

    def __init__(self, message: str, record: CallRecord) -> None:
        super().__init__(message)
        self.record = record


def raised(record: CallRecord) -> Exception | None:
    """What Python's own socket would raise for a call that failed; None for one that did not.

    The errno is that of the host, which is a Linux, wherever the program runs.
    """
    if record.error is None:
        return None
    name, number, message = record.error.name, record.error.errno, record.error.message
    error: Exception
    if name == "timeout":
        error = TimeoutError(message)
    elif name == "EOF":
        error = EOFError(message)
    elif name == "killed":
        error = ProcessKilled(message, record)
    elif name == "gaierror":
        error = socket.gaierror(socket.EAI_NONAME, message)
    elif number is not None:
        error = OSError(getattr(errno, name, number), message)
        assert isinstance(error, OSError)
        error.errno = number
    elif name == "cancelled":
        error = LabError(f"{record.call} at {record.host} was given up: {message}")
    else:
        error = OSError(message)
    where = f" on {record.socket}" if record.socket else ""
    error.add_note(f"{record.call}{where} at {record.host}, after {record.elapsed_ns / 1e9:.3f} s")
    return error
