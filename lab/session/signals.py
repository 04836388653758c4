"""Which signal a step sends, to what, and whether it asks for an end."""

from __future__ import annotations

import signal

from lab.scenario.calls import Step
from lab.scenario.steps import Kill, Pause, Resume

#: Signals that ask for an end. One of another kind (HUP, USR1) is a message to a program that goes on: it
#: ended the service only if the service died of it, which process 1 of a container does not by default.
ENDING = frozenset({"KILL", "TERM", "INT", "QUIT", "ABRT"})
_SIGNALS = {Pause: "STOP", Resume: "CONT"}


def sent_by(step: Step) -> tuple[str | None, str | None]:
    """The process, service or program, and the signal's name; (None, None) for a step that sends none."""
    if not isinstance(step, Kill | Pause | Resume):
        return None, None
    whom = step.service or (f"the program of {step.run}" if step.run else step.process or "main")
    return whom, step.signal if isinstance(step, Kill) else _SIGNALS[type(step)]


def name_of(number: int) -> str:
    """`HUP`; "" for a signal that has no name of its own."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return ""
