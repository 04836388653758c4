"""One host of a running case: everything the runner asks of the agent in its container."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

from lab.engine.base import Stream
from lab.errors import AgentError, DeadlineExceeded
from lab.evidence.model import CallRecord, CaptureFacts, Json, RunRecord, StateSample, StreamRecord
from lab.host.channel import AgentRefused, Channel, Event
from lab.host.convert import (
    call_record,
    encode_arguments,
    moment,
    state_sample,
    stream_record,
)
from lab.host.programs import QUICK, Programs
from lab.host.reply import Nonsense, Reply, sensible
from lab.host.specs import (
    CAPTURE_PATH,
    CallSpec,
    HostReadback,
    HostSetup,
    Moment,
    PowerOff,
    RunSpec,
)

REACH = 10.0  #: seconds for the way to the wire; the kernel notifies bridges of carriers once a second
_SMALL = 256 * 1024  #: bytes of a file that the agent sends itself

T = TypeVar("T")


class Host:
    """The lab's side of one host agent. Thread-safe.

    Every method raises `AgentError` when the agent is gone, does not answer in time or refuses
    (`AgentRefused`); a socket call that fails is not an error but a record that says so.
    """

    def __init__(self, stream: Stream, name: str, programs: Programs) -> None:
        """`programs` are those of this boot, which end with it."""
        self.name = name
        self._open_files: int | None = None
        self._programs = programs
        programs.heard = self._hear
        self._mac = ""
        self._capture = ("", "")  #: path and interface of the last one
        self._lock = threading.Lock()
        self._begun: dict[str, threading.Event] = {}
        self._channel = Channel(stream, name, on_event=self._hear)

    def wait_ready(self, timeout: float = QUICK) -> None:
        self._channel.wait_ready(timeout)

    def close(self) -> None:
        """Ends the agent and all programs: it kills what it started and exits. May be called twice."""
        self._programs.close()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, op: str, *, timeout: float = QUICK, **args: Any) -> Any:
        return self._channel.request(op, timeout=timeout, **args)

    def _reply(self, op: str, *, timeout: float = QUICK, **args: Any) -> Reply:
        return Reply(self._ask(op, timeout=timeout, **args))

    def _list(self, op: str) -> list[Any]:
        raw = self._ask(op)
        if isinstance(raw, list):
            return raw
        raise Nonsense("it is no list")

    def _sensible(self) -> AbstractContextManager[None]:
        """`AgentError` where a reply that is read inside makes no sense."""
        return sensible(self.name)

    # -- the network -------------------------------------------------------------------------------

    def set_up(self, setup: HostSetup, timeout: float = QUICK) -> HostReadback:
        """The capture, routes, ARP, MTU and offloads as asked, read back and compared; starts sampling socket
        states. The requests go out together: the host joins the wire while tcpdump starts."""
        self._mac, self._open_files = setup.here.mac, setup.open_files
        places: dict[str, Json] = {
            "address": str(setup.here.address),
            "mac": setup.here.mac,
            "wire_address": str(setup.wire.address),
            "wire_mac": setup.wire.mac,
            "mtu": setup.mtu,
        }
        interface = self._channel.submit("set_up", **places)
        capture = None if setup.snaplen is None else self._begin_capture(setup.snaplen)
        join = self._channel.submit(
            "join",
            **places,
            subnet=str(setup.here.subnet),
            peers={name: str(place.address) for name, place in setup.peers.items()},
            arp=setup.arp,
            open_files=setup.open_files,
            sysctls=list(setup.sysctls),
        )
        self._channel.result(interface, "set_up", timeout)
        if capture is not None:
            self._captures(capture, timeout)
        raw = self._channel.result(join, "join", timeout)
        with self._sensible():
            reply = Reply(raw)
            return HostReadback(
                interface=reply.text("interface"),
                mac=reply.text("mac"),
                mtu=reply.integer("mtu"),
                offloads=reply.by_name("offloads", Reply.flag),
                routes=reply.texts("routes"),
                neighbours=reply.by_name("neighbours", Reply.text),
                sysctls=reply.by_name("sysctls", Reply.text),
                kernel=reply.text("kernel"),
                guarded=reply.flag("guarded"),
                commands=reply.plain_objects("commands"),
            )

    def reach(self, setup: HostSetup, timeout: float = REACH) -> int:
        """Returns when the wire answers, so that no bridge between them still holds frames back.

        The value is how often it was asked. Raises `AgentRefused` where it never does.
        """
        raw = self._ask(
            "reach",
            timeout=timeout + QUICK,
            mac=setup.here.mac,
            wire_mac=setup.wire.mac,
            wire_address=str(setup.wire.address),
            timeout_ns=int(timeout * 1e9),
        )
        with self._sensible():
            return Reply(raw).integer("asked")

    def pin(self, number: int) -> int:
        """One CPU for all that sends on this host, before the first call; which one.

        The same number is the same CPU on every host of a machine, and for the wire. Packets that are sent
        from two CPUs can overtake each other on the way.
        """
        self._programs.pin(number)
        with self._sensible():
            return self._reply("pin", number=number).integer("cpu")

    def power_off(self) -> PowerOff:
        """The host falls silent: its interface goes down. Kill the container after this."""
        raw = self._ask("power_off")
        with self._sensible():
            reply = Reply(raw)
            return PowerOff(
                moment(raw),
                tuple(stream_record(self.name, entry) for entry in reply.plain_objects("streams")),
                tuple(state_sample(self.name, entry) for entry in reply.plain_objects("states")),
                reply.by_name("counters", Reply.integer),
            )

    # -- the capture -------------------------------------------------------------------------------

    def start_capture(self, snaplen: int = 262144, path: str = CAPTURE_PATH, timeout: float = QUICK) -> None:
        """Returns when tcpdump captures. `path` is inside the container and not on a tmpfs."""
        self._captures(self._begin_capture(snaplen, path), timeout)

    def _begin_capture(self, snaplen: int, path: str = CAPTURE_PATH) -> Future[Any]:
        return self._channel.submit("start_capture", mac=self._mac, path=path, snaplen=snaplen)

    def _captures(self, begun: Future[Any], timeout: float) -> None:
        """Returns when it captures."""
        raw = self._channel.result(begun, "start_capture", timeout)
        with self._sensible():
            reply = Reply(raw)
            self._capture = reply.text("path"), reply.text("interface")

    def stop_capture(self, boot: int = 1, timeout: float = QUICK) -> CaptureFacts:
        """Returns when the file is whole. `path` of the facts is still the one inside the container."""
        with self._sensible():
            reply = self._reply("stop_capture", timeout=timeout)
            return CaptureFacts(
                self.name,
                boot,
                reply.text("path"),
                reply.text("interface"),
                reply.integer("received"),
                reply.integer("dropped"),
            )

    def capture_so_far(self, boot: int = 1) -> CaptureFacts:
        """Of the capture that runs: each packet is in the file as soon as tcpdump has it.

        What tcpdump and the kernel counted is reported only when it stops: 0 until then.
        """
        path, interface = self._capture
        return CaptureFacts(self.name, boot, path, interface, 0, 0)

    def small_file(self, path: str) -> bytes | None:
        """A file of the container; None where it is larger than 256 KiB: the engine is for those.

        The engine starts a process to read a file, 40 ms; the agent needs 1 ms.
        """
        with self._sensible():
            reply = self._reply("small_file", path=path, limit=_SMALL)
            return reply.optional(reply.base64, "content")

    # -- socket calls ------------------------------------------------------------------------------

    def call(self, spec: CallSpec) -> Future[CallRecord]:
        """Make a socket call. The future fails only when the agent does; see `begun` and `cancel`."""
        begun = self._expect(spec.step)
        future = self._channel.submit(
            "call",
            step=spec.step,
            process=spec.process,
            call=spec.call,
            args=encode_arguments(spec.arguments),
            timeout_ns=None if spec.timeout is None else spec.timeout.ns,
            whole=spec.whole,
        )
        return _then(future, lambda raw: call_record(self.name, spec, raw), begun.set)

    def begun(self, step: str, timeout: float = QUICK) -> None:
        """Returns when the step's call has waited for 3 ms or is over (or its program runs), so that the next
        step may come."""
        if not self._expect(step, fresh=False).wait(timeout):
            raise AgentError(f"{self.name}: the call of {step} has neither begun nor ended in {timeout:g} s")

    def cancel(self, step: str) -> int:
        """End the step's calls that wait (error `cancelled`) or its program; returns how many there were."""
        return self._programs.cancel(step) + self._count("cancel", step=step)

    def streams(self) -> list[StreamRecord]:
        """What each TCP socket carried so far, of closed sockets and dead processes too."""
        with self._sensible():
            return [stream_record(self.name, raw) for raw in self._list("streams")]

    def _count(self, op: str, **args: Any) -> int:
        """Sends an operation whose reply is a number."""
        with self._sensible():
            return Reply({op: self._ask(op, **args)}).integer(op)

    def limit_open_files(self, count: int | None) -> None:
        """RLIMIT_NOFILE of processes from now on. Those that are alive are ended, with their sockets."""
        self._open_files = count
        self._ask("limit", open_files=count)

    def signal(self, process: str, signal: str) -> Moment:
        """`KILL`, `STOP`, `CONT`, `TERM` …; when it returns the signal has done its work, and a process that
        it ended is reaped with all its sockets closed. Raises `AgentRefused` where no such process lives."""
        with self._sensible():
            return moment(self._ask("signal", process=process, signal=signal))

    # -- programs ----------------------------------------------------------------------------------

    def programs_ready(self) -> None:
        """Returns when everything prepared is up. Raises what went wrong."""
        self._programs.wait_ready()

    def run(self, spec: RunSpec) -> Future[RunRecord]:
        """Start a program; the future is its end, `begun` returns when it runs."""
        begun = self._expect(spec.step)
        future = self._programs.run(spec, self._open_files)
        future.add_done_callback(lambda _: begun.set())
        return future

    def signal_run(self, step: str, signal: str) -> Moment:
        """Signal the program of a step and its children. Raises `AgentRefused` where it has ended."""
        return self._programs.signal(step, signal)

    def freeze_programs(self) -> None:
        """No program does anything from now on: its host is about to lose its power."""
        self._programs.freeze()

    def kill_programs(self) -> None:
        """Ends all programs; returns when their records are there, with what they had printed."""
        self._programs.kill_all()

    # -- states and counters -----------------------------------------------------------------------

    def watch(self) -> None:
        """Sample socket states from now on (`set_up` does it)."""
        self._ask("watch")

    def wait_for(
        self,
        timeout: float,
        *,
        listening: int | None = None,
        state: str | None = None,
        port: int | None = None,
        kind: str = "tcp",
    ) -> Moment:
        """Waits until something listens on a port, or a socket with this port at either end is in a state.

        Raises `DeadlineExceeded` with what there was instead.
        """
        if (listening is None) == (state is None) or (state is None) != (port is None):
            raise ValueError("wait_for takes listening, or state and port")
        wanted = state or ("LISTEN" if kind == "tcp" else "UNCONN")
        number = listening if listening is not None else port
        try:
            raw = self._ask(
                "wait_for",
                timeout=timeout + QUICK,
                kind=kind,
                state=wanted,
                port=number,
                timeout_ns=int(timeout * 1e9),
            )
        except AgentRefused as refused:
            if refused.kind != "timeout":
                raise
            goal = f"no {kind} socket in {wanted} with port {number}"
            raise DeadlineExceeded(f"{self.name}: {goal} within {timeout:g} s: {refused}") from refused
        with self._sensible():
            return moment(raw)

    def counters(self) -> dict[str, int]:
        """By nstat's names: TcpExtListenOverflows, UdpNoPorts …"""
        with self._sensible():
            return Reply({"counters": self._ask("counters")}).by_name("counters", Reply.integer)

    def states(self) -> list[StateSample]:
        """Every change of a socket's state so far."""
        with self._sensible():
            return [state_sample(self.name, raw) for raw in self._list("states")]

    def final_states(self) -> list[StateSample]:
        """Every socket as it is now, marked `final`."""
        with self._sensible():
            return [state_sample(self.name, raw) for raw in self._list("final_states")]

    def quiet_ns(self) -> int:
        """For how long none of the host's interfaces has seen a packet: never too much, too little by at most
        10 ms."""
        return self._count("quiet")

    # -- inside ------------------------------------------------------------------------------------

    def _expect(self, step: str, *, fresh: bool = True) -> threading.Event:
        with self._lock:
            if fresh or step not in self._begun:
                self._begun[step] = threading.Event()
            return self._begun[step]

    def _hear(self, event: Event) -> None:
        if event.get("event") == "begun":
            with self._lock:
                begun = self._begun.get(str(event.get("step")))
            if begun is not None:  # nothing to report for a step that nobody asked for
                begun.set()


def _then(source: Future[Any], convert: Callable[[Any], T], at_end: Callable[[], None]) -> Future[T]:
    """A future of the converted value; `at_end` is called once it is there."""
    target: Future[T] = Future()
    target.set_running_or_notify_cancel()

    def done(finished: Future[Any]) -> None:
        error = finished.exception()
        try:
            if error is not None:
                target.set_exception(error)
            else:
                target.set_result(convert(finished.result()))
        except Nonsense as nonsense:
            target.set_exception(AgentError(f"the agent's reply makes no sense: {nonsense}"))
        at_end()

    source.add_done_callback(done)
    return target
