"""Files from untrusted sources: the one place that opens them for reading, and writes beside them.

A scenario comes in a pull request, a run folder by mail. A name in either may be a link, a FIFO or a
device by the time it is opened. So the object is checked, not its name: a descriptor that cannot read
(`O_PATH`) is opened first; the object's kind, size and real path are taken from that descriptor; then the
same object is opened for reading. Nothing can be swapped between the check and the read.

With a `root`, a link is followed only if it ends below that folder. Writing never follows a link: a new file
replaces whatever has the name.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

MARK = "lab.yml"  #: the file that marks the root of a project
RUN_MARK = "result.json"  #: the file that marks a run folder: a project of its own, whatever lies above

TEXT = 4 << 20  #: bytes of a file that is read as YAML
RESULT = 64 << 20  #: bytes of a `result.json`
EVENTS = 512 << 20  #: bytes of an `events.jsonl`
CAPTURE = 2 << 30  #: bytes of a capture: 1 GiB of frames, and what pcapng puts around them

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


class Unfit(OSError):
    """The object with this name is not a file that may be read. `strerror` says why, without the name."""


def project_root(file: Path) -> Path:
    """The folder of the `lab.yml` above a file, otherwise the file's own; a run folder is its own root.

    Links on the way to the file's folder are resolved. The file itself is not: this root limits where it
    may lead.
    """
    own = Path(os.path.realpath(Path(file).parent))
    if (own / RUN_MARK).is_file():
        return own
    return next((folder for folder in (own, *own.parents) if (folder / MARK).is_file()), own)


def inside(path: Path, root: Path) -> bool:
    return path == root or root in path.parents


@contextmanager
def opened(path: Path, limit: int, root: Path | None = None) -> Iterator[FileIO]:
    """Open a regular file of at most `limit` bytes for reading, unbuffered.

    With `root`, the file's real path must lie below that folder (which is itself resolved). Without, the
    caller named the file, so a link to a regular file is followed. Raises `OSError`, including `Unfit`.
    """
    try:
        look = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except ValueError:  # a NUL, or a surrogate that encodes no byte
        raise Unfit(errno.EINVAL, "not a name that a file can have", repr(str(path))) from None
    try:
        status = os.fstat(look)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
            raise Unfit(errno.EINVAL, f"{kind}, not a file", str(path))
        # The name in /proc opens the very object that was checked, wherever its own name leads now.
        same = f"/proc/self/fd/{look}"
        if root is not None and not inside(Path(os.readlink(same)), Path(os.path.realpath(root))):
            raise Unfit(errno.EACCES, f"leads out of {root}", str(path))
        if status.st_size > limit:
            raise Unfit(errno.EFBIG, f"{status.st_size} bytes; at most {limit} bytes are read", str(path))
        descriptor = os.open(same, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(look)
    with open(descriptor, "rb", buffering=0) as file:
        yield file


def read_bytes(path: Path, limit: int = TEXT, root: Path | None = None) -> bytes:
    """All bytes of `opened(path, limit, root)`; bounded even if the file grows or lies about its size."""
    with opened(path, limit, root) as file:
        parts: list[bytes] = []
        left = limit + 1
        while left and (part := file.read(min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
    if not left:
        raise Unfit(errno.EFBIG, f"more than {limit} bytes; no more are read", str(path))
    return b"".join(parts)


def is_file(path: Path, root: Path | None = None) -> bool:
    """Whether `opened` would find a regular file there."""
    try:
        with opened(path, 1 << 62, root):
            return True
    except OSError:
        return False


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that replaces whatever has this name when the block ends, and not before.

    A link of that name is replaced, not followed. If the block raises, the old file stays.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o666)
    try:
        with open(descriptor, "wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 through `replacing`; a lone surrogate becomes `?`."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "replace"))
