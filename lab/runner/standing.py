"""Labs that are up without a runner: left by `lab up` and `run --keep`, entered by `sh`, ended by `down`."""

from __future__ import annotations

from msgspec import Struct

from lab.engine.base import LABEL_HOST, LABEL_ROLE, LABEL_RUN, ContainerState, Engine
from lab.engine.clean import Owner, leftovers
from lab.errors import UsageError
from lab.session.services import LABEL_SERVICE


class Standing(Struct, frozen=True):
    """One lab left up on purpose."""

    run: str
    #: Running containers by the name of their host, or `host/service` for a service; the wire is `wire`.
    hosts: dict[str, ContainerState]


def standing(engine: Engine) -> list[Standing]:
    """Every lab that was left up."""
    kept = {left.run for left in leftovers(engine) if left.owner is Owner.KEPT}
    found: dict[str, dict[str, ContainerState]] = {run: {} for run in sorted(kept)}
    for container in engine.containers({LABEL_RUN: None}):
        run = container.labels[LABEL_RUN]
        if run in found and container.running:
            role = container.labels.get(LABEL_ROLE, container.name)
            if role in ("programs", "signal"):
                continue  # a helper beside a host, which is listed itself
            name = container.labels.get(LABEL_HOST) or role
            if role == "service":
                name = f"{name}/{container.labels.get(LABEL_SERVICE, name)}"
            found[run][name] = container
    return [Standing(run, hosts) for run, hosts in found.items()]


def choose(engine: Engine, run: str | None) -> Standing:
    """The lab of this run (or the beginning of its id), or the only one that is up. Raises `UsageError`."""
    labs = standing(engine)
    fitting = [lab for lab in labs if run is None or lab.run.startswith(run)]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(lab.run for lab in labs)
    if not labs:
        raise UsageError("no lab is running", hint="`lab up` or `lab run --keep` with a scenario starts one")
    if not fitting:
        raise UsageError(f"no lab {run!r} is running; these are: {names}")
    raise UsageError(f"{len(fitting)} labs are running: name one of {names}")
