"""Every error that the lab raises on purpose: a message, a hint and an exit code."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAIL = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_INTERRUPTED = 130


class LabError(Exception):
    """Something the user can act on.

    `str(error)` says where, what was got and what is allowed; `hint` says what to do next (may be empty);
    `exit_code` is the exit status of the command line when this error ends it. Only `lab.cli` prints and
    exits.
    """

    exit_code = EXIT_ENVIRONMENT

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LabError):
    """Bad arguments, a bad scenario, or nothing to run: exit 2."""

    exit_code = EXIT_USAGE


class UnitError(UsageError, ValueError):
    """A text that is not a quantity of the expected kind."""


class LabEnvironmentError(LabError):
    """The machine, the engine or an image cannot do what was asked: exit 3."""


class EngineError(LabEnvironmentError):
    """The container engine refused, failed or did not answer."""


class SysctlRefused(EngineError):
    """The kernel has no such sysctl, or refuses its value. `host` names the host, once known."""

    def __init__(self, sysctl: str, why: str, host: str = "") -> None:
        where = f"host {host}: " if host else ""
        super().__init__(
            f"{where}sysctl {sysctl}: {why}", hint="`sysctl -a` on a host lists what the kernel has"
        )
        self.sysctl, self.why, self.host = sysctl, why, host


class AgentError(LabEnvironmentError):
    """An agent in a container broke, did not answer in time or sent an invalid answer."""


class CannotBeDone(LabError):
    """A step asks for something that is impossible at that moment: the step fails, not the lab."""


class WireError(LabEnvironmentError):
    """The wire could not be impaired as asked, or lost packets on its own."""


class NothingImpairs(WireError):
    """No kernel that the wire may use here can impair: it has no netem, and user-mode Linux cannot run."""


class DeadlineExceeded(LabError):
    """A time limit has been reached."""


class SubnetTaken(EngineError):
    """The requested subnet overlaps one in use: try the next."""
