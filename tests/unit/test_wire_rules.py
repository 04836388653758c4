"""lab.wire.rules: which packets a drop rule takes, by running its BPF program on packets."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.errors import WireError
from lab.packet_words import FLAGS, ICMP_WORDS, MATCHES, Bounds, HeaderMatch, PacketMatch
from lab.wire import rules
from lab.wire.rules import DropRule, Instruction

A, B = IPv4Address("198.18.7.10"), IPv4Address("198.18.7.11")


def run(program: tuple[Instruction, ...], packet: bytes, mark: int) -> bool:
    """A classic BPF machine, as the kernel documents it; a load from outside of the packet says no."""
    a = x = 0
    memory = [0] * 16
    at = 0
    while True:
        code, jt, jf, k = program[at].code, program[at].jt, program[at].jf, program[at].k
        at += 1
        try:
            if code == 0x06:
                return k != 0
            if code == 0x20 and k == 0xFFFFF014:
                a = mark
            elif code == 0x28:
                a = struct.unpack_from("!H", packet, k)[0]
            elif code == 0x30:
                a = packet[k]
            elif code == 0x48:
                a = struct.unpack_from("!H", packet, x + k)[0]
            elif code == 0x50:
                a = packet[x + k]
            elif code == 0xB1:
                x = 4 * (packet[k] & 15)
            elif code == 0x00:
                a = k
            elif code == 0x02:
                memory[k] = a
            elif code == 0x61:
                x = memory[k]
            elif code == 0x1C:
                a = (a - x) % 2**32
            elif code == 0x54:
                a &= k
            elif code == 0x74:
                a >>= k
            elif code == 0x05:
                at += k
            else:
                true = {0x15: a == k, 0x25: a > k, 0x35: a >= k, 0x45: bool(a & k)}[code]
                at += jt if true else jf
        except (IndexError, struct.error):
            return False


def tcp(
    flags: int, payload: bytes = b"", options: bytes = b"", ip_options: bytes = b"", offset: int = 0
) -> bytes:
    segment = dpkt.tcp.TCP(sport=1, dport=2, flags=flags & 0xFF, win=8192, data=payload)
    segment.opts = options
    segment.off = 5 + len(options) // 4
    packet = dpkt.ip.IP(src=A.packed, dst=B.packed, p=6, ttl=63, data=segment, offset=offset)
    packet.opts = ip_options
    packet.hl = 5 + len(ip_options) // 4
    packet.len = len(packet)
    return bytes(packet)


def udp(payload: bytes) -> bytes:
    datagram = dpkt.udp.UDP(sport=1, dport=2, ulen=8 + len(payload), data=payload)
    packet = dpkt.ip.IP(src=A.packed, dst=B.packed, p=17, ttl=63, data=datagram)
    packet.len = len(packet)
    return bytes(packet)


def icmp(kind: int, code: int) -> bytes:
    message = dpkt.icmp.ICMP(type=kind, code=code, data=b"12345678")
    packet = dpkt.ip.IP(src=A.packed, dst=B.packed, p=1, ttl=63, data=message)
    packet.len = len(packet)
    return bytes(packet)


FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


def expected(match: PacketMatch, flags: int, length: int) -> bool:
    """SCENARIO's words, written out."""
    if isinstance(match, tuple):
        return flags == sum(FLAGS[flag] for flag in match)
    if match in ICMP_WORDS:
        return False
    return {
        "syn": bool(flags & SYN) and not flags & ACK,
        "syn-ack": bool(flags & SYN) and bool(flags & ACK),
        "fin": bool(flags & FIN),
        "rst": bool(flags & RST),
        "data": length > 0,
        "ack": flags & 0x3F == ACK and length == 0,
        "any": True,
    }[str(match)]


@settings(max_examples=60)
@given(
    flags=st.integers(0, 255),
    payload=st.binary(max_size=5),
    options=st.sampled_from([b"", b"\1" * 4, b"\1" * 40]),
    ip_options=st.sampled_from([b"", b"\1" * 4]),
)
def test_every_match_takes_what_scenario_says(
    flags: int, payload: bytes, options: bytes, ip_options: bytes
) -> None:
    packet = tcp(flags, payload, options, ip_options)
    for match in MATCHES:
        assert run(rules.program(match, 1), packet, 1) == expected(match, flags, len(payload)), match
    for given_flags in (("syn",), ("ack",), ("fin", "ack"), ("psh", "ack"), ("syn", "ece", "cwr")):
        exact = rules.normal(given_flags)
        assert run(rules.program(exact, 1), packet, 1) == expected(exact, flags, 0)


def test_udp_is_any_and_data() -> None:
    takes = {match: run(rules.program(match, 1), udp(b"x"), 1) for match in MATCHES}
    assert {match for match, took in takes.items() if took} == {"any", "data"}
    assert not run(rules.program("data", 1), udp(b""), 1)


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        (8, 0, {"echo"}),
        (0, 0, {"echo"}),
        (3, 3, {"unreachable"}),
        (3, 4, {"unreachable", "frag-needed"}),
        (11, 0, {"ttl-exceeded"}),
        (11, 1, set()),
        (5, 1, set()),
    ],
)
def test_icmp_by_type_and_code(kind: int, code: int, words: set[str]) -> None:
    takes = {match: run(rules.program(match, 1), icmp(kind, code), 1) for match in MATCHES}
    assert {match for match, took in takes.items() if took} == {"any", "icmp", *words}


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        (HeaderMatch(flags=("syn",)), tcp(SYN), tcp(SYN | ACK)),
        (HeaderMatch(window=Bounds(8192, 8192)), tcp(ACK), udp(b"x")),
        (HeaderMatch(ttl=Bounds(64, 64)), tcp(ACK), tcp(ACK).replace(b"\x3f\x06", b"\x3e\x06", 1)),
        (HeaderMatch(ttl=Bounds(None, 63)), tcp(ACK).replace(b"\x3f\x06", b"\x3e\x06", 1), tcp(ACK)),
        (HeaderMatch(tos=Bounds(16, 16)), b"\x45\x10" + udp(b"x")[2:], udp(b"x")),
        (HeaderMatch(length=Bounds(1000, None)), udp(b"x" * 972), udp(b"x" * 971)),
        (HeaderMatch(length=Bounds(None, 999)), tcp(ACK, offset=185 * 8), udp(b"x" * 972)),
        (HeaderMatch(flags=("ack",), length=Bounds(41, None)), tcp(ACK, b"x"), tcp(ACK)),
        (HeaderMatch(window=Bounds(0, None)), tcp(ACK), tcp(ACK, offset=185 * 8)),
    ],
)
def test_fields_of_the_headers(match: HeaderMatch, yes: bytes, no: bytes) -> None:
    bytecode = rules.program(match, 1)
    assert run(bytecode, yes, 1)
    assert not run(bytecode, no, 1)
    assert not run(bytecode, yes, 0)


def test_the_longest_program_is_one_that_netfilter_takes() -> None:
    both = Bounds(1, 2)
    match = HeaderMatch(("syn",), "mss", both, both, both, both)
    assert len(rules.program(match, 1)) <= 64  # XT_BPF_MAX_NUM_INSTR


def test_an_option_is_asked_of_iptables_and_two_kinds_share_a_bucket() -> None:
    lines = DropRule(2, A, B, HeaderMatch(option="sack"), 12).lines()
    assert [line.split("--tcp-option ")[1].split()[0] for line in lines] == ["4", "5", "4", "5"]
    names = [line.split("--hashlimit-name ")[1].split()[0] for line in lines]
    assert names == ["lab-2-0", "lab-2-0", "lab-2-1", "lab-2-1"]


def test_the_second_piece_of_a_packet_has_no_flags_to_look_at() -> None:
    piece = tcp(SYN, b"x", offset=185 * 8)
    takes = {match: run(rules.program(match, 1), piece, 1) for match in MATCHES}
    assert {match for match, took in takes.items() if took} == {"any"}


@pytest.mark.parametrize("match", [*MATCHES, ("ack",)])
def test_what_came_in_before_the_rule_is_spared(match: PacketMatch) -> None:
    packets = [tcp(flags, payload) for flags in (SYN, SYN | ACK, FIN, RST, ACK) for payload in (b"", b"x")]
    program = rules.program(match, 3)
    packets.append(icmp(8, 0))
    packets.append(icmp(3, 4))
    packets.append(icmp(11, 0))
    assert not any(run(program, packet, mark) for packet in packets for mark in (0, 1, 2))
    assert any(run(program, packet, 3) for packet in packets)
    assert any(run(program, packet, 4) for packet in packets)


def test_one_order_of_flags_and_no_others() -> None:
    assert rules.normal(["ACK", "syn"]) == rules.normal(("SYN", "ack")) == ("syn", "ack")
    assert rules.normal("data") == "data"
    with pytest.raises(
        WireError, match=r"'sny' is not a match: syn, syn-ack, fin, rst, data, ack, any, icmp"
    ):
        rules.normal("sny")
    with pytest.raises(WireError, match=r"\['sny'\] is not a list of TCP flags: they are fin, syn, rst,"):
        rules.normal(["sny"])
    with pytest.raises(WireError):
        rules.normal([])


@settings(max_examples=20)
@given(st.integers(1, 300))
def test_the_buckets_of_a_rule_hold_its_count(count: int) -> None:
    lines = DropRule(4, A, B, "syn", count).lines()
    bursts = [int(line.split("--hashlimit-burst ")[1].split()[0]) for line in lines]
    names = [line.split("--hashlimit-name ")[1].split()[0] for line in lines]
    assert sum(bursts) == count
    assert max(bursts) <= rules.PER_RULE
    assert len(set(names)) == len(names)
    # A bucket holds one day of tokens: the rate must be its size, or the kernel cuts it.
    assert all(f"--hashlimit-upto {n}/day" in line for line, n in zip(lines, bursts, strict=True))


@pytest.mark.parametrize("count", [0, -1, 10_001])
def test_a_count_that_cannot_be_counted_is_refused(count: int) -> None:
    with pytest.raises(WireError, match=r"1 to 10,000 can be counted"):
        DropRule(1, A, B, "any", count).lines()


def test_one_rule_as_iptables_restore_reads_it() -> None:
    assert rules.restore_input([DropRule(1, A, B, "any", 2)]) == [
        "*filter",
        '-A FORWARD -s 198.18.7.10/32 -d 198.18.7.11/32 -m bpf --bytecode "4,32 0 0 4294963220,53 0 1 1,'
        '6 0 0 1,6 0 0 0" -m hashlimit --hashlimit-upto 2/day --hashlimit-burst 2 --hashlimit-name lab-1-0'
        " --hashlimit-htable-expire 2000000000 -j DROP",
        "COMMIT",
    ]


def test_counts_are_read_by_rule() -> None:
    saved = [
        "# Generated by iptables-save v1.8.9 on Sun Nov 22 15:00:43 2026",
        "*filter",
        ":FORWARD ACCEPT [22:1848]",
        '[3:252] -A FORWARD -s 198.18.79.10/32 -d 198.18.79.11/32 -m bpf --bytecode "4,32 0 0 4294963220"'
        " -m hashlimit --hashlimit-upto 3/day --hashlimit-burst 3 --hashlimit-name lab-1-0"
        " --hashlimit-htable-expire 2000000000 -j DROP",
        "[10:840] -A FORWARD -m hashlimit --hashlimit-name lab-2-0 --hashlimit-htable-expire 1 -j DROP",
        "[2:168] -A FORWARD -m hashlimit --hashlimit-name lab-2-1 --hashlimit-htable-expire 1 -j DROP",
        "[0:0] -A FORWARD -m hashlimit --hashlimit-name lab-3-0 --hashlimit-htable-expire 1 -j DROP",
        "[7:0] -A FORWARD -s 198.18.79.9/32 -j DROP",
        "COMMIT",
    ]
    assert rules.dropped(saved) == {1: 3, 2: 12, 3: 0}
