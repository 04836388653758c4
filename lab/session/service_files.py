"""What a service finds in its file system besides its image: bounded copies of the project's files.

The project itself is never mounted: nothing that a service does reaches it. A folder becomes a volume of the
case, so it is kept while the host has no power; a single file is put into each new container.
"""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from lab.engine.base import Engine, Mount
from lab.engine.context import read_bounded
from lab.errors import EngineError, UsageError
from lab.scenario import services

FILE = 64 << 20  #: bytes of one file that is put into a container


class File(Struct, frozen=True):
    """One file of a container."""

    target: str
    content: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    read_only: bool = True


class Folder(Struct, frozen=True):
    """A volume, filled with a copy of `source` where that is not None."""

    volume: str
    mount: Mount
    source: Path | None


def volumes_of(run: str, host: str, spec: services.ServiceSpec) -> Iterator[Folder]:
    """The volumes that a service needs. A volume with a name is one for all services of the case."""
    for number, mount in enumerate(spec.mounts):
        if mount.kind == "volume":
            own = f"{host}-{spec.name}-{number}" if mount.source is None else f"named-{mount.source}"
            name = f"lab-{run}-{own}"
            yield Folder(name, Mount(name, mount.target, mount.read_only, copy=not mount.nocopy), None)
        elif mount.kind == "bind" and isinstance(mount.source, Path) and mount.source.is_dir():
            name = f"lab-{run}-{host}-{spec.name}-{number}"
            yield Folder(name, Mount(name, mount.target, mount.read_only, copy=False), mount.source)


def files_of(spec: services.ServiceSpec) -> Iterator[File]:
    """The single files of a service. Raises `UsageError` where one is no file, or too large."""
    for mount in spec.mounts:
        if mount.kind == "content":
            content = (mount.content or "").encode()
            mode = 0o444 if mount.mode is None else mount.mode
            yield File(mount.target, content, mode, mount.uid or 0, mount.gid or 0)
        elif mount.kind == "bind" and isinstance(mount.source, Path) and not mount.source.is_dir():
            yield project_file(mount.source, mount.target, read_only=mount.read_only)


def project_file(source: Path, target: str, *, read_only: bool) -> File:
    """A copy of a file of the project."""
    content = read_bounded(source.parent, source.name, FILE, str(source))
    if content is None:
        raise UsageError(f"{source}: no such file")
    return File(target, content, stat.S_IMODE(source.stat().st_mode), read_only=read_only)


def kept(file: File, engine: Engine, container: str) -> File:
    """The file as an ended container left it; the original where that is gone or too large."""
    content = io.BytesIO()
    try:
        engine.copy_out(container, file.target, content, FILE)
    except EngineError:
        return file
    return replace(file, content=content.getvalue())


def tmpfs_of(spec: services.ServiceSpec) -> dict[str, str]:
    """Compose's tmpfs as mount options."""
    found = {}
    for mount in spec.mounts:
        if mount.kind == "tmpfs":
            size = [f"size={mount.size}"] if mount.size is not None else []
            found[mount.target] = ",".join([*filter(None, [mount.options]), *size])
    return found


def archive_of(files: Iterable[File]) -> BinaryIO:
    """A tar to be unpacked at the container's root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            entry = tarfile.TarInfo(str(PurePosixPath(file.target)).lstrip("/"))
            entry.size, entry.mode, entry.uid, entry.gid = len(file.content), file.mode, file.uid, file.gid
            archive.addfile(entry, io.BytesIO(file.content))
    buffer.seek(0)
    return buffer
