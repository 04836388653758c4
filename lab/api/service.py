"""A service of a host, from outside: started, stopped, its log, programs inside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lab.api.call import Call
from lab.api.probe import probe_service
from lab.api.steps import Time

if TYPE_CHECKING:
    from lab.api.host import Host
    from lab.api.ran import Ran

__tracebackhide__ = True  #: a failed test shows its own lines, not these


class Service:
    """One program beside the agent of a host, by its name; None is the host's only one."""

    def __init__(self, host: Host, name: str | None) -> None:
        self.host = host
        self.name: str = host.net.session.bed.services.of(host.name, name).spec.name

    def start(self) -> None:
        """Returns when it is ready. Raises `lab.CheckFailed` with its last output where it does not
        get ready."""
        self._do("start")

    def stop(self) -> None:
        """Sends its stop signal and, after the grace period, KILL; returns when it has ended."""
        self._do("stop")

    def kill(self, signal: str = "KILL") -> None:
        """Signals all its processes."""
        self._do("kill", signal=signal)

    def pause(self) -> None:
        self._do("pause")

    def resume(self) -> None:
        self._do("resume")

    def log(self, match: str | re.Pattern[str] | None = None) -> list[str]:
        """The lines that it has written so far, both streams; with `match` (a regular expression), only those
        in which it is found."""
        lines = [
            line.text for line in self.host.net.session.bed.services.of(self.host.name, self.name).lines()
        ]
        if match is None:
            return lines
        pattern = re.compile(match.strip("/") if isinstance(match, str) else match)
        return [line for line in lines if pattern.search(line)]

    def wait_for(self, log: str, *, timeout: Time | None = None, **keys: Any) -> None:
        """Waits until a line of its log, from its start on, matches.

        Raises `TimeoutError` with its last output.
        """
        text = log if len(log) > 1 and log.startswith("/") and log.endswith("/") else f"/{log}/"
        self.host.net.wait_for(at=self.host.name, service=self.name, log=text, timeout=timeout, **keys)

    def run(self, command: Sequence[str], *, timeout: Time | None = None, **keys: Any) -> Ran | Call[Ran]:
        """Runs a program inside it, as its user, in its working directory: `.exit`, `.stdout`, `.stderr`."""
        ran: Ran | Call[Ran] = self.host.run(command, timeout=timeout, in_=self.name, **keys)
        return ran

    @property
    def testinfra(self) -> Any:
        """The service as testinfra sees it, by the tools that its image has.

        An image without a shell answers `socket`, `interface` and `sysctl` as its host does, as they share a
        network; the rest raises `LabError`, which says what is missing.
        """
        return probe_service(self)

    def _do(self, do: str, **keys: Any) -> None:
        self.host.net.do(do, at=self.host.name, service=self.name, **keys)

    def __repr__(self) -> str:
        return f"<Service {self.name} of {self.host.name}>"
