"""Reading a capture file into a `Capture`: pcap or pcapng, by its first bytes.

The frames are cut into rows of equal length, and each header field of all packets is taken from those rows
as one strided copy: no Python code runs per field and packet. Frames with another layout are decoded one by
one afterwards.
"""

from __future__ import annotations

import sys
from array import array
from operator import sub
from pathlib import Path
from socket import inet_aton
from typing import Literal

from lab.evidence.decode import ETHERNET, decode
from lab.evidence.packets import ICMP, RESERVED, ROW, TCP, UDP, Capture, CaptureError
from lab.evidence.pcap import is_pcap, read_pcap
from lab.evidence.pcapng import is_pcapng, read_pcapng
from lab.evidence.raw import RawFrames, Window
from lab.files import CAPTURE, opened

_IPV4 = 0x0800
_LEAST = {TCP: 54, UDP: 42, ICMP: 42}  #: minimum length of a frame, by IP protocol
_NOT_PLAIN = 255
_OTHER_HEADERS = {UDP: 28, ICMP: 20}  #: of the IP header and, for UDP, its own
_TCP_HEADERS = bytes(20 + (byte >> 4) * 4 if byte >> 4 >= 5 else _NOT_PLAIN for byte in range(256))
"""Length of IP and TCP header by the byte that holds the TCP header's length."""


def read_capture(path: Path, host: str | None = None, *, root: Path | None = None) -> Capture:
    """Read a whole file; `host` is the capturing host (default: the file's stem).

    With `root` it must lie below that folder, wherever links lead.

    A file that is truncated or ends in garbage is read up to there, with `truncated` and `note` set. Raises
    `CaptureError` if nothing can be read.
    """
    try:
        with opened(path, CAPTURE, root) as file:
            window = Window(file)
            if not window.more(1):
                raise CaptureError(f"{path}: empty, not a capture file")
            magic = window.data[:4]
            if is_pcap(magic):
                frames = read_pcap(window, str(path))
            elif is_pcapng(magic):
                frames = read_pcapng(window, str(path))
            else:
                raise CaptureError(f"{path}: begins with {magic.hex()}: neither a pcap nor a pcapng file")
            capture = Capture(
                host=path.stem if host is None else host,
                path=path,
                interfaces=tuple(frames.interfaces),
                truncated=bool(frames.note),
                note=frames.note,
                t_ns=frames.t_ns,
                offset=frames.offset,
                captured=frames.captured,
                original=frames.original,
                interface=frames.interface,
                rows=frames.rows,
                comments=frames.comments,
            )
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read: {error.strerror or error}") from error
    _columns(capture, frames)
    return capture


class _Columns:
    """Cuts columns out of the rows."""

    def __init__(self, rows: bytearray) -> None:
        self._view = memoryview(rows)

    def bytes_at(self, place: int) -> bytes:
        return self._view[place::ROW].tobytes()

    def words_at(self, place: int, code: Literal["H", "I"], *, native: bool = False) -> array[int]:
        """Big-endian numbers at an offset aligned to their size; `native` does not swap them."""
        column = array(code)
        size = column.itemsize
        column.frombytes(self._view.cast(code)[place // size :: ROW // size].tobytes())
        if sys.byteorder == "little" and not native:
            column.byteswap()
        return column


def _columns(capture: Capture, frames: RawFrames) -> None:
    count = len(capture.t_ns)
    if not count:
        return
    cut = _Columns(capture.rows)
    types, lengths, pieces = cut.words_at(14, "H"), cut.words_at(18, "H"), cut.words_at(22, "H")
    versions, protocols, offsets = cut.bytes_at(16), cut.bytes_at(25), cut.bytes_at(48)
    capture.source, capture.target = cut.words_at(28, "I"), cut.words_at(32, "I")
    capture.protocol = array("H", iter(protocols))
    capture.sport, capture.dport = cut.words_at(36, "H"), cut.words_at(38, "H")
    capture.seq, capture.ack = cut.words_at(40, "I"), cut.words_at(44, "I")
    capture.flags, capture.window = array("B", cut.bytes_at(49)), cut.words_at(50, "H")
    capture.digest = array(
        "q",
        map(
            hash,
            zip(
                frames.hashes,
                cut.words_at(16, "I", native=True),
                cut.words_at(20, "I", native=True),
                protocols,
                strict=True,
            ),
        ),
    )
    del cut
    payloads = _payloads(lengths, protocols, offsets)
    if _all_plain(capture, types, versions, pieces, payloads, lengths):
        odd: list[int] = []
    else:
        odd = _find_odd(capture, types, versions, pieces, protocols, payloads, lengths)
        payloads = array("i", map(max, payloads, [0] * count))
    capture.payload_len = array("I", payloads)
    if protocols.count(TCP) < count:
        for i, protocol in enumerate(protocols):
            if protocol != TCP:
                capture.seq[i] = capture.ack[i] = capture.flags[i] = capture.window[i] = 0
                if protocol != UDP:
                    capture.sport[i] = capture.dport[i] = 0
    _odd(capture, odd)


def _payloads(lengths: array[int], protocols: bytes, offsets: bytes) -> array[int]:
    """IP length minus headers; negative if that is too short, or the protocol is not a plain one."""
    headers = bytearray(offsets.translate(_TCP_HEADERS))
    if protocols.count(TCP) < len(protocols):
        for i, protocol in enumerate(protocols):
            if protocol != TCP:
                headers[i] = _OTHER_HEADERS.get(protocol, _NOT_PLAIN)
    payloads = array("i", map(sub, lengths, headers))
    if _NOT_PLAIN in headers:
        for i, header in enumerate(headers):
            if header == _NOT_PLAIN:
                payloads[i] = -1
    return payloads


def _all_plain(
    capture: Capture,
    types: array[int],
    versions: bytes,
    pieces: array[int],
    payloads: array[int],
    lengths: array[int],
) -> bool:
    """Whether `_find_odd` would find nothing, by whole columns: true of nearly all of the lab's captures."""
    count = len(types)
    return (
        all(interface.link_type == ETHERNET for interface in capture.interfaces)
        and types.count(_IPV4) == count
        and versions.count(0x45) == count
        and min(payloads) >= 0
        and not any(piece & 0x3FFF for piece in set(pieces))
        and max(capture.source) < RESERVED
        and max(capture.target) < RESERVED
        and capture.captured == capture.original
        and capture.original == array("I", map((14).__add__, lengths))
    )


def _find_odd(
    capture: Capture,
    types: array[int],
    versions: bytes,
    pieces: array[int],
    protocols: bytes,
    payloads: array[int],
    lengths: array[int],
) -> list[int]:
    """Positions of the packets that are not plain Ethernet, IPv4 and TCP, UDP or ICMP with whole headers."""
    if any(interface.link_type != ETHERNET for interface in capture.interfaces):
        return list(range(len(types)))
    least = [_LEAST.get(protocol, 0) for protocol in range(256)]
    return [
        i
        for i, (kind, version, piece, protocol, payload, length, held, original, source, target) in enumerate(
            zip(
                types,
                versions,
                pieces,
                protocols,
                payloads,
                lengths,
                capture.captured,
                capture.original,
                capture.source,
                capture.target,
                strict=True,
            )
        )
        if payload < 0
        or kind != _IPV4
        or version != 0x45
        or piece & 0x3FFF
        or source >= RESERVED
        or target >= RESERVED
        or held < least[protocol]
        or length + 14 != original
        or held > original
    ]


def _odd(capture: Capture, odd: list[int]) -> None:
    """Decode the remaining frames one by one."""
    if not odd:
        return
    numbers: dict[str, int] = {}
    with opened(capture.path, CAPTURE) as file:
        for i in odd:
            file.seek(capture.offset[i])
            frame = file.read(min(capture.captured[i], capture.original[i]))
            link = capture.interfaces[capture.interface[i]].link_type
            found = decode(frame, link)
            capture.rows[i * ROW : (i + 1) * ROW] = found.row
            if link == ETHERNET and len(frame) >= 14:
                capture.rows[i * ROW + 2 : i * ROW + 16] = frame[:14]
            capture.protocol[i] = found.protocol
            capture.source[i] = _number(found.source, numbers, capture)
            capture.target[i] = _number(found.target, numbers, capture)
            capture.sport[i], capture.dport[i] = found.sport, found.dport
            capture.seq[i], capture.ack[i] = found.seq, found.ack
            capture.flags[i], capture.window[i] = found.flags, found.window
            capture.payload_len[i] = found.payload_len
            capture.digest[i] = found.digest
            if found.l3 != 14:
                capture.l3[i] = found.l3
            if found.l4 != 34:
                capture.l4[i] = found.l4
            if found.fragment is not None:
                capture.fragments[i] = found.fragment


def _number(address: str, numbers: dict[str, int], capture: Capture) -> int:
    """An IPv4 address as its number, otherwise a reserved number for it."""
    if address.count(".") == 3 and ":" not in address:  # ::192.0.2.1 is IPv6
        number = int.from_bytes(inet_aton(address), "big")
        if number < RESERVED:
            return number
    number = numbers.get(address, 0)
    if not number:
        number = numbers[address] = RESERVED + len(numbers)
        capture.other_addresses[number] = address
    return number
