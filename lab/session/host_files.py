"""The files of the project that a host's `run` steps see: copies that programs can read but not change."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from lab.engine.base import Engine
from lab.engine.context import pack
from lab.errors import UsageError
from lab.host import Identity
from lab.scenario.services import HostFile
from lab.session.service_files import project_file

#: Owns the copies. A program of root has no privilege: what is another's and read-only it can only read.
_OWNER = 61001
_SPOOL = 4 << 20  #: bytes of an archive that stay in memory

#: An agent that is not root cannot write it: names come from /etc/hosts alone, and what is not there is not
#: asked of anybody.
_NAMES = b"passwd: files\ngroup: files\nshadow: files\nhosts: files\n"


def fill_programs(engine: Engine, container: str, identity: Identity, files: Sequence[HostFile]) -> None:
    """Puts the files for the programs into their new container, which has not started yet.

    Raises `UsageError` where a target is in the image already.
    """
    for file in files:
        if engine.exists(container, file.target):
            raise UsageError(
                f"{file.place}: {file.target} is in the host image already",
                hint="give the file another place: /app, /data, /srv/lab …",
            )
    if not files and identity.user is None:
        return
    with tempfile.SpooledTemporaryFile(_SPOOL) as archive:
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as target:
            if identity.user is not None:
                _add(target, _entry("etc/nsswitch.conf", len(_NAMES), 0o644, owner=0), _NAMES)
            for file in files:
                for folder in _missing(engine, container, file.target):
                    target.addfile(_entry(folder, 0, 0o755, kind=tarfile.DIRTYPE))
                _copy(file, target)
        archive.seek(0)
        engine.put_archive(container, "/", cast(BinaryIO, archive))


def _missing(engine: Engine, container: str, path: str) -> Iterator[str]:
    """The folders above a path that are not there yet, from the top."""
    for folder in reversed(PurePosixPath(path).parents):
        if str(folder) != "/" and not engine.exists(container, str(folder)):
            yield str(folder).lstrip("/")


def _copy(file: HostFile, target: tarfile.TarFile) -> None:
    top = str(PurePosixPath(file.target)).lstrip("/")
    if not file.source.is_dir():
        one = project_file(file.source, file.target, read_only=True)
        _add(target, _entry(top, len(one.content), one.mode & 0o555 | 0o444), one.content)
        return
    target.addfile(_entry(top, 0, 0o755, kind=tarfile.DIRTYPE))
    with (
        pack(file.source, what=str(file.source)) as packed,
        tarfile.open(fileobj=packed.archive) as members,
    ):
        for member in members:
            member.name = f"{top}/{member.name}"
            member.uid = member.gid = _OWNER
            member.mode = member.mode & 0o555 | 0o444
            target.addfile(member, members.extractfile(member) if member.isfile() else None)


def _entry(
    name: str, size: int, mode: int, *, owner: int = _OWNER, kind: bytes = tarfile.REGTYPE
) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.type = size, mode, kind
    entry.uid = entry.gid = owner
    return entry


def _add(target: tarfile.TarFile, entry: tarfile.TarInfo, content: bytes) -> None:
    target.addfile(entry, io.BytesIO(content))
