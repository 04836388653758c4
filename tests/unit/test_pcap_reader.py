"""The reader: every format and header it knows, and files that are cut or lie."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from lab.evidence.fits import fits as fits_match
from lab.evidence.packets import CaptureError
from lab.evidence.reader import read_capture
from lab.packet_words import PacketMatch
from tests.unit.evidence_frames import (
    ACK,
    HOSTS,
    PSH,
    SYN,
    T0,
    ethernet,
    ipv4,
    ipv6,
    mac,
    pcap,
    tcp,
    udp,
)

A, B = HOSTS["client"], HOSTS["server"]
FRAME = ethernet(ipv4(tcp(40000, 8001, 7, 9, ACK | PSH, b"hello"), A, B, ip_id=77, ttl=63))


def block(order: str, kind: int, body: bytes) -> bytes:
    total = len(body) + 12
    return struct.pack(order + "II", kind, total) + body + struct.pack(order + "I", total)


def section(order: str) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def interface(order: str, *options: bytes, link: int = 1) -> bytes:
    return block(order, 1, struct.pack(order + "HHI", link, 0, 0) + b"".join(options) + bytes(4))


def packet(order: str, number: int, stamp: int, frame: bytes, *options: bytes) -> bytes:
    head = struct.pack(order + "IIIII", number, stamp >> 32, stamp & 0xFFFFFFFF, len(frame), len(frame))
    tail = b"".join(options) + bytes(4) if options else b""
    return block(order, 6, head + frame + bytes(-len(frame) % 4) + tail)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [True, False])
def test_pcap_of_both_byte_orders_and_resolutions(tmp_path: Path, order: str, nano: bool) -> None:
    path = pcap(
        tmp_path / "x.pcap", [(T0 + 1_234_567, FRAME), (T0 + 2_000_000, FRAME)], order=order, nano=nano
    )
    capture = read_capture(path, "client")
    assert list(capture.t_ns) == [T0 + (1_234_567 if nano else 1_234_000), T0 + 2_000_000]
    assert not capture.truncated
    first = capture[0]
    assert (first.source, first.target, first.sport, first.dport) == (A, B, 40000, 8001)
    assert (first.seq, first.ack, first.flag_names, first.window) == (7, 9, ("PSH", "ACK"), 500)
    assert (first.payload_len, first.payload(), first.ip_id, first.ttl) == (5, b"hello", 77, 63)
    assert (first.number, first.host, first.length) == (1, "client", len(FRAME))
    assert capture.captured[0] == len(FRAME)
    assert first.frame() == FRAME
    assert list(capture) == capture[:] == [capture[0], capture[-1]]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("resolution", "ticks", "t_ns"),
    [
        (b"", T0 // 1000, T0),
        (b"\x09", T0 + 5, T0 + 5),
        (b"\x03", T0 // 10**6, T0),
        (b"\x8a", 3 << 10, 3 * 10**9),  # 2^-10 s
    ],
)
def test_pcapng_resolutions(tmp_path: Path, order: str, resolution: bytes, ticks: int, t_ns: int) -> None:
    options = [option(order, 9, resolution)] if resolution else []
    path = tmp_path / "x.pcapng"
    path.write_bytes(section(order) + interface(order, *options) + packet(order, 0, ticks, FRAME))
    assert list(read_capture(path).t_ns) == [t_ns]


def test_pcapng_sections_interfaces_comments_and_blocks_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    path.write_bytes(
        section("<")
        + interface("<", option("<", 2, b"client"), option("<", 9, b"\x09"))
        + interface("<", option("<", 2, b"client (boot 2)"), option("<", 14, struct.pack("<q", 1000)))
        + block("<", 0xBAD, b"????" * 5)
        + packet("<", 0, T0, FRAME)
        + packet("<", 0, T0 + 1, FRAME, option("<", 1, "Grüße".encode()))
        + packet("<", 1, 5, FRAME)
        + block("<", 3, struct.pack("<I", len(FRAME)) + FRAME + bytes(-len(FRAME) % 4))
        + section(">")
        + interface(">", option(">", 9, b"\x09"))
        + packet(">", 0, T0 + 2, FRAME)
    )
    capture = read_capture(path)
    assert list(capture.t_ns) == [T0, T0 + 1, 1000 * 10**9 + 5000, 0 + 1000 * 0, T0 + 2]
    assert list(capture.interface) == [0, 0, 1, 0, 2]
    assert [i.name for i in capture.interfaces] == ["client", "client (boot 2)", ""]
    assert capture.comments == {1: "Grüße"}
    assert {p.payload() for p in capture} == {b"hello"}
    assert len(set(capture.digest)) == 1


def one(tmp_path: Path, frame: bytes, link: int = 1):  # type: ignore[no-untyped-def]
    return read_capture(pcap(tmp_path / "one.pcap", [(T0, frame)], link=link), "client")[0]


def test_headers_out_of_the_ordinary(tmp_path: Path) -> None:
    segment = tcp(1, 2, 3, 4, ACK, b"data")
    plain = ipv4(segment, A, B)
    frames = {
        "vlan": (ethernet(struct.pack(">HH", 7, 0x0800) + plain, kind=0x8100), 1),
        "cooked": (struct.pack(">HHH8sH", 0, 1, 6, bytes(8), 0x0800) + plain, 113),
        "cooked2": (struct.pack(">HHIHBB8s", 0x0800, 0, 1, 1, 0, 6, bytes(8)) + plain, 276),
        "raw": (plain, 101),
        "options": (ethernet(ipv4(segment, A, B, options=b"\x94\x04\0\0")), 1),
        "padded": (ethernet(plain) + b"\xee" * 20, 1),
    }
    for name, (frame, link) in frames.items():
        packet = one(tmp_path, frame, link)
        seen = (packet.source, packet.target, packet.sport, packet.dport, packet.seq, packet.payload())
        assert seen == (A, B, 1, 2, 3, b"data"), name
    del frames["options"]
    digests = {one(tmp_path, frame, link).capture.digest[0] for frame, link in frames.values()}
    assert digests == {one(tmp_path, ethernet(plain)).capture.digest[0]}  # one and the same packet


def test_ipv6_with_extension_headers(tmp_path: Path) -> None:
    segment = tcp(1, 2, 3, 4, SYN, b"x")
    hop = struct.pack(">BB6x", 6, 0)
    packet = one(
        tmp_path, ethernet(ipv6(hop + segment, "2001:db8::1", "2001:db8::2", following=0), kind=0x86DD)
    )
    assert (packet.source, packet.target, packet.protocol) == ("2001:db8::1", "2001:db8::2", "tcp")
    assert (packet.sport, packet.payload(), packet.ttl) == (1, b"x", 64)
    fragment = struct.pack(">BBHI", 6, 0, 8 << 3 | 1, 99)
    packet = one(tmp_path, ethernet(ipv6(fragment + b"12345678", "::1", "::2", following=44), kind=0x86DD))
    assert packet.fragment == (64, True)


def test_fragments_arp_and_icmp_errors(tmp_path: Path) -> None:
    first = one(tmp_path, ethernet(ipv4(udp(5, 6, b"x" * 16), A, B, protocol=17, fragment=0x2000)))
    assert (first.fragment, first.sport) == ((0, True), 5)
    later = one(tmp_path, ethernet(ipv4(b"y" * 16, A, B, protocol=17, fragment=3)))
    assert (later.fragment, later.sport, later.payload_len) == ((24, False), 0, 16)
    arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + mac("02:00:00:00:00:01") + bytes([198, 18, 1, 10])
    packet = one(tmp_path, ethernet(arp + bytes(6) + bytes([198, 18, 1, 11]), kind=0x0806))
    assert (packet.protocol, packet.source, packet.target) == ("arp", A, B)
    inner = ipv4(udp(40000, 9, b"x"), A, B, protocol=17, ip_id=5)
    packet = one(tmp_path, ethernet(ipv4(struct.pack(">BBHI", 3, 3, 0, 0) + inner, B, A, protocol=1)))
    assert (packet.protocol, packet.icmp_type, packet.icmp_code) == ("icmp", 3, 3)
    assert packet.quoted is not None
    assert (packet.quoted.source, packet.quoted.dport, packet.quoted.ip_id) == (A, 9, 5)


def test_tcp_options(tmp_path: Path) -> None:
    options = (
        struct.pack(">BBH", 2, 4, 1460)
        + b"\x04\x02"
        + struct.pack(">BBII", 8, 10, 111, 222)
        + b"\x01\x03\x03\x07"
        + struct.pack(">BBII", 5, 10, 1000, 2000)
        + b"\x01\x01"
    )
    packet = one(tmp_path, ethernet(ipv4(tcp(1, 2, 3, 4, SYN, options=options), A, B)))
    found = packet.options
    assert (found.mss, found.window_scale, found.sack_permitted) == (1460, 7, True)
    assert (found.sack, found.ts_value, found.ts_echo, found.broken) == (((1000, 2000),), 111, 222, False)
    broken = one(tmp_path, ethernet(ipv4(tcp(1, 2, 3, 4, SYN, options=b"\x02\xff\0\0"), A, B))).options
    assert broken.broken


def test_other_fields_are_zero_where_there_are_none(tmp_path: Path) -> None:
    packet = one(tmp_path, ethernet(ipv4(udp(5, 6, b"\xff" * 40), A, B, protocol=17)))
    assert (packet.seq, packet.ack, packet.flags, packet.window) == (0, 0, 0, 0)
    assert (packet.sport, packet.payload_len) == (5, 40)
    packet = one(tmp_path, ethernet(ipv4(b"\x08\0\xff\xff\x12\x34\0\1", A, B, protocol=1)))
    assert (packet.sport, packet.dport, packet.icmp_type) == (0, 0, 8)


def test_match_words(tmp_path: Path) -> None:
    def fits(flags: int, match: PacketMatch, payload: bytes = b"") -> bool:
        packet = one(tmp_path, ethernet(ipv4(tcp(1, 2, 3, 4, flags, payload), A, B)))
        return fits_match(match)(packet.capture, packet.position)

    assert fits(SYN, "syn")
    assert not fits(SYN | ACK, "syn")
    assert fits(SYN | ACK, "syn-ack")
    assert fits(ACK | 1, "fin")
    assert fits(4, "rst")
    assert fits(ACK, "ack")
    assert not fits(ACK, "ack", b"x")
    assert not fits(ACK | PSH, "ack")
    assert fits(ACK, "data", b"x")
    assert fits(ACK | PSH, ("psh", "ack"))
    assert not fits(ACK | PSH, ("ack",))
    assert fits(0, "any")


def test_a_cut_file_is_read_to_its_last_whole_packet(tmp_path: Path) -> None:
    path = pcap(tmp_path / "x.pcap", [(T0, FRAME), (T0 + 1, FRAME)])
    whole = path.read_bytes()
    size = 16 + len(FRAME)
    for cut in range(24, len(whole)):
        path.write_bytes(whole[:cut])
        capture = read_capture(path)
        assert len(capture) == (cut - 24) // size
        assert capture.truncated == ((cut - 24) % size != 0)
        assert not capture.truncated or "cut" in capture.note


def test_a_cut_pcapng_is_read_to_its_last_whole_block(tmp_path: Path) -> None:
    head = section("<") + interface("<", option("<", 9, b"\x09"))
    blocks = [packet("<", 0, T0, FRAME), packet("<", 0, T0 + 1, FRAME)]
    whole = head + b"".join(blocks)
    path = tmp_path / "x.pcapng"
    for cut in range(len(head), len(whole) + 1):
        path.write_bytes(whole[:cut])
        capture = read_capture(path)
        assert len(capture) == (cut - len(head)) // len(blocks[0])
        assert capture.truncated == ((cut - len(head)) % len(blocks[0]) != 0)


def test_a_length_that_lies_ends_the_reading(tmp_path: Path) -> None:
    path = pcap(tmp_path / "x.pcap", [(T0, FRAME)])
    path.write_bytes(path.read_bytes() + struct.pack("<IIII", 1, 1, 0xFFFFFFFF, 0xFFFFFFFF) + bytes(100))
    capture = read_capture(path)
    assert (len(capture), capture.truncated) == (1, True)
    assert "4294967295" in capture.note


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"GIF89a..", "neither a pcap nor a pcapng"),
        (b"\xd4\xc3\xb2\xa1\x02\x00", "begins with 24"),
        (b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a", "first block"),
        (b"\x0a\x0d\x0d\x0a\x1c\0\0\0????" + bytes(20), "byte order"),
    ],
)
def test_not_a_capture(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=words):
        read_capture(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="No such file"):
        read_capture(tmp_path / "none.pcap")
