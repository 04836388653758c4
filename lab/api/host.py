"""A host of a running lab, its processes, and programs that run there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast, overload

from lab.api.call import Call, Off, On
from lab.api.probe import probe
from lab.api.ran import Ran, ran_of
from lab.api.service import Service
from lab.api.sock import Socket
from lab.api.steps import Timeout
from lab.evidence.model import CallRecord, RunRecord

if TYPE_CHECKING:
    from lab.api.net import Lab

__tracebackhide__ = True  #: a failed test shows its own lines, not these


class Caller:
    """Makes sockets in one process of a host."""

    def __init__(self, net: Lab, at: str, of: str) -> None:
        self.net = net
        self.at = at  #: the host
        self.of = of  #: the process

    def socket(self, kind: str = "tcp", *, as_: str | None = None, **keys: Any) -> Socket:
        """A new socket, neither bound nor connected."""
        return cast(Socket, self._made("socket", as_, kind=kind, **keys))

    def bind(self, port: int, *, kind: str = "tcp", as_: str | None = None, **keys: Any) -> Socket:
        """A new socket, bound to a port."""
        return cast(Socket, self._made("bind", as_, port=port, kind=kind, **keys))

    def listen(
        self, port: int, *, address: str = "any", backlog: int = 5, as_: str | None = None, **keys: Any
    ) -> Socket:
        """A new socket that listens on a port."""
        return cast(Socket, self._made("listen", as_, port=port, address=address, backlog=backlog, **keys))

    @overload
    def connect(
        self, to: str, *, timeout: Timeout = ..., as_: str | None = ..., background: Off = ..., **keys: Any
    ) -> Socket: ...
    @overload
    def connect(
        self, to: str, *, timeout: Timeout = ..., as_: str | None = ..., background: On, **keys: Any
    ) -> Call[Socket]: ...
    def connect(
        self,
        to: str,
        *,
        timeout: Timeout = None,
        as_: str | None = None,
        background: bool = False,
        **keys: Any,
    ) -> Socket | Call[Socket]:
        """A new socket, connected to `host:port`. Raises what Python's own socket would raise."""
        made: Socket | Call[Socket] = self._made(
            "connect", as_, to=to, timeout=timeout, background=background, **keys
        )
        return made

    def _made(self, do: str, as_: str | None, **keys: Any) -> Any:
        name = as_ or self.net.fresh(do)
        made = Socket(self, name)
        return self.call(do, made._ended(lambda _: made), as_=name, **keys)

    def call(self, do: str, convert: Callable[[CallRecord], Any] = lambda record: record, **keys: Any) -> Any:
        """Any socket call of the format by its name, with its keys; its record, or what `convert` makes of
        it.

        With `background=True` a `Call`.
        """
        keys = {"at": self.at, "process": self.of, **keys}
        return self.net.call(do, lambda record: convert(call_record(record)), **keys)


def call_record(record: CallRecord | RunRecord) -> CallRecord:
    assert isinstance(record, CallRecord)
    return record


class Process(Caller):
    """A named process of socket calls, which starts with its first call."""

    @property
    def name(self) -> str:
        return self.of

    def kill(self, signal: str = "KILL") -> None:
        self.net.do("kill", at=self.at, process=self.of, signal=signal)

    def pause(self) -> None:
        self.net.do("pause", at=self.at, process=self.of)

    def resume(self) -> None:
        self.net.do("resume", at=self.at, process=self.of)

    def __repr__(self) -> str:
        return f"<Process {self.of} of {self.at}>"


class Host(Caller):
    """A host. Its socket calls are those of its process `main`; `host.process("other")` has its own."""

    def __init__(self, net: Lab, name: str) -> None:
        super().__init__(net, name, "main")
        self.name = name

    def process(self, name: str) -> Process:
        return Process(self.net, self.name, name)

    @property
    def address(self) -> str:
        """Its IPv4 address in the lab."""
        return str(self.net.session.bed.attachments[self.name].address)

    # --- programs ---

    @overload
    def run(
        self,
        command: Sequence[str],
        *,
        timeout: Timeout = ...,
        stdin: str | None = ...,
        background: Off = ...,
        **keys: Any,
    ) -> Ran: ...
    @overload
    def run(
        self,
        command: Sequence[str],
        *,
        timeout: Timeout = ...,
        stdin: str | None = ...,
        background: On,
        **keys: Any,
    ) -> Call[Ran]: ...
    def run(
        self,
        command: Sequence[str],
        *,
        timeout: Timeout = None,
        stdin: str | None = None,
        background: bool = False,
        **keys: Any,
    ) -> Ran | Call[Ran]:
        """Runs a program by the host's own tools: a list, no shell. Never raises for an exit status.

        `in_="web"` runs it inside a service, as that service's user.
        """
        if isinstance(command, str):
            raise TypeError(f"a list is wanted, not a text: {command.split()!r}")
        ran: Ran | Call[Ran] = self.net.call(
            "run",
            ran_of,
            at=self.name,
            command=list(command),
            timeout=timeout,
            stdin=stdin,
            background=background,
            **keys,
        )
        return ran

    def service(self, name: str | None = None) -> Service:
        """A service of the host; without a name, its only one."""
        return Service(self, name)

    @property
    def testinfra(self) -> Any:
        """The host as testinfra sees it: `.socket(…)`, `.file(…)`, `.process`, `.interface(…)`,
        `.sysctl(…)` …

        Its view is that of the agent's container, which is in the host's network. Raises `LabError` where
        testinfra is not installed.
        """
        return probe(self.name, self.run)

    # --- waiting ---

    def wait_for(self, *, timeout: Timeout = None, **keys: Any) -> None:
        """Waits for `listening=8001`, or `state="ESTABLISHED", port=8001`, or `log="/ready/"`.

        Raises `TimeoutError` with what there was instead.
        """
        self.net.wait_for(at=self.name, timeout=timeout, **keys)

    # --- processes and power ---

    def kill(self, process: str | Process | None = None, signal: str = "KILL", **keys: Any) -> None:
        """Signals a process of socket calls; without a name, `main`."""
        self.net.do("kill", at=self.name, process=_name(process), signal=signal, **keys)

    def pause(self, process: str | Process | None = None, **keys: Any) -> None:
        """SIGSTOP."""
        self.net.do("pause", at=self.name, process=_name(process), **keys)

    def resume(self, process: str | Process | None = None, **keys: Any) -> None:
        """SIGCONT."""
        self.net.do("resume", at=self.name, process=_name(process), **keys)

    def power_off(self) -> None:
        """The host falls silent: no FIN, no RST."""
        self.net.do("power", at=self.name, state="off")

    def power_on(self) -> None:
        """Boots it afresh at the same address; returns when its services are ready."""
        self.net.do("power", at=self.name, state="on")

    def __repr__(self) -> str:
        return f"<Host {self.name}>"


def _name(process: str | Process | None) -> str | None:
    return process.of if isinstance(process, Process) else process
