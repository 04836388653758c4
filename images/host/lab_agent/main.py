"""The host's agent: the network, the capture, the socket calls, and the kernel's view of them."""

from __future__ import annotations

import binascii
import os
import time
from typing import Any

from .capture import Capture
from .counters import read_counters, read_sysctls
from .network import Network, NotAsAsked
from .pinning import Pinning
from .privileges import become_agent
from .processes import Processes
from .protocol import LATER, Refused, Service, prepare_environment, signal_of
from .reach import Reach
from .sampler import Sampler, Wait
from .tools import ToolFailed, Tools


class Agent(Service):
    """The operations of a host. It starts none of a scenario's programs: `program_agent` does, elsewhere."""

    answers = ((ToolFailed, "network"), (NotAsAsked, "network"), (OSError, "os"))

    def __init__(self) -> None:
        super().__init__()
        self.tools = Tools()
        self.network = Network(self.tools)
        self.pinning = Pinning()
        self.processes = Processes(self.loop, self._began, self._moved, self.send, self.pinning)
        self.sampler: Sampler | None = None
        self.captures: list[Capture] = []
        self.peers: dict[str, str] = {}

    def begin(self) -> None:
        self.processes.get("main")  # forked while the agent is small

    def end(self) -> None:
        for capture in self.captures:
            capture.end()
        self.processes.end()

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
        self.network.set_up(request)
        return None

    def op_join(self, number: int, request: dict[str, Any]) -> Any:
        """Join the wire, while a capture starts: the kernel lets tcpdump wait for most of its 20 ms."""
        self.peers = request["peers"]
        self.processes.limit(request["open_files"])
        facts = self.network.join(request)
        self.op_watch(number, request)
        self.processes.get("main")
        return {
            **facts,
            "kernel": os.uname().release,
            "sysctls": read_sysctls(request["sysctls"]),
            "commands": self.tools.commands,
        }

    def op_reach(self, number: int, request: dict[str, Any]) -> Any:
        """Wait until the wire answers: only then do all the bridges forward."""
        wire_mac, wire_address = request["wire_mac"], request["wire_address"]
        Reach(self.loop, self.network.interface, request["mac"], wire_mac, wire_address).start(
            request["timeout_ns"],
            lambda asked: self.reply(number, {"asked": asked}),
            lambda: self.refuse(number, "reach", f"the wire at {wire_address} does not answer"),
        )
        return LATER

    def op_pin(self, number: int, request: dict[str, Any]) -> Any:
        """Pin the processes that make calls to one CPU from now on."""
        cpu = self.pinning.choose(request["number"])
        self.processes.pin()
        return {"cpu": cpu}

    def op_limit(self, number: int, request: dict[str, Any]) -> Any:
        wanted = request["open_files"]
        if wanted is not None and (type(wanted) is not int or not 0 <= wanted < 1 << 31):
            raise Refused("request", f"open_files is a number of descriptors or null, not {wanted!r:.50}")
        self.processes.limit(wanted)
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

    # -- capture -----------------------------------------------------------------------------------

    def op_start_capture(self, number: int, request: dict[str, Any]) -> Any:
        if self.captures and self.captures[-1].running:
            raise Refused("capture", f"a capture is running already, into {self.captures[-1].path}")
        interface, mac = self.network.interface, request["mac"]
        if not interface:
            raise Refused("capture", "the host was not set up: its interface is unknown")
        capture = Capture(self.loop, interface, mac, request["path"], request["snaplen"])
        capture.start(
            lambda: self.reply(number, {"interface": interface, "path": request["path"]}),
            lambda message: self.refuse(number, "capture", message),
        )
        self.captures.append(capture)
        return LATER

    def op_stop_capture(self, number: int, request: dict[str, Any]) -> Any:
        if not self.captures:
            raise Refused("capture", "no capture was started")
        self.captures[-1].stop(
            lambda counts: self.reply(number, counts),
            lambda message: self.refuse(number, "capture", message),
        )
        return LATER

    def op_small_file(self, number: int, request: dict[str, Any]) -> Any:
        """The content in base64; null if the file is larger than `limit` bytes."""
        if os.stat(request["path"]).st_size > request["limit"]:
            return {"content": None}
        with open(request["path"], "rb") as file:
            return {"content": binascii.b2a_base64(file.read(), newline=False).decode()}

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
            lambda record: self.reply(number, record),
            lambda kind, message: self.refuse(number, kind, message),
        )
        return LATER

    def op_cancel(self, number: int, request: dict[str, Any]) -> Any:
        """End the waiting calls of a step; return their number."""
        return self.processes.cancel(request["step"])

    def op_streams(self, number: int, request: dict[str, Any]) -> Any:
        return self.processes.streams()

    def op_signal(self, number: int, request: dict[str, Any]) -> Any:
        try:
            self.processes.send_signal(
                request["process"], signal_of(request["signal"]), lambda sent: self.reply(number, sent)
            )
        except ProcessLookupError as error:
            raise Refused("process", str(error)) from error
        return LATER

    # -- socket states -----------------------------------------------------------------------------

    def op_wait_for(self, number: int, request: dict[str, Any]) -> Any:
        sampler = self._sampler()

        def done(moment: dict[str, Any]) -> None:
            timer.cancel()
            self.reply(number, moment)

        def too_late() -> None:
            if sampler.forget(wait):
                there = ", ".join(f"{s['local'][1]} {s['state']}" for s in sampler.final()) or "no sockets"
                self.refuse(number, "timeout", f"not within the time given; there are: {there}")

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


def main() -> None:
    prepare_environment()
    become_agent()
    Agent().serve()
