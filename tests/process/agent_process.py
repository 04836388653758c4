"""The host agent as a subprocess on this machine's loopback, with pipes as its Stream."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

from lab.errors import EngineError
from lab.host import Identity
from lab.host.programs import Launch, Started

AGENT = [sys.executable, "-S", "-E", "-m", "lab_agent"]
IMAGE = Path(__file__).resolve().parents[2] / "images" / "host"


class PipeStream:
    """A Stream over a subprocess, started as the image starts it."""

    def __init__(self, argv: list[str] | None = None) -> None:
        self.process = subprocess.Popen(
            argv or AGENT,
            cwd=IMAGE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._lock = threading.Lock()
        self._tail = b""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        while data := self.process.stderr.read1(4096):  # type: ignore[attr-defined]
            self._tail = (self._tail + data)[-8192:]

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        try:
            with self._lock:
                self.process.stdin.write(data)
                self.process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise EngineError(f"the agent's stdin is closed: {error}") from error

    def read_line(self) -> bytes | None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self._listener.join(timeout=2)
            return None
        return line.rstrip(b"\n")

    def stderr_tail(self) -> str:
        return self._tail.decode(errors="replace")

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(timeout=5)

    def release(self) -> None:
        """After the test: the pipes too."""
        self.close()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._listener.join(timeout=2)
        self.process.stdout.close()
        self.process.stderr.close()


def launcher(streams: list[PipeStream]) -> Launch:
    """Starts agents of programs as subprocesses, which gather in `streams`."""

    def launch(identity: Identity) -> Started:
        stream = PipeStream([*AGENT, "programs"])
        streams.append(stream)
        return Started(stream, lambda: 0, stream.process.kill)

    return launch
