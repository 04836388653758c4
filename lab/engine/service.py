"""What a user's program gets as a container: its capabilities, its orderly end, its files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from typing import BinaryIO

from lab.engine.base import ContainerSpec, Engine, LogLine, Mount
from lab.errors import EngineError, UsageError

#: Docker's default capabilities except NET_RAW and MKNOD. Images of servers count on them: root gives up its
#: rights, binds port 80, owns its files. None of them touches the network.
SERVICE_CAPABILITIES = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)


def service_capabilities(drop: Iterable[str] = (), add: Iterable[str] = ()) -> tuple[str, ...]:
    """The capabilities of a service with Compose's `cap_drop` and `cap_add`; raises `UsageError`.

    As Docker does it: `ALL` is dropped first, then what is added counts. Nothing beyond
    `SERVICE_CAPABILITIES` can be added.
    """
    dropped, added = ({_capability(name) for name in names} for names in (drop, add))
    if foreign := sorted(added - set(SERVICE_CAPABILITIES)):
        raise UsageError(
            f"cap_add: {', '.join(foreign)}: a service may have no other than "
            + ", ".join(SERVICE_CAPABILITIES),
            hint="leave it out; whatever shapes or watches the network is done by the lab itself",
        )
    kept = added if "ALL" in dropped else (set(SERVICE_CAPABILITIES) - dropped) | added
    return tuple(sorted(kept))


def _capability(name: str) -> str:
    return name.upper().removeprefix("CAP_")


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


def log_is_whole(engine: Engine, container_id: str, first: LogLine | None) -> bool:
    """Whether nothing of a container's log was dropped at its limit; `first` is the first line seen.

    The engine drops whole files, the oldest first, and says nothing: a reader that follows jumps over them.
    As long as the first line exists, all do, and `Engine.logs` gives them.
    """
    log = engine.logs(container_id)
    try:
        return log.read() == first
    finally:
        log.close()


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


def archive_of(files: Mapping[str, bytes], *, mode: int = 0o444) -> BinaryIO:
    """A tar of these files (path → content), owned by root, with the folders above them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    buffer.seek(0)
    return buffer
