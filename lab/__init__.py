"""A containerized multi-host network lab for socket behaviour.

`lab.up` brings up a lab and gives it as an object, `lab.run` runs scenario files, `lab.load` reads them,
`lab.open` reads a run folder. What is behind a name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lab.api.call import Call
    from lab.api.errors import CheckFailed, ProcessKilled
    from lab.api.host import Host, Process
    from lab.api.net import Lab
    from lab.api.ran import Ran
    from lab.api.service import Service
    from lab.api.sock import Socket
    from lab.api.stored import StoredRun, load, open, run
    from lab.api.up import up
    from lab.errors import LabError
    from lab.result import Result
    from lab.scenario.load import Case
    from lab.scenario.problems import ScenarioError
    from lab.verdict import Finding, Verdict

__all__ = [
    "Call",
    "Case",
    "CheckFailed",
    "Finding",
    "Host",
    "Lab",
    "LabError",
    "Process",
    "ProcessKilled",
    "Ran",
    "Result",
    "ScenarioError",
    "Service",
    "Socket",
    "StoredRun",
    "Verdict",
    "load",
    "open",
    "run",
    "up",
]

#: Where each public name is.
_HOMES = {
    **dict.fromkeys(("CheckFailed", "ProcessKilled"), "lab.api.errors"),
    **dict.fromkeys(("Host", "Process"), "lab.api.host"),
    **dict.fromkeys(("StoredRun", "load", "open", "run"), "lab.api.stored"),
    **dict.fromkeys(("Finding", "Verdict"), "lab.verdict"),
    "Call": "lab.api.call",
    "Case": "lab.scenario.load",
    "Lab": "lab.api.net",
    "LabError": "lab.errors",
    "Ran": "lab.api.ran",
    "Result": "lab.result",
    "ScenarioError": "lab.scenario.problems",
    "Service": "lab.api.service",
    "Socket": "lab.api.sock",
    "up": "lab.api.up",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'lab' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
