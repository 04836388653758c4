"""Frames from pcapng files, with several sections and interfaces, any resolution, and comments."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lab.evidence.packets import ROW, CaptureError, Interface
from lab.evidence.raw import LARGEST, MOST_INTERFACES, RawFrames, Window

SECTION, INTERFACE, OLD_PACKET, SIMPLE_PACKET, PACKET = 0x0A0D0D0A, 1, 2, 3, 6
OPTION_COMMENT, OPTION_NAME, OPTION_RESOLUTION, OPTION_OFFSET = 1, 2, 9, 14
_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_LAST_NS = (1 << 63) - 1


def is_pcapng(magic: bytes) -> bool:
    return magic[:4] == b"\x0a\x0d\x0d\x0a"


def read_pcapng(window: Window, name: str) -> RawFrames:
    """All whole frames. Raises `CaptureError` if even the first section's header is missing."""
    frames = RawFrames()
    order = ""
    first = 0  # interface 0 of this section in `frames.interfaces`
    plain: set[int] = set()  # interfaces of this section with timestamps in ns
    while window.more(12):
        if plain and _packets(window, frames, order, first, plain):
            continue
        data, at = window.data, window.at
        where = window.base + at
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            new: str | None = _ORDERS.get(data[at + 8 : at + 12])
            if new is None:
                frames.note = f"rubbish at byte {where}: a section of unknown byte order"
                break
        else:
            new = order
        kind, total = struct.unpack_from(new + "II", data, at)
        if total < 12 or total % 4 or total > LARGEST:
            frames.note = f"rubbish at byte {where}: a block of {total} bytes"
            break
        if not window.more(total):
            break
        if kind == SECTION:
            order, first, plain = new, len(frames.interfaces), set()
        try:
            _block(window, frames, order, first, kind, total)
        except struct.error:
            frames.note = f"rubbish at byte {where}: a block of kind {kind} that is too short"
        if frames.note:
            break
        if kind == INTERFACE and frames.interfaces[-1].plain:
            plain.add(len(frames.interfaces) - 1 - first)
        window.at += total
    if not order:
        raise CaptureError(f"{name}: {frames.note or 'it ends inside the first block'}: not a pcapng file")
    if not frames.note and window.end > window.at:
        frames.note = f"cut: {window.end - window.at} bytes at the end are not a whole block"
    return frames


def _packets(window: Window, frames: RawFrames, order: str, first: int, plain: set[int]) -> bool:
    """Read all plain packet blocks of interfaces with ns timestamps that are whole in the window.

    This is the fast path for nearly every block of our own files. False if it took none.
    """
    unpack = struct.Struct(order + "IIIIIII").unpack_from
    data, at, end, base = window.data, window.at, window.end, window.base
    t_ns, offset, rows = frames.t_ns.append, frames.offset.append, frames.rows
    captured, original, hashes = frames.captured.append, frames.original.append, frames.hashes.append
    interface = frames.interface.append
    begin, last = at, end - 32
    while at <= last:
        kind, total, number, high, low, held, length = unpack(data, at)
        # 32 bytes around the frame, which is padded to 4 bytes: with options it is not plain
        if kind != PACKET or total != (held + 35) & ~3 or number not in plain or high >> 31:
            break
        stop = at + total
        if stop > end or held > LARGEST:
            break
        start = at + 28
        t_ns(high << 32 | low)
        offset(base + start)
        captured(held)
        original(length)
        interface(first + number)
        rows += data[start - 2 : start - 2 + ROW]
        hashes(hash(data[start + 26 : start + held]))
        at = stop
    window.at = at
    return at > begin


def _block(window: Window, frames: RawFrames, order: str, first: int, kind: int, total: int) -> None:
    """Read any one block, whole in the window."""
    data, at = window.data, window.at
    stop = at + total - 4  # before its trailing length
    if kind == INTERFACE:
        if len(frames.interfaces) == MOST_INTERFACES:
            frames.note = f"rubbish at byte {window.base + at}: more than {MOST_INTERFACES} interfaces"
            return
        link, _, snap = struct.unpack_from(order + "HHI", data, at + 8)
        frames.interfaces.append(_interface(link, snap, _options(data, at + 16, stop, order), order))
        return
    if kind == PACKET:
        number, high, low, held, length = struct.unpack_from(order + "IIIII", data, at + 8)
        start = at + 28
    elif kind == OLD_PACKET:
        number, _, high, low, held, length = struct.unpack_from(order + "HHIIII", data, at + 8)
        start = at + 28
    elif kind == SIMPLE_PACKET:
        (length,) = struct.unpack_from(order + "I", data, at + 8)
        number = high = low = 0
        start = at + 12
        held = min(length, stop - start)
    else:
        return
    if first + number >= len(frames.interfaces):
        frames.note = (
            f"rubbish at byte {window.base + at}: a packet of interface {number}, which is not described"
        )
        return
    if start + held > stop:
        frames.note = f"rubbish at byte {window.base + at}: a packet larger than its block"
        return
    where = frames.interfaces[first + number]
    stamp = (high << 32 | low) * 1_000_000_000 // where.ticks_per_second + where.offset_s * 1_000_000_000
    if not 0 <= stamp <= _LAST_NS:
        frames.note = f"rubbish at byte {window.base + at}: a time stamp out of range"
        return
    if kind == PACKET:
        for code, value in _options(data, start + (held + 3 & ~3), stop, order):
            if code == OPTION_COMMENT:
                frames.comments[len(frames.t_ns)] = value.decode("utf-8", "replace")
    frames.t_ns.append(stamp)
    frames.offset.append(window.base + start)
    frames.captured.append(held)
    frames.original.append(length)
    frames.interface.append(first + number)
    frames.rows += data[start - 2 : start - 2 + ROW]
    frames.hashes.append(hash(data[start + 26 : start + held]))


def _options(data: bytes, at: int, stop: int, order: str) -> Iterator[tuple[int, bytes]]:
    """Code and value of each option up to the end or to the first that does not fit."""
    unpack = struct.Struct(order + "HH").unpack_from
    while at + 4 <= stop:
        code, length = unpack(data, at)
        if code == 0 or at + 4 + length > stop:
            return
        yield code, data[at + 4 : at + 4 + length]
        at += 4 + (length + 3 & ~3)


def _interface(link: int, snap: int, options: Iterator[tuple[int, bytes]], order: str) -> Interface:
    name, ticks, offset = "", 1_000_000, 0
    for code, value in options:
        if code == OPTION_NAME:
            name = value.decode("utf-8", "replace").rstrip("\0")
        elif code == OPTION_RESOLUTION and value:
            ticks = 1 << (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == OPTION_OFFSET and len(value) == 8:
            (offset,) = struct.unpack(order + "q", value)
    return Interface(name, link, snap, ticks, offset)
