"""Runs and records outside programs that end at once (ip, ethtool); raises an error if one fails."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

#: Python ignores SIGPIPE, and a shell may have ignored SIGINT: programs must inherit neither.
DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)


class ToolFailed(Exception):
    """A program ended with a status other than 0, or could not be started."""


class Tools:
    """Runs programs and keeps what each did: {program, input, status, output, duration_ms}."""

    def __init__(self) -> None:
        self.commands: list[dict[str, Any]] = []

    def run(self, argv: list[str], text: str = "", *, may_fail: bool = False) -> str:
        """Run a program and return its stdout. stderr is in the record and in the error."""
        started = time.monotonic_ns()
        in_read, in_write = os.pipe()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        actions = [
            (os.POSIX_SPAWN_DUP2, in_read, 0),
            (os.POSIX_SPAWN_DUP2, out_write, 1),
            (os.POSIX_SPAWN_DUP2, err_write, 2),
        ]
        try:
            pid = os.posix_spawnp(
                argv[0], argv, {**os.environ, "LC_ALL": "C"}, file_actions=actions, setsigdef=DEFAULT_SIGNALS
            )
        except FileNotFoundError as error:
            for fd in (in_read, in_write, out_read, out_write, err_read, err_write):
                os.close(fd)
            raise ToolFailed(f"{argv[0]} is not installed on this host") from error
        for fd in (in_read, out_write, err_write):
            os.close(fd)
        os.write(in_write, text.encode())  # a few lines: less than a pipe holds
        os.close(in_write)
        with open(out_read, encoding="utf-8", errors="replace") as file:
            output = file.read()
        with open(err_read, encoding="utf-8", errors="replace") as file:
            errors = file.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.commands.append(
            {
                "program": argv,
                "input": text,
                "status": status,
                "output": (output + errors)[-4096:],
                "duration_ms": round((time.monotonic_ns() - started) / 1e6, 3),
            }
        )
        if status and not may_fail:
            given = f" with {text!r}" if text else ""
            raise ToolFailed(f"{' '.join(argv)}{given} ended with {status}: {(errors or output).strip()}")
        return output
