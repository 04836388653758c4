"""testinfra's view of hosts and services: its backend is one method over what the lab already has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lab.api.ran import Ran
from lab.errors import EngineError, LabEnvironmentError, LabError
from lab.evidence.model import RunRecord

if TYPE_CHECKING:
    from lab.api.service import Service

__tracebackhide__ = True  #: a failed test shows its own lines, not these

_SECONDS = 60.0  #: for one command of testinfra's
_STEP = "testinfra"
_OF_THE_NETWORK = ("addr", "interface", "socket", "sysctl")


def probe(name: str, run: Callable[..., Ran]) -> Any:
    """testinfra's Host for what `run` runs commands on. Raises `LabError` where testinfra is not
    installed."""
    try:
        from testinfra.backend.base import BaseBackend, CommandResult
        from testinfra.host import Host
    except ImportError as error:
        raise LabEnvironmentError(
            "host.testinfra needs testinfra", hint="python3 -m pip install pytest-testinfra"
        ) from error

    class Backend(BaseBackend):  # type: ignore[misc]  # testinfra has no types
        """Runs testinfra's commands by a shell of the host."""

        NAME = "lab"

        def run(self, command: str, *args: str, **_more: Any) -> CommandResult:
            text = self.get_command(command, *args)
            ran = run(["/bin/sh", "-c", text], timeout=_SECONDS)
            if ran.exit is None:
                raise LabError(f"{name}: {text}: {ran.error}")
            return CommandResult(
                backend=self,
                exit_status=ran.exit,
                command=text.encode(),
                _stdout=ran.stdout,
                _stderr=ran.stderr,
            )

    return Host(Backend(name))


def probe_service(service: Service) -> Any:
    """testinfra's Host for a service, or what stands in for it where the image has no shell."""
    bed = service.host.net.session.bed
    container = bed.services.of(service.host.name, service.name).container

    def run(argv: Sequence[str], *, timeout: object = None) -> Ran:
        done = bed.engine.exec(container, argv, timeout=_SECONDS)
        out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        return Ran(RunRecord(_STEP, service.host.name, tuple(argv), done.exit_code, out, err, 0, 0, 0, 0))

    try:
        there = run(["/bin/sh", "-c", "exit 0"]).exit == 0
    except EngineError:
        there = False
    if not there:
        return WithoutShell(service)
    return probe(f"{service.host.name}/{service.name}", run)


class WithoutShell:
    """For a service whose image has no shell: what is its host's too, as they share a network."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Any:
        if name in _OF_THE_NETWORK:
            return getattr(self._service.host.testinfra, name)
        where = f"{self._service.host.name}/{self._service.name}"
        raise LabError(
            f"{where}: its image has no shell, which testinfra's {name} needs; "
            f"without one there are {', '.join(_OF_THE_NETWORK)}",
            hint="ask its host's testinfra, or look at its log and its evidence",
        )
