"""Packets of one capture: compact columns, and `Packet` objects made from them on demand.

A capture of a million packets as a million objects would take a gigabyte; as columns it takes 150 MB. Passes
over a whole capture use the columns, everything else asks for `Packet`s. Payloads stay in the file.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from socket import AF_INET, inet_ntop
from typing import NamedTuple, overload

from msgspec import Struct

from lab.errors import LabError
from lab.evidence.decode import quoted
from lab.evidence.flags import ACK as ACK
from lab.evidence.flags import FIN as FIN
from lab.evidence.flags import RST as RST
from lab.evidence.flags import SYN as SYN
from lab.evidence.flags import flag_names
from lab.evidence.options import TcpOptions
from lab.evidence.protocols import ICMP as ICMP
from lab.evidence.protocols import ICMPV6 as ICMPV6
from lab.evidence.protocols import PROTOCOL_NAMES, Quoted
from lab.evidence.protocols import ROW as ROW
from lab.evidence.protocols import TCP as TCP
from lab.evidence.protocols import UDP as UDP
from lab.evidence.protocols import protocol_name as protocol_name
from lab.files import CAPTURE, opened
from lab.verdict import PacketRef

_IP = 16  #: where the IP header begins in a row; 4-byte aligned so that columns can be cut out by casting
_L4 = 36
RESERVED = 0xF0000000  #: address numbers from here on are not plain IPv4 addresses


class _Addresses(dict[int, str]):
    """Texts of address numbers; plain IPv4 ones are made on demand."""

    def __missing__(self, number: int) -> str:
        text = self[number] = inet_ntop(AF_INET, number.to_bytes(4, "big"))
        return text


class CaptureError(LabError):
    """A capture file cannot be read, or is not one."""


class Packet(NamedTuple):
    """One packet in one capture. Ports are 0 if the protocol has none; seq, ack, flags and window are 0 if it
    is not TCP. `window` is the raw field; see `Segment.window` for the scaled one."""

    capture: Capture
    position: int  #: position in `capture`, from 0
    t_ns: int  #: CLOCK_REALTIME of the capturing host's kernel
    source: str  #: address as text
    target: str
    protocol: str  #: tcp, udp, icmp, icmpv6, arp, otherwise ip-<n> or ether-<type>
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    payload_len: int  #: TCP and UDP data bytes by the headers, even if the capture holds less

    def __repr__(self) -> str:
        return f"<{self.capture.host}#{self.number} {self.summary}>"

    @property
    def number(self) -> int:
        """Frame number in the capture file, from 1, as Wireshark counts."""
        return self.position + 1

    @property
    def host(self) -> str:
        """The host whose capture this is."""
        return self.capture.host

    @property
    def ref(self) -> PacketRef:
        return PacketRef(self.capture.host, self.position + 1)

    @property
    def flag_names(self) -> tuple[str, ...]:
        return flag_names(self.flags)

    @property
    def ip_id(self) -> int:
        return self.capture.ip_id(self.position)

    @property
    def ttl(self) -> int:
        return self.capture.ttl(self.position)

    @property
    def urgent(self) -> int:
        """The urgent pointer of TCP: from `seq` to just after the urgent byte."""
        return self.capture.urgent(self.position)

    @property
    def length(self) -> int:
        """Bytes of the frame on the wire."""
        return self.capture.original[self.position]

    @property
    def options(self) -> TcpOptions:
        return TcpOptions.parse(self.capture.option_bytes(self.position))

    @property
    def icmp_type(self) -> int | None:
        return self.capture.icmp(self.position)[0]

    @property
    def icmp_code(self) -> int | None:
        return self.capture.icmp(self.position)[1]

    @property
    def quoted(self) -> Quoted | None:
        """What an ICMP error quotes; None for other packets and where too little was quoted."""
        return self.capture.quoted(self.position)

    @property
    def fragment(self) -> tuple[int, bool] | None:
        """Offset in bytes and "more follow" of an IP fragment, None for a whole packet."""
        return self.capture.fragments.get(self.position)

    def frame(self) -> bytes:
        """The captured bytes of the frame, read from the file."""
        return self.capture.frame(self.position)

    def payload(self) -> bytes:
        """The captured data bytes of TCP and UDP, otherwise the bytes after the IP header."""
        return self.capture.payload(self.position)

    @property
    def summary(self) -> str:
        """One readable line: `10.0.0.1:5 > 10.0.0.2:80 SYN seq=1 win=64240 len=0`."""
        if self.protocol == "tcp":
            flags = ",".join(self.flag_names) or "none"
            return (
                f"{self.source}:{self.sport} > {self.target}:{self.dport} {flags}"
                f" seq={self.seq} ack={self.ack} win={self.window} len={self.payload_len}"
            )
        if self.protocol == "udp":
            return f"{self.source}:{self.sport} > {self.target}:{self.dport} udp len={self.payload_len}"
        if self.icmp_type is not None:
            return (
                f"{self.source} > {self.target} {self.protocol} type={self.icmp_type} code={self.icmp_code}"
            )
        return f"{self.source} > {self.target} {self.protocol}"


class Interface(Struct, frozen=True):
    """One interface of a pcapng file, or the only one of a pcap file."""

    name: str  #: "" where the file names none
    link_type: int  #: 1 is Ethernet
    snap_length: int
    ticks_per_second: int = 1_000_000
    offset_s: int = 0  #: added to each stamp (if_tsoffset)

    @property
    def plain(self) -> bool:
        """Whether timestamps in the file are nanoseconds since 1970."""
        return self.ticks_per_second == 1_000_000_000 and self.offset_s == 0


@dataclass(eq=False)
class Capture(Sequence[Packet]):
    """All packets of one host, in file order. Made by `lab.evidence.reader.read_capture`.

    The columns have one entry for each packet. `address` gives the text of an address number.
    """

    host: str
    path: Path
    interfaces: tuple[Interface, ...]
    truncated: bool  #: the file ends inside a packet or holds garbage: read up to that point
    note: str = ""  #: why it is truncated
    #: columns
    t_ns: array[int] = field(default_factory=lambda: array("q"), repr=False)
    offset: array[int] = field(default_factory=lambda: array("q"), repr=False)  #: of the frame in the file
    captured: array[int] = field(default_factory=lambda: array("I"), repr=False)
    original: array[int] = field(default_factory=lambda: array("I"), repr=False)
    interface: array[int] = field(default_factory=lambda: array("B"), repr=False)
    source: array[int] = field(default_factory=lambda: array("I"), repr=False)
    target: array[int] = field(default_factory=lambda: array("I"), repr=False)
    protocol: array[int] = field(default_factory=lambda: array("H"), repr=False)  #: IP's number or ethertype
    sport: array[int] = field(default_factory=lambda: array("H"), repr=False)
    dport: array[int] = field(default_factory=lambda: array("H"), repr=False)
    seq: array[int] = field(default_factory=lambda: array("I"), repr=False)
    ack: array[int] = field(default_factory=lambda: array("I"), repr=False)
    flags: array[int] = field(default_factory=lambda: array("B"), repr=False)
    window: array[int] = field(default_factory=lambda: array("H"), repr=False)
    payload_len: array[int] = field(default_factory=lambda: array("I"), repr=False)
    digest: array[int] = field(default_factory=lambda: array("q"), repr=False)
    """A hash of the IP packet without TTL and header checksum: equal for the same packet in two captures of
    one process, but not across processes."""
    rows: bytearray = field(default_factory=bytearray, repr=False)  #: `ROW` bytes a packet
    other_addresses: dict[int, str] = field(default_factory=dict, repr=False)  #: numbers from RESERVED on
    fragments: dict[int, tuple[int, bool]] = field(default_factory=dict, repr=False)
    l3: dict[int, int] = field(default_factory=dict, repr=False)  #: offset of the IP header where not 14
    l4: dict[int, int] = field(default_factory=dict, repr=False)  #: offset of the transport header, not 34
    comments: dict[int, str] = field(default_factory=dict, repr=False)  #: packet comments of a pcapng file

    def __len__(self) -> int:
        return len(self.t_ns)

    @overload
    def __getitem__(self, index: int) -> Packet: ...
    @overload
    def __getitem__(self, index: slice) -> list[Packet]: ...
    def __getitem__(self, index: int | slice) -> Packet | list[Packet]:
        if isinstance(index, slice):
            return [self.packet(i) for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"{self.host}: packet {index + 1} of {len(self)}")
        return self.packet(index)

    def packet(self, i: int) -> Packet:
        """`self[i]` without a range check, faster."""
        texts = self._texts
        return Packet(
            self,
            i,
            self.t_ns[i],
            texts[self.source[i]],
            texts[self.target[i]],
            PROTOCOL_NAMES[self.protocol[i]],
            self.sport[i],
            self.dport[i],
            self.seq[i],
            self.ack[i],
            self.flags[i],
            self.window[i],
            self.payload_len[i],
        )

    @cached_property
    def _texts(self) -> dict[int, str]:
        return _Addresses(self.other_addresses)

    def address(self, number: int) -> str:
        """The text of an address number of the `source` and `target` columns."""
        return self._texts[number]

    def number_of(self, address: str) -> int | None:
        """The address number of a text, None if no packet has it."""
        return self._numbers.get(address)

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {self.address(number): number for number in {*self.source, *self.target}}

    def ip_id(self, index: int) -> int:
        at = index * ROW + _IP + 4
        return int.from_bytes(self.rows[at : at + 2], "big")

    def ip_payload(self, index: int) -> int:
        """Bytes after the IP header of a packet with a plain IP header, by its length field."""
        at = index * ROW + _IP
        return max(0, int.from_bytes(self.rows[at + 2 : at + 4], "big") - (self.rows[at] & 15) * 4)

    def ttl(self, index: int) -> int:
        return self.rows[index * ROW + _IP + 8]

    def urgent(self, index: int) -> int:
        at = index * ROW + _L4 + 18
        return int.from_bytes(self.rows[at : at + 2], "big")

    def icmp(self, index: int) -> tuple[int | None, int | None]:
        """Type and code of an ICMP or ICMPv6 packet."""
        if self.protocol[index] not in (ICMP, ICMPV6):
            return None, None
        at = index * ROW + _L4
        return self.rows[at], self.rows[at + 1]

    def quoted(self, index: int) -> Quoted | None:
        """What an ICMP error quotes; None for other packets and where too little was quoted."""
        kind, _ = self.icmp(index)
        if kind is None:
            return None
        return quoted(self.protocol[index], kind, self.frame(index)[self.l4.get(index, 34) + 8 :])

    def tos(self, index: int) -> int:
        """The type of service byte, in IPv6 the traffic class: DSCP and ECN."""
        return self.rows[index * ROW + _IP + 1]

    def ip_length(self, index: int) -> int:
        """Bytes of the IP packet with its header, by its length field."""
        at = index * ROW + _IP
        length = int.from_bytes(self.rows[at + 2 : at + 4], "big")
        return length + 40 if self.rows[at] >> 4 == 6 else length

    def option_bytes(self, index: int) -> bytes:
        """The raw TCP options; b"" for other packets."""
        if self.protocol[index] != TCP:
            return b""
        at = index * ROW + _L4
        length = (self.rows[at + 12] >> 4) * 4
        held = self.captured[index] - self.l4.get(index, 34)
        return bytes(self.rows[at + 20 : at + max(20, min(length, held))])

    def frame(self, index: int) -> bytes:
        """The captured bytes of one frame, from the file. Raises `CaptureError` if the file has changed."""
        try:
            with opened(self.path, CAPTURE) as file:
                file.seek(self.offset[index])
                data = file.read(self.captured[index])
        except OSError as error:
            raise CaptureError(f"{self.path}: frame {index + 1} cannot be read: {error.strerror}") from error
        if len(data) != self.captured[index]:
            raise CaptureError(f"{self.path}: frame {index + 1}: the file is shorter than when it was read")
        return data

    def payload_offset(self, index: int) -> int:
        """Where the payload begins in the frame."""
        start = self.l4.get(index, 34)
        if self.protocol[index] == TCP:
            start += (self.rows[index * ROW + _L4 + 12] >> 4) * 4
        elif self.protocol[index] == UDP:
            start += 8
        return start

    def payload(self, index: int) -> bytes:
        start = self.payload_offset(index)
        return self.frame(index)[start : start + self.payload_len[index]]


def interface_name(host: str, boot: int) -> str:
    """The name of a host's interface in the lab's pcapng files: `server`, `server (boot 2)`."""
    return host if boot == 1 else f"{host} (boot {boot})"
