"""How much of the machine the programs of a host may take, and what is said where they take more."""

from __future__ import annotations

from msgspec import Struct

from lab.units import Size

_MB = 1_000_000
_MEMORY, _FILE, _DISK, _LOGS = (Size(number * _MB) for number in (512, 256, 300, 64))

#: A `RunRecord.error` that begins so tells of a limit.
REACHED = "reached its limit of "


class Limits(Struct, frozen=True):
    """Of all programs that `run` steps start on one host, together; `file_size` is of each file."""

    memory: Size = _MEMORY
    pids: int = 512  #: processes and threads
    file_size: Size = _FILE
    disk: Size = _DISK  #: what is written over the image
    logs: Size = _LOGS  #: what one program writes to stdout and stderr; 1 MiB of each is kept

    def reached(self, word: str, host: str) -> str:
        """What is said of a program that ran into the limit of this name."""
        amounts = {
            "memory": f"{self.memory} of memory",
            "pids": f"{self.pids} processes",
            "file_size": f"{self.file_size} a file",
            "disk": f"{self.disk} of disk",
            "logs": f"{self.logs} of output",
        }
        return f"{host} {REACHED}{amounts[word]} (limits.{word} in lab.yml)"


DEFAULT = Limits()  #: where lab.yml says nothing else
