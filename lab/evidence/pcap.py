"""Frames from pcap files, with microsecond or nanosecond timestamps, in both byte orders."""

from __future__ import annotations

import struct

from lab.evidence.packets import ROW, CaptureError, Interface
from lab.evidence.raw import LARGEST, RawFrames, Window

HEADER = 24
_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}


def is_pcap(magic: bytes) -> bool:
    return magic[:4] in _MAGIC


def read_pcap(window: Window, name: str) -> RawFrames:
    """All whole frames. Raises `CaptureError` if even the header is missing."""
    if not window.more(HEADER):
        raise CaptureError(f"{name}: {window.end} bytes: a pcap file begins with {HEADER}")
    order, unit = _MAGIC[window.data[:4]]
    snap, link = struct.unpack_from(order + "II", window.data, 16)
    frames = RawFrames([Interface("", link & 0xFFFF, snap, 1_000_000_000 // unit)])
    window.at = HEADER
    while window.more(16):
        _frames(window, frames, order, unit)
        if frames.note:
            break
        need = 16 + struct.unpack_from(order + "I", window.data, window.at + 8)[0] if window.more(16) else 16
        if not window.more(need):
            break
    if not frames.note and window.end > window.at:
        frames.note = f"cut: {window.end - window.at} bytes at the end are not a whole packet"
    frames.interface.frombytes(bytes(len(frames.t_ns)))
    return frames


def _frames(window: Window, frames: RawFrames, order: str, unit: int) -> None:
    """All frames that are whole in the window."""
    unpack = struct.Struct(order + "IIII").unpack_from
    data, at, end, base = window.data, window.at, window.end, window.base
    t_ns, offset, rows = frames.t_ns.append, frames.offset.append, frames.rows
    captured, original, hashes = frames.captured.append, frames.original.append, frames.hashes.append
    last = end - 16
    while at <= last:
        seconds, fraction, held, length = unpack(data, at)
        if not length:  # no frame is empty: a file with a hole would give a million of them
            frames.note = f"rubbish at byte {base + at}: a packet of no bytes"
            break
        start = at + 16
        stop = start + held
        if stop > end:
            if held > LARGEST:
                frames.note = f"rubbish at byte {base + at}: a packet of {held} bytes"
            break
        t_ns(seconds * 1_000_000_000 + fraction * unit)
        offset(base + start)
        captured(held)
        original(length)
        rows += data[start - 2 : start - 2 + ROW]
        hashes(hash(data[start + 26 : stop]))
        at = stop
    window.at = at
