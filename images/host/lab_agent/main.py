"""The agent: requests from stdin to what does them, replies and events to stdout, till stdin ends."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from .capture import Capture
from .counters import read_counters, read_sysctls
from .lines import LineReader, encode, write_all
from .loop import Loop
from .network import Network, NotAsAsked
from .pinning import Pinning
from .processes import Processes
from .programs import Program
from .reach import Reach
from .sampler import Sampler, Wait
from .tools import ToolFailed, Tools

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STDIN, STDOUT = 0, 1

Handler = Callable[[int, dict[str, Any]], Any]
LATER = object()  #: a handler's answer: it replies by itself


class Refused(Exception):
    """The request cannot be done; `kind` is one word for programs."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Agent:
    """Every `op_…` method is an operation of the protocol; its value is the reply, or it replies later."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.tools = Tools()
        self.network = Network(self.tools)
        self.pinning = Pinning()
        self.processes = Processes(self.loop, self._began, self._moved, self._send, self.pinning)
        self.sampler: Sampler | None = None
        self.captures: list[Capture] = []
        self.programs: dict[str, Program] = {}
        self.peers: dict[str, str] = {}
        self._requests = LineReader(STDIN)
        self._ops: dict[str, Handler] = {
            name.removeprefix("op_"): getattr(self, name) for name in dir(self) if name.startswith("op_")
        }

    # -- the protocol ------------------------------------------------------------------------------

    def serve(self) -> None:
        """Till stdin ends, or SIGTERM comes. Then everything that was started ends."""
        signal.signal(signal.SIGTERM, lambda number, frame: self.loop.stop())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the lab's to handle
        self.processes.get("main")  # forked while the agent is small
        self.loop.read(STDIN, self._hear)
        self._send({"event": "ready", "pid": os.getpid(), "kernel": os.uname().release})
        try:
            self.loop.run()
        except BrokenPipeError:
            pass  # the lab is gone
        finally:
            self._end()

    def _end(self) -> None:
        for program in self.programs.values():
            program.end()
        for capture in self.captures:
            capture.end()
        self.processes.end()

    def _send(self, message: dict[str, Any]) -> None:
        write_all(STDOUT, encode(message))

    def _hear(self) -> None:
        for line in self._requests.take():
            self._handle(json.loads(line))
        if self._requests.ended:
            self.loop.stop()

    def _handle(self, request: dict[str, Any]) -> None:
        number = request["id"]
        handler = self._ops.get(request["op"])
        try:
            if handler is None:
                raise Refused("op", f"unknown operation {request['op']!r}; there are: {', '.join(self._ops)}")
            value = handler(number, request)
        except Refused as refused:
            self._refuse(number, refused.kind, str(refused))
        except (ToolFailed, NotAsAsked) as problem:
            self._refuse(number, "set_up", str(problem))
        except OSError as error:
            self._refuse(number, "os", str(error))
        else:
            if value is not LATER:
                self._reply(number, value)

    def _reply(self, number: int, value: Any) -> None:
        self._send({"id": number, "ok": value})

    def _refuse(self, number: int, kind: str, message: str) -> None:
        self._send({"id": number, "error": {"kind": kind, "message": message}})

    def _began(self) -> None:
        if self.sampler is not None:
            self.sampler.began()

    def _moved(self) -> None:
        if self.sampler is not None:
            self.sampler.moved()

    def _sampler(self) -> Sampler:
        if self.sampler is None:
            self.sampler = Sampler(self.loop)
        return self.sampler

    # -- the host ----------------------------------------------------------------------------------

    def op_set_up(self, number: int, request: dict[str, Any]) -> Any:
        self.peers = request["peers"]
        self.processes.limit(request["open_files"])
        facts = self.network.set_up(request)
        self.op_watch(number, request)
        self.processes.get("main")
        return {
            **facts,
            "kernel": os.uname().release,
            "sysctls": read_sysctls(request["sysctls"]),
            "commands": self.tools.commands,
        }

    def op_reach(self, number: int, request: dict[str, Any]) -> Any:
        """Till the wire answers: only then is there a way through all the bridges."""
        wire_mac, wire_address = request["wire_mac"], request["wire_address"]
        Reach(self.loop, self.network.interface, request["mac"], wire_mac, wire_address).start(
            request["timeout_ns"],
            lambda asked: self._reply(number, {"asked": asked}),
            lambda: self._refuse(number, "reach", f"the wire at {wire_address} does not answer"),
        )
        return LATER

    def op_pin(self, number: int, request: dict[str, Any]) -> Any:
        """One CPU for the processes that make calls and for programs, from now on."""
        cpu = self.pinning.choose(request["number"])
        self.processes.pin()
        return {"cpu": cpu}

    def op_limit(self, number: int, request: dict[str, Any]) -> Any:
        self.processes.limit(request["open_files"])
        return None

    def op_watch(self, number: int, request: dict[str, Any]) -> Any:
        """Sample socket states from now on."""
        self._sampler().start()
        return None

    def op_power_off(self, number: int, request: dict[str, Any]) -> Any:
        at_wall, at_mono = time.time_ns(), time.monotonic_ns()
        self.network.down()
        return {
            "wall_ns": at_wall,
            "mono_ns": at_mono,
            "streams": self.processes.streams(),
            "states": self._sampler().take(),
            "counters": read_counters(),
        }

    def op_counters(self, number: int, request: dict[str, Any]) -> Any:
        return read_counters()

    def op_sysctls(self, number: int, request: dict[str, Any]) -> Any:
        return read_sysctls(request["names"])

    # -- capture -----------------------------------------------------------------------------------

    def op_start_capture(self, number: int, request: dict[str, Any]) -> Any:
        if self.captures and self.captures[-1].running:
            raise Refused("capture", f"a capture is running already, into {self.captures[-1].path}")
        interface, mac = self.network.interface, request["mac"]
        if not interface:
            raise Refused("capture", "the host was not set up: its interface is not known")
        capture = Capture(self.loop, interface, mac, request["path"], request["snaplen"])
        capture.start(
            lambda: self._reply(number, {"interface": interface, "path": request["path"]}),
            lambda message: self._refuse(number, "capture", message),
        )
        self.captures.append(capture)
        return LATER

    def op_stop_capture(self, number: int, request: dict[str, Any]) -> Any:
        if not self.captures:
            raise Refused("capture", "no capture was started")
        self.captures[-1].stop(
            lambda counts: self._reply(number, counts),
            lambda message: self._refuse(number, "capture", message),
        )
        return LATER

    def op_small_file(self, number: int, request: dict[str, Any]) -> Any:
        """The content in base64; null where the file is larger than `limit` bytes."""
        if os.stat(request["path"]).st_size > request["limit"]:
            return {"content": None}
        with open(request["path"], "rb") as file:
            return {"content": base64.b64encode(file.read()).decode()}

    # -- socket calls and processes ----------------------------------------------------------------

    def op_call(self, number: int, request: dict[str, Any]) -> Any:
        args = request["args"]
        if isinstance(args.get("to"), list):
            args["to"][0] = self.peers.get(args["to"][0], args["to"][0])
        if args.get("address") in self.peers:
            args["address"] = self.peers[args["address"]]
        self.processes.call(
            number,
            request,
            lambda record: self._reply(number, record),
            lambda kind, message: self._refuse(number, kind, message),
        )
        return LATER

    def op_cancel(self, number: int, request: dict[str, Any]) -> Any:
        """End the waits of a step: calls and programs; how many there were."""
        count = self.processes.cancel(request["step"])
        program = self.programs.get(request["step"])
        if program is not None and program.signal(signal.SIGKILL):
            count += 1
        return count

    def op_streams(self, number: int, request: dict[str, Any]) -> Any:
        return self.processes.streams()

    def op_signal(self, number: int, request: dict[str, Any]) -> Any:
        try:
            self.processes.send_signal(
                request["process"], _signal(request["signal"]), lambda sent: self._reply(number, sent)
            )
        except ProcessLookupError as error:
            raise Refused("process", str(error)) from error
        return LATER

    def op_descriptors(self, number: int, request: dict[str, Any]) -> Any:
        try:
            return self.processes.descriptors(request["process"])
        except ProcessLookupError as error:
            raise Refused("process", str(error)) from error

    # -- programs ----------------------------------------------------------------------------------

    def op_run(self, number: int, request: dict[str, Any]) -> Any:
        started_wall, started_mono = time.time_ns(), time.monotonic_ns()
        try:
            with self.pinning:
                program = Program(
                    self.loop,
                    request["step"],
                    request["argv"],
                    request["stdin"],
                    self.processes.open_files,
                    lambda record: self._reply(number, record),
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
            }
        self.programs[request["step"]] = program
        self._send({"event": "begun", "step": request["step"]})
        if request["timeout_ns"] is not None:
            program.limit(request["timeout_ns"] / 1e9)
        return LATER

    def op_signal_run(self, number: int, request: dict[str, Any]) -> Any:
        program = self.programs.get(request["step"])
        if program is None:
            raise Refused("run", f"no program was started by step {request['step']!r}")
        at_wall, at_mono = time.time_ns(), time.monotonic_ns()
        if not program.signal(_signal(request["signal"])):
            raise Refused("run", f"the program of step {request['step']!r} has ended already")
        return {"wall_ns": at_wall, "mono_ns": at_mono}

    # -- socket states -----------------------------------------------------------------------------

    def op_wait_for(self, number: int, request: dict[str, Any]) -> Any:
        sampler = self._sampler()

        def done(moment: dict[str, Any]) -> None:
            timer.cancel()
            self._reply(number, moment)

        def too_late() -> None:
            if sampler.forget(wait):
                there = ", ".join(f"{s['local'][1]} {s['state']}" for s in sampler.final()) or "no sockets"
                self._refuse(number, "timeout", f"not within the time given; there are: {there}")

        wait = Wait(request["kind"], request["state"], request["port"], done)
        timer = self.loop.after(request["timeout_ns"] / 1e9, too_late)
        sampler.wait(wait)
        return LATER

    def op_states(self, number: int, request: dict[str, Any]) -> Any:
        sampler = self._sampler()
        sampler.look()
        return sampler.take()

    def op_final_states(self, number: int, request: dict[str, Any]) -> Any:
        return self._sampler().final()

    def op_quiet(self, number: int, request: dict[str, Any]) -> Any:
        return self._sampler().quiet_ns()


def _signal(name: str) -> signal.Signals:
    try:
        return signal.Signals[name if name.startswith("SIG") else "SIG" + name]
    except KeyError as error:
        raise Refused("signal", f"{name!r} is not a signal: KILL, TERM, STOP, CONT …") from error


def main() -> None:
    for folder in ("/usr/sbin", "/sbin"):
        if folder not in os.environ.get("PATH", PATH).split(":"):
            os.environ["PATH"] = os.environ.get("PATH", PATH) + ":" + folder
    os.chdir("/")  # where programs begin; the agent's own modules are loaded by now
    Agent().serve()
