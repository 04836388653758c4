"""Writing pcapng files: named interfaces, nanosecond timestamps, packet comments.

`convert` makes a host's file in a run folder from tcpdump's files; `merge` makes one file of all hosts.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from lab.evidence.packets import Capture, CaptureError, Interface, interface_name
from lab.evidence.pcapng import (
    INTERFACE,
    OPTION_COMMENT,
    OPTION_NAME,
    OPTION_RESOLUTION,
    PACKET,
    SECTION,
)
from lab.evidence.reader import read_capture
from lab.files import CAPTURE, opened, replacing
from lab.harmless import clean

_APPLICATION = 4  #: option shb_userappl
_LONGEST_OPTION = 65_532  #: a length has 16 bits, and is padded to 4 bytes


class PcapngWriter:
    """Writes one section, little-endian. A context manager: the file gets its name at the end."""

    def __init__(self, path: Path) -> None:
        self._replaced = ExitStack()
        self._file: BinaryIO = self._replaced.enter_context(replacing(path))
        self._interfaces = 0
        body = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
        self._block(SECTION, body + _options([(_APPLICATION, b"lab")]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replaced.__exit__(kind, error, trace)

    def _block(self, kind: int, body: bytes) -> None:
        total = len(body) + 12
        self._file.write(struct.pack("<II", kind, total) + body + struct.pack("<I", total))

    def interface(self, name: str, link_type: int = 1, snap_length: int = 262_144) -> int:
        """Describe one more interface, and give its number."""
        options = _options([(OPTION_NAME, clean(name).encode()), (OPTION_RESOLUTION, b"\x09")])
        self._block(INTERFACE, struct.pack("<HHI", link_type, 0, snap_length) + options)
        self._interfaces += 1
        return self._interfaces - 1

    def packet(
        self, interface: int, t_ns: int, frame: bytes, *, length: int | None = None, comment: str = ""
    ) -> None:
        """Write a packet; `length` is that on the wire, if it is more than the frame's."""
        head = struct.pack(
            "<IIIII",
            interface,
            t_ns >> 32,
            t_ns & 0xFFFFFFFF,
            len(frame),
            len(frame) if length is None else length,
        )
        options = _options([(OPTION_COMMENT, clean(comment).encode())]) if comment else b""
        self._block(PACKET, head + _filled(frame) + options)


def _filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _options(options: Iterable[tuple[int, bytes]]) -> bytes:
    written = b"".join(
        struct.pack("<HH", code, len(cut)) + _filled(cut)
        for code, value in options
        for cut in [value[:_LONGEST_OPTION]]
    )
    return written + bytes(4)


def _describe(writer: PcapngWriter, capture: Capture, name: str = "") -> int:
    """Describe a capture's interfaces, all by this name or each by its own, and give the first's number."""
    numbers = []
    for one in capture.interfaces or (Interface("", 1, 262_144),):
        own = one.name if one.name.startswith(capture.host) else capture.host
        numbers.append(writer.interface(name or own, one.link_type, one.snap_length))
    return numbers[0]


def _frames(capture: Capture, first: int) -> Iterator[tuple[int, int, str, int, bytes, int, str]]:
    """(t_ns, interface, host, position, frame, length on the wire, own comment) of each packet.

    `first` is the number of its interface 0.
    """
    try:
        with opened(capture.path, CAPTURE) as file:
            for i, (t_ns, offset, held, length, interface) in enumerate(
                zip(
                    capture.t_ns,
                    capture.offset,
                    capture.captured,
                    capture.original,
                    capture.interface,
                    strict=True,
                )
            ):
                file.seek(offset)
                own = capture.comments.get(i, "")
                yield t_ns, first + interface, capture.host, i, file.read(held), length, own
    except OSError as error:
        raise CaptureError(f"{capture.path}: cannot be read: {error.strerror or error}") from error


def convert(host: str, boots: Mapping[int, Path], target: Path) -> Capture:
    """Put a host's captures, by boot from 1, into one pcapng file, and give its content.

    Each boot is an interface: `server`, `server (boot 2)`. A truncated capture is used up to its last whole
    packet. Raises `CaptureError` for an unreadable one.
    """
    with PcapngWriter(target) as writer:
        for boot, path in sorted(boots.items()):
            capture = read_capture(path, host)
            first = _describe(writer, capture, interface_name(host, boot))
            for t_ns, interface, _, _, frame, length, own in _frames(capture, first):
                writer.packet(interface, t_ns, frame, length=length, comment=own)
    return read_capture(target, host)


def merge(
    captures: Sequence[Capture], target: Path, comments: Mapping[tuple[str, int], str] | None = None
) -> None:
    """One pcapng file of several hosts' captures in order of time, an interface for each host and boot.

    `comments` are added to the packets: by host and frame number.
    """
    said = comments or {}
    with PcapngWriter(target) as writer:
        streams = [_frames(capture, _describe(writer, capture)) for capture in captures]
        for t_ns, interface, host, i, frame, length, own in heapq.merge(*streams, key=lambda item: item[:2]):
            comment = "; ".join(filter(None, (own, said.get((host, i + 1), ""))))
            writer.packet(interface, t_ns, frame, length=length, comment=comment)
