"""Files that come from somebody: opened without being led astray, read to a limit, written whole.

Whatever a scenario, a run folder or a Compose file names is opened here. What is looked at is the open
descriptor, never the name again, so nothing can change between the look and the read. A FIFO does not block,
a device is not read, and a link is followed only where that is asked for.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import UsageError

_OPEN = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class NotAFile(OSError):
    """It is there, and is not a regular file, or is larger than the limit."""


def open_regular(path: str | os.PathLike[str], *, follow: bool = True) -> int:
    """A descriptor to read a regular file. Raises `NotAFile` for all else, and `OSError`.

    Without `follow` the last part of the path is not a link.
    """
    descriptor = os.open(path, os.O_RDONLY | _OPEN | (0 if follow else os.O_NOFOLLOW))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    raise NotAFile(f"{_kind(mode)}, not a file")


def read_bounded(path: str | os.PathLike[str], limit: int, *, follow: bool = True) -> bytes:
    """All of a regular file. Raises `NotAFile` where it is something else or larger than `limit` bytes.

    The size is looked at before anything is read; a file that grows meanwhile is too large as well.
    """
    descriptor = open_regular(path, follow=follow)
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        content = file.read(limit + 1) if size <= limit else b""
    if size > limit or len(content) > limit:
        raise NotAFile(f"{max(size, len(content)):,} bytes, and at most {limit:,} are read")
    return content


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def write_whole(path: Path, content: bytes | str) -> None:
    """Puts a file in the place of whatever has this name: a link there is replaced, never written through.

    The folder holds either the old file or the whole new one. Raises `OSError`.
    """
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file to write, which takes the place of `path` when the block ends well. Raises `OSError`."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | _OPEN, 0o644))
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink()
        raise


def inside(folder: Path, name: str) -> Path:
    """`folder/name`, where that is a file below the folder reached by no link. Raises `UsageError`.

    For names that a run folder's own files give: a capture's path in `events.jsonl`.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or any(part in ("..", ".") for part in parts) or "\0" in name:
        raise UsageError(f"{folder}: {name!r} is not the name of a file below the folder")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise UsageError(f"{folder}: {name}: {part} is a link; a run folder's files are its own")
    return path
