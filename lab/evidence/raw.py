"""Frames as they come out of a capture file, before anything in them is understood.

Files are read in blocks, so memory does not depend on what a length field claims.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import BinaryIO

from lab.evidence.packets import ROW, Interface

BLOCK = 1 << 22  #: bytes read at once
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
    """A sliding view of a file: `data` holds bytes of it from `base` on, `end` of them, then zeros.

    `at` is where the next record begins in `data`. The zeros let a row be cut out near the end.
    """

    def __init__(self, file: BinaryIO, first: bytes) -> None:
        self._file = file
        self._over = False
        self.base = 0
        self.at = 0
        self.data = first + PADDING
        self.end = len(first)

    def more(self, need: int) -> bool:
        """Reads on so that at least `need` bytes from `at` on are there; False where the file has no more."""
        while self.end - self.at < need and not self._over:
            block = self._file.read(BLOCK)
            self._over = not block
            rest = self.data[self.at : self.end]
            self.base += self.at
            self.at = 0
            self.data = rest + block + PADDING
            self.end = len(rest) + len(block)
        return self.end - self.at >= need
