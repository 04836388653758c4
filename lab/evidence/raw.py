"""Frames as they come out of a capture file, before anything in them is understood.

Files are read in blocks, so memory does not depend on what a length field claims.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import BinaryIO

from lab.evidence.packets import ROW, Interface

BLOCK = 1 << 18  #: bytes read at once: what fits the processor's cache
LARGEST = 1 << 24  #: no frame, and no block of a pcapng file, is larger: what claims to be is rubbish
MOST_INTERFACES = 255
PADDING = bytes(ROW)


@dataclass
class RawFrames:
    """One entry a frame. `rows` begins 2 bytes before the frame, so that its IP header is aligned to 4 bytes;
    what stands in a row behind the end of its frame is not the frame's. `hashes` is of the frame from byte 26
    on: an IPv4 packet from its addresses."""

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

    `at` is where the next record begins in `data`. What stands behind `end` lets a row be cut out near it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._over = False
        self.base = 0
        self.at = 0
        self.data = b""
        self.end = 0

    def more(self, need: int) -> bool:
        """Reads on so that at least `need` bytes from `at` on are there; False where the file has no more.

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
