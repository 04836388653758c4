"""What is said about a service that does not get ready, and its settings in the engine's terms."""

from __future__ import annotations

from lab.engine.base import Healthcheck
from lab.evidence.services import ADVICE_OVER
from lab.host import Host
from lab.scenario.services import Ready, ServiceSpec


def what_listens(host: Host, ended: bool) -> str:
    """Where something listens on the host that waits in vain for another port; "" where it has ended."""
    if ended:
        return ""
    found = {str(sample.local) for sample in host.final_states() if sample.state == "LISTEN"}
    return f", and {', '.join(sorted(found))} is listened on" if found else ", and nothing listens"


def goal_of(ready: Ready) -> str:
    match ready.kind:
        case "listening":
            return f"something listens on port {ready.listening}"
        case "log":
            return f"a line of its log matches {ready.log}"
        case "healthcheck":
            return "its healthcheck says healthy"
        case "command":
            return f"{' '.join(ready.command)} exits with 0 inside"
        case "exit":
            return f"it ends with exit status {ready.exit}"
        case "running":
            return "it runs"


def start_error(text: str) -> str:
    """What the engine says about a failed start, without the names of its own parts around it."""
    inner = text.removesuffix(": unknown").rpartition("unable to start container process: ")[2]
    return inner or text


def hint_of(ready: Ready | None, *, refused: bool, ended: bool, over: bool) -> str:
    if refused:
        return "look at command and entrypoint, and whether the image has that program"
    if over:
        return ADVICE_OVER
    if ended:
        return "its output says why it ended; `lab run --keep` and `lab sh` let you try its command by hand"
    if ready is not None and ready.kind == "listening":
        return "name the port on which it listens, or give it more time: ready: {timeout: 60s}"
    if ready is not None and ready.kind == "healthcheck":
        return (
            "try the check by hand: `lab run --keep`, `lab sh`; or give it more time: ready: {timeout: 60s}"
        )
    return "give it more time with ready: {timeout: 60s}, or wait for something else"


def health_of(spec: ServiceSpec) -> Healthcheck | None:
    """Compose's healthcheck as the engine takes it; None keeps the image's own."""
    check = spec.healthcheck
    if check is None:
        return None
    if check.disabled:
        return Healthcheck(("NONE",))
    return Healthcheck(
        check.test or (),
        check.interval.seconds,
        check.timeout.seconds,
        check.start_period.seconds,
        check.retries,
    )
