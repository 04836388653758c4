"""Which signal a step sends, and to what."""

from __future__ import annotations

from lab.scenario.steps import Kill, Pause, Resume, Step

_SIGNALS = {Pause: "STOP", Resume: "CONT"}


def sent_by(step: Step) -> tuple[str | None, str | None]:
    """The process, service or program, and the signal's name; (None, None) for a step that sends none."""
    if not isinstance(step, Kill | Pause | Resume):
        return None, None
    whom = step.service or (f"the program of {step.run}" if step.run else step.process or "main")
    return whom, step.signal if isinstance(step, Kill) else _SIGNALS[type(step)]
