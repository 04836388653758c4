"""What a user's program gets as a container: its orderly end, its volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from lab.engine.base import ContainerSpec, Engine, Mount
from lab.errors import EngineError


def stop(engine: Engine, container_id: str, signal: str | None, grace: float) -> bool:
    """Asks it to end by its stop signal, after `grace` seconds by KILL; whether it ended in time.

    `signal` None: the container's own. A container that does not run any more ended in time.
    """
    status = engine.inspect(container_id)
    if not status.running:
        return True
    engine.kill(container_id, (signal or status.stop_signal).removeprefix("SIG"))
    try:
        engine.wait(container_id, grace)
    except EngineError:
        if not engine.inspect(container_id).running:
            return True
        engine.kill(container_id)
        engine.wait(container_id, KILL_PATIENCE)
        return False
    return True


#: What SIGKILL may take: the engine tears the container down, 0.1 s; a disk that hangs, longer.
KILL_PATIENCE = 30.0


def fill_volume(
    engine: Engine,
    volume: str,
    archive: BinaryIO,
    *,
    image: str,
    labels: Mapping[str, str],
    target: str = "/lab-volume",
) -> None:
    """Unpacks a tar into a volume, which may be read-only for everybody else.

    By a container of `image` that is never started (so the image needs no tool). With a `target` that the
    image has, the volume takes over what is there, so that single files can be put into it: /etc/nginx with
    another nginx.conf.
    """
    spec = ContainerSpec(
        name=f"{volume}-fill",
        image=image,
        labels=labels,
        command=("never started",),
        mounts=(Mount(volume, target),),
    )
    container = engine.create(spec)
    try:
        engine.put_archive(container, target, archive)
    finally:
        engine.remove(container)
