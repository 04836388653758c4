"""A program of a `run` step inside a service: what it printed, how it ended, and signals to it.

The engine starts it and reports its exit status; it can end it only with the whole container. So a signal
comes from a container of the lab that sees the service's processes; the service's image needs nothing for it.
"""

from __future__ import annotations

import signal as signals
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Self

from msgspec import Struct

from lab.engine.base import ContainerSpec, Engine, Limits, StreamName
from lab.errors import EngineError
from lab.evidence.model import RunRecord
from lab.host import RunSpec
from lab.quantities import plural

KEEP = 1 << 20  #: bytes kept of each output, as for programs beside the agent
_FOR_EVER = 86_400.0  #: seconds: it ends with its container at the latest
_SIGNALLED = 30.0  #: seconds for the container that sends a signal: 0.5 on a machine with nothing to do
_MARK = "LAB_STEP"
#: How the engine's own complaint begins, which it writes where the program would have written.
_REFUSED = b"OCI runtime exec failed"


class Signaller(Struct, frozen=True):
    """What sends signals into the containers of one run's services."""

    engine: Engine
    image: str  #: the host image
    name: str
    labels: Mapping[str, str]

    def send(self, container: str, step: str, number: int) -> None:
        """Sends a signal to a step's program in a container, and to all that it started."""
        spec = ContainerSpec(
            name=f"{self.name}-{time.monotonic_ns()}",
            image=self.image,
            labels=self.labels,
            command=("lab-agent", "signal", f"{_MARK}={step}", str(number)),
            sees=container,
            capabilities=("DAC_READ_SEARCH", "KILL", "SYS_PTRACE"),
            no_new_privileges=True,
            limits=Limits(memory=64 << 20, pids=16),
            stdin=False,
        )
        helper = self.engine.create(spec)
        try:
            self.engine.start(helper)
            self.engine.wait(helper, _SIGNALLED)
        finally:
            self.engine.remove(helper)


@dataclass
class Inside:
    """One program of a `run` step in the container of a service."""

    host: str
    service: str
    container: str
    spec: RunSpec
    engine: Engine
    signaller: Signaller
    ended_by: Callable[[], str | None]  #: id of the step that ended its container, if one did
    future: Future[RunRecord] = field(default_factory=Future)
    _outputs: dict[StreamName, bytearray] = field(
        default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()}
    )
    _more: int = 0
    _late: bool = False

    def start(self) -> Self:
        """Its record comes when it has ended; until then it may be signalled."""
        self.future.set_running_or_notify_cancel()
        threading.Thread(target=self._run, name=f"run-{self.spec.step}", daemon=True).start()
        return self

    def signal(self, name: str) -> None:
        self.signaller.send(self.container, self.spec.step, signals.Signals[f"SIG{name}"])

    def _run(self) -> None:
        wall, mono = time.time_ns(), time.monotonic_ns()
        timer = None
        if self.spec.timeout is not None:
            timer = threading.Timer(self.spec.timeout.seconds, self._too_long)
            timer.daemon = True
            timer.start()
        code, error = None, None
        try:
            code = self.engine.exec(
                self.container,
                list(self.spec.argv),
                timeout=_FOR_EVER,
                user=self.spec.identity.user,
                environment={**self.spec.environment, _MARK: self.spec.step},
                stdin=self.spec.stdin.encode(),
                each=self._said,
            ).exit_code
        except EngineError as failure:
            error = f"{self.spec.argv[0]} could not be started in {self.service}: {failure}"
        finally:
            if timer is not None:
                timer.cancel()
        said = bytes(self._outputs["stdout"])
        if code in (126, 127) and said.startswith(_REFUSED):
            error = f"{self.spec.argv[0]} could not be started in {self.service}: {said.decode().strip()}"
            code = None
        self.future.set_result(
            RunRecord(
                step=self.spec.step,
                host=self.host,
                command=tuple(self.spec.argv),
                exit_code=code,
                stdout=self._text("stdout"),
                stderr=self._text("stderr"),
                start_mono_ns=mono,
                end_mono_ns=time.monotonic_ns(),
                start_wall_ns=wall,
                end_wall_ns=time.time_ns(),
                error="timeout" if self._late else error,
                service=self.service,
            )
        )

    def _said(self, stream: StreamName, data: bytes) -> None:
        kept = self._outputs[stream]
        room = max(0, KEEP - len(kept))
        kept += data[:room]
        self._more += len(data[room:])

    def _text(self, stream: StreamName) -> str:
        text = bytes(self._outputs[stream]).decode("utf-8", "replace")
        return text if not self._more else f"{text}\n… (more than {plural(KEEP, 'byte')} were printed)"

    def _too_long(self) -> None:
        self._late = True
        self.signal("KILL")
