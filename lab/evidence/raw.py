"""Frames from a capture file, before decoding.

Files are read in blocks, so memory does not depend on what a length field claims.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import BinaryIO

from lab.evidence.packets import ROW, Interface

BLOCK = 1 << 18  #: bytes read at once: fits the processor's cache
LARGEST = 1 << 24  #: no frame, and no block of a pcapng file, is larger: a larger one is garbage
MOST_INTERFACES = 255
PADDING = bytes(ROW)


@dataclass
class RawFrames:
    """One entry for each frame. A row begins 2 bytes before the frame, so its IP header is aligned to 4
    bytes; bytes of a row after the end of its frame do not belong to the frame. `hashes` covers the frame
    from byte 26 on: an IPv4 packet from its addresses."""

    interfaces: list[Interface] = field(default_factory=list)
    t_ns: array[int] = field(default_factory=lambda: array("q"))
    offset: array[int] = field(default_factory=lambda: array("q"))
    captured: array[int] = field(default_factory=lambda: array("I"))
    original: array[int] = field(default_factory=lambda: array("I"))
    interface: array[int] = field(default_factory=lambda: array("B"))
    rows: bytearray = field(default_factory=bytearray)
    hashes: array[int] = field(default_factory=lambda: array("q"))
    comments: dict[int, str] = field(default_factory=dict)
    note: str = ""  #: why the file was not read to its end


class Window:
    """A sliding view of a file: `data` holds it from `base` on, `end` bytes and `ROW` more.

    `at` is where the next record begins in `data`. The bytes after `end` let a row be cut out near it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._over = False
        self.base = 0
        self.at = 0
        self.data = b""
        self.end = 0

    def more(self, need: int) -> bool:
        """Read on until at least `need` bytes from `at` are there; False if the file has no more.

        A record that straddles two blocks is read again: cheaper than joining the blocks.
        """
        if self.end - self.at < need and not self._over:
            self.base += self.at
            self.at = 0
            self._file.seek(self.base)
            wanted = max(BLOCK, need + ROW)
            self.data = self._file.read(wanted)
            self.end = len(self.data) - ROW
            if len(self.data) < wanted:
                self._over = True
                self.end = len(self.data)
                self.data += PADDING
        return self.end - self.at >= need
