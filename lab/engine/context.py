"""A folder as a tar for the engine: files, folders and links as they are, to a limit, nothing beyond."""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from msgspec import Struct

from lab.errors import UsageError

_SPOOL = 4 << 20  # bytes of an archive that stay in memory
_IGNORE_LIMIT = 64 * 1024


class Bounds(Struct, frozen=True):
    """How much of a folder is taken; more is an error."""

    size: int = 256 << 20  #: bytes of all files
    entries: int = 20_000  #: files, folders and links


BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Packed(AbstractContextManager["Packed"]):
    """A tar at its start, and the hash of what is in it: the same for the same content, whoever packs it."""

    archive: BinaryIO
    digest: str
    size: int  #: bytes of the tar

    def __exit__(self, *_: object) -> None:
        self.archive.close()


class Ignore:
    """The patterns of a .dockerignore: `*`, `?`, `[…]` within a name, `**` for any folders, `!` takes back.

    The last pattern that matches a path or a folder above it decides. Names are compared one by one, so no
    pattern takes longer than its length times the path's.
    """

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._patterns: list[tuple[bool, tuple[str, ...]]] = []
        for line in lines:
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            names = _clean(text.removeprefix("!"))
            if names:
                self._patterns.append((not text.startswith("!"), names))

    def __call__(self, path: str) -> bool:
        names = tuple(path.split("/"))
        ignored = False
        for ignores, pattern in self._patterns:
            if ignores != ignored and _matches(pattern, names):
                ignored = ignores
        return ignored

    @property
    def takes_back(self) -> bool:
        """Whether something in an ignored folder may be wanted after all."""
        return any(not ignores for ignores, _ in self._patterns)


def _clean(pattern: str) -> tuple[str, ...]:
    names: list[str] = []
    for name in pattern.strip().split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", ".") and not (name == "**" and names[-1:] == ["**"]):
            names.append(_name_pattern(name))
    return tuple(names)


def _name_pattern(name: str) -> str:
    """Go's pattern as Python's: `[^a]` is `[!a]`, and a backslash takes the meaning of what follows."""
    text = name.replace("[^", "[!")
    parts = text.split("\\")
    return parts[0] + "".join(f"[{part[0]}]{part[1:]}" if part else "" for part in parts[1:])


def _matches(pattern: Sequence[str], names: Sequence[str]) -> bool:
    """Whether the pattern fits the path or a folder above it."""

    @functools.cache
    def fits(i: int, j: int) -> bool:
        if i == len(pattern):
            return j > 0
        if pattern[i] == "**":
            return fits(i + 1, j) or (j < len(names) and fits(i, j + 1))
        return j < len(names) and fnmatch.fnmatchcase(names[j], pattern[i]) and fits(i + 1, j + 1)

    return fits(0, 0)


def pack(
    folder: Path,
    *,
    what: str,
    bounds: Bounds = BOUNDS,
    ignore: Ignore | None = None,
    more: Sequence[tuple[str, bytes]] = (),
) -> Packed:
    """The folder as a tar, with the files `more` (name, content) at its top; raises `UsageError`.

    Links are kept as links and never followed. Owners are root, times 0: the result of a build depends on
    content alone. `what` names the folder in errors.
    """
    spool = _spool()
    packer = _Packer(spool, what, bounds)
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            packer.walk(root, ignore or Ignore())
        finally:
            os.close(root)
        return packer.finish(more)
    except OSError as error:
        spool.close()
        raise UsageError(f"{what}: {error.strerror}: {error.filename or folder}") from error
    except BaseException:
        spool.close()
        raise


def packed_files(files: Sequence[tuple[str, bytes]]) -> Packed:
    """A tar of these files alone."""
    return _Packer(_spool(), "", BOUNDS).finish(files)


def _spool() -> BinaryIO:
    """In memory while it is small, then a file without a name; whoever gets the archive closes it."""
    return cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=_SPOOL))


def read_bounded(folder: Path, name: str, limit: int, what: str) -> bytes | None:
    """A regular file below the folder that no link leads out of; None where it is not there.

    Raises `UsageError` where it is something else, or larger than `limit` bytes.
    """
    top = folder.resolve()
    path = (top / name).resolve()
    if not path.is_relative_to(top):
        raise UsageError(f"{what}: {name}: it is outside the folder {folder}")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{what}: {name}: {error.strerror}") from error
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{what}: {name}: it is no regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UsageError(f"{what}: {name}: it is larger than {limit} bytes")
    return content


def ignore_of(folder: Path, dockerfile: str, what: str) -> Ignore:
    """`<dockerfile>.dockerignore`, otherwise `.dockerignore`; with neither, nothing is ignored."""
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        content = read_bounded(folder, name, _IGNORE_LIMIT, what)
        if content is not None:
            return Ignore(content.decode("utf-8", "replace").splitlines())
    return Ignore()


class _Packer:
    def __init__(self, spool: BinaryIO, what: str, bounds: Bounds) -> None:
        self._spool = spool
        self._what = what
        self._bounds = bounds
        self._archive = tarfile.open(fileobj=spool, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._digest = hashlib.sha256()
        self._size = 0
        self._entries = 0

    def walk(self, root: int, ignore: Ignore) -> None:
        for top, folders, files, descriptor in os.fwalk(".", dir_fd=root, follow_symlinks=False):
            above = "" if top == "." else top.removeprefix("./") + "/"
            for name in sorted(folders):
                path = above + name
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if ignore(path):
                    if not ignore.takes_back:
                        folders.remove(name)
                    continue
                if stat.S_ISLNK(status.st_mode):
                    self._link(path, os.readlink(name, dir_fd=descriptor))
                else:
                    self._add(path, status.st_mode, tarfile.DIRTYPE)
            folders.sort()
            for name in sorted(files):
                if not ignore(above + name):
                    self._file(above + name, name, descriptor)

    def finish(self, more: Sequence[tuple[str, bytes]]) -> Packed:
        digest = self._digest.hexdigest()
        for name, content in more:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            self._archive.addfile(entry, io.BytesIO(content))
        # Two empty blocks end a tar. No engine reads tarfile's padding of the record, and one that
        # has not read its request to the end does not notice that we have hung up: the build would go on.
        size = self._archive.offset + 2 * tarfile.BLOCKSIZE
        self._archive.close()
        self._spool.truncate(size)
        self._spool.seek(0)
        return Packed(self._spool, digest, size)

    def _file(self, path: str, name: str, folder: int) -> None:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            self._link(path, os.readlink(name, dir_fd=folder))
            return
        if stat.S_ISSOCK(status.st_mode):
            return  # as Docker does: many folders hold a server's socket
        # O_NONBLOCK: a FIFO that took the file's place must not hold us.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(
                    f"{self._what}: {path}: it is no regular file, folder or link",
                    hint="remove it, or name it in .dockerignore",
                )
            self._add(path, status.st_mode, tarfile.REGTYPE, status.st_size, file)

    def _link(self, path: str, target: str) -> None:
        self._add(path, 0o777, tarfile.SYMTYPE, target=target)

    def _add(
        self,
        path: str,
        mode: int,
        kind: bytes,
        size: int = 0,
        file: BinaryIO | None = None,
        target: str = "",
    ) -> None:
        self._entries += 1
        self._size += size
        if self._entries > self._bounds.entries or self._size > self._bounds.size:
            raise UsageError(
                f"{self._what}: more than {self._bounds.size >> 20} MiB or {self._bounds.entries} files "
                f"(at {path})",
                hint="name in .dockerignore what is not needed (.git, node_modules, data)",
            )
        entry = tarfile.TarInfo(path)
        entry.type, entry.size, entry.mode, entry.linkname = kind, size, stat.S_IMODE(mode) & 0o777, target
        self._digest.update(repr((path, kind, entry.mode, size, target)).encode("utf-8", "surrogateescape"))
        try:
            self._archive.addfile(entry, cast(BinaryIO, _Hashing(file, self._digest)) if file else None)
        except OSError as error:
            raise UsageError(
                f"{self._what}: {path}: it changed or broke while it was read: {error}"
            ) from error


class _Hashing:
    """A file that is hashed as it is read, so that hash and archive cover the same bytes."""

    def __init__(self, file: BinaryIO, digest: hashlib._Hash) -> None:
        self._file = file
        self._digest = digest

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        return data
