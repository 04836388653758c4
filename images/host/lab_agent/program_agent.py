"""The agent of a host's programs: in a container of its own, so that they cannot touch the host's agent.

It shares only the host's network namespace with it: no processes, files, limits or capabilities.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from .limits import read_hits
from .network import resolve_nothing
from .pinning import Pinning
from .privileges import close_to_others
from .programs import Program
from .protocol import LATER, Refused, Service, prepare_environment, signal_of


class ProgramAgent(Service):
    """Starts and signals programs, each named by its step."""

    def __init__(self) -> None:
        super().__init__()
        self.pinning = Pinning()
        self.programs: dict[str, Program] = {}

    def end(self) -> None:
        for program in self.programs.values():
            program.end()

    def op_pin(self, number: int, request: dict[str, Any]) -> Any:
        """Pin programs to one CPU from now on."""
        return {"cpu": self.pinning.choose(request["number"])}

    def op_run(self, number: int, request: dict[str, Any]) -> Any:
        started_wall, started_mono = time.time_ns(), time.monotonic_ns()
        before = read_hits()
        try:
            with self.pinning:
                program = Program(
                    self.loop,
                    request["step"],
                    request["argv"],
                    request["stdin"],
                    request["open_files"],
                    request["output"],
                    request["environment"],
                    before,
                    lambda record: self.reply(number, record),
                )
        except OSError as error:
            return {
                "exit_code": None,
                "stdout": "",
                "stderr": "",
                "start_mono_ns": started_mono,
                "end_mono_ns": time.monotonic_ns(),
                "start_wall_ns": started_wall,
                "end_wall_ns": time.time_ns(),
                "error": f"{request['argv'][0]} could not be started: {error.strerror}",
                "limits": [word for word, count in read_hits().items() if count > before.get(word, 0)],
            }
        self.programs[request["step"]] = program
        self.send({"event": "begun", "step": request["step"]})
        if request["timeout_ns"] is not None:
            program.limit(request["timeout_ns"] / 1e9)
        return LATER

    def op_cancel(self, number: int, request: dict[str, Any]) -> Any:
        """End the program of a step; return how many there were."""
        program = self.programs.get(request["step"])
        return int(program is not None and program.signal(signal.SIGKILL))

    def op_signal_run(self, number: int, request: dict[str, Any]) -> Any:
        program = self.programs.get(request["step"])
        if program is None:
            raise Refused("run", f"no program was started by step {request['step']!r}")
        at_wall, at_mono = time.time_ns(), time.monotonic_ns()
        if not program.signal(signal_of(request["signal"])):
            raise Refused("run", f"the program of step {request['step']!r} has ended already")
        return {"wall_ns": at_wall, "mono_ns": at_mono}


def main() -> None:
    prepare_environment()
    if os.getpid() == 1 and os.geteuid() == 0:  # in a container, whose name files are partly its own
        resolve_nothing()
    close_to_others()
    ProgramAgent().serve()
