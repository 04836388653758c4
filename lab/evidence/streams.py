"""The bytes of one direction of a TCP connection, reassembled from one capture."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable
from io import FileIO

from lab.evidence.packets import FIN, SYN, Capture, CaptureError
from lab.evidence.types import ByteStream
from lab.files import CAPTURE, opened

_ALL, _HALF = (1 << 32) - 1, 1 << 31
_BLOCK = 1 << 18


def reassemble(capture: Capture, positions: Iterable[int], isn: int) -> ByteStream:
    """Reassemble the packets of one direction, in order of the capture. `isn` is the SYN's sequence number.

    Early bytes are remembered by their offset in the file, so only the hash is kept in memory.
    """
    try:
        with opened(capture.path, CAPTURE) as file:
            return _reassemble(capture, positions, isn, _Blocks(file))
    except OSError as error:
        raise CaptureError(f"{capture.path}: cannot be read: {error.strerror or error}") from error


def stream_head(capture: Capture, positions: Iterable[int], isn: int, limit: int) -> bytes:
    """The first `limit` bytes that `reassemble` reads."""
    head = bytearray()

    def keep(data: bytes) -> None:
        if len(head) < limit:
            head.extend(data[: limit - len(head)])

    try:
        with capture.path.open("rb", buffering=0) as file:
            _reassemble(capture, positions, isn, _Blocks(file), keep)
    except OSError as error:
        raise CaptureError(f"{capture.path}: cannot be read: {error.strerror or error}") from error
    return bytes(head)


class _Blocks:
    """Reads a file at random offsets, mostly forward."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._base = 0
        self._data = b""

    def read(self, offset: int, size: int) -> bytes:
        at = offset - self._base
        if at < 0:  # back to a packet that came early: once, and the block ahead stays valid
            self._file.seek(offset)
            return self._file.read(size)
        if at + size > len(self._data):
            self._file.seek(offset)
            self._data = self._file.read(max(_BLOCK, size))
            self._base, at = offset, 0
        return self._data[at : at + size]


def _reassemble(
    capture: Capture,
    positions: Iterable[int],
    isn: int,
    file: _Blocks,
    also: Callable[[bytes], None] | None = None,
) -> ByteStream:
    digest = hashlib.sha256()

    def update(data: bytes) -> None:
        digest.update(data)
        if also is not None:
            also(data)

    expected = 0  # offset of the next byte from the first of the stream
    highest = 0
    whole = True
    early: list[tuple[int, int]] = []
    for position in positions:
        length = capture.payload_len[position]
        if not length or capture.flags[position] & (SYN | FIN) == SYN | FIN:
            continue
        start = capture.seq[position] - isn - 1 + (1 if capture.flags[position] & SYN else 0)
        offset = expected + ((start - expected + _HALF) & _ALL) - _HALF
        end = offset + length
        highest = max(highest, end)
        if end <= expected:
            continue
        if offset > expected:
            heapq.heappush(early, (offset, position))
            continue
        whole &= _take(capture, position, expected - offset, file, update)
        expected = end
        while early and early[0][0] <= expected:
            offset, position = heapq.heappop(early)
            end = offset + capture.payload_len[position]
            if end > expected:
                whole &= _take(capture, position, expected - offset, file, update)
                expected = end
    return ByteStream(capture.host, expected, digest.hexdigest(), whole and expected == highest)


def _take(capture: Capture, position: int, skip: int, file: _Blocks, update: Callable[[bytes], None]) -> bool:
    """Hash a packet's payload from byte `skip` on; False if the capture does not hold all of it."""
    begin = capture.payload_offset(position)
    wanted = capture.payload_len[position] - skip
    held = min(wanted, max(0, capture.captured[position] - begin - skip))
    data = file.read(capture.offset[position] + begin + skip, held)
    update(data)
    return len(data) == wanted
