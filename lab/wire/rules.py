"""Exact drops: the next n packets from a to b that match, as rules for iptables-restore.

A rule tests, in this order: source and destination; a TCP option, if one is asked for; a small BPF program
(the mark by which the ingress filter shows that the packet came in after the rule was made, header fields,
payload); a token bucket that starts with n tokens.

The bucket is `hashlimit`, not `limit`, because iptables-legacy rewrites the whole table for every added
rule, which gives every other rule's `limit` its tokens back (a used-up rule would drop again); a hashlimit
bucket has a name and survives that. It holds at most one day's worth of tokens (2^64 credits), so n tokens
mean n a day: one token comes back after 24 h / n. Ten tokens per rule keep it exact for 2.4 hours; more than
ten packets take several rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from lab.attachment import Address
from lab.errors import WireError
from lab.link import LARGEST_DROP
from lab.packet_words import FLAGS, ICMP_WORDS, MATCHES, TCP_OPTIONS, Bounds, HeaderMatch, PacketMatch

_CLASSIC = 0x3F  #: the TCP flags without the two of ECN

#: Tokens per rule.
PER_RULE = 10

_ICMP, _TCP, _UDP = 1, 6, 17

# Classic BPF, as `struct sock_filter` has it.
_LD_W, _LD_H, _LD_B = 0x20, 0x28, 0x30  # A = packet[k]
_LD_H_IND, _LD_B_IND = 0x48, 0x50  # A = packet[X + k]
_LDX_MSH = 0xB1  # X = 4 * (packet[k] & 15): the length of the IP header
_ST, _LDX_MEM = 0x02, 0x61  # M[k] = A, X = M[k]
_SUB_X, _AND_K, _RSH_K = 0x1C, 0x54, 0x74
_LD_K = 0x00  # A = k
_JA, _JEQ, _JGT, _JGE, _JSET = 0x05, 0x15, 0x25, 0x35, 0x45
_RET = 0x06
#: Where the kernel keeps the packet's mark for a BPF program: SKF_AD_OFF + SKF_AD_MARK.
_MARK = 0xFFFFF000 + 20


class Instruction(Struct, frozen=True):
    code: int
    jt: int
    jf: int
    k: int

    def __str__(self) -> str:
        return f"{self.code} {self.jt} {self.jf} {self.k}"


class _Assembler:
    """Instructions with labels to jump to; `yes` and `no` are the two ends."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, str, str]] = []
        self._labels: dict[str, int] = {}

    def do(self, code: int, k: int = 0) -> None:
        self._lines.append((code, k, "", ""))

    def jump(self, code: int, k: int, *, true: str = "", false: str = "") -> None:
        """Adds a jump; without a label it goes on to the next line."""
        self._lines.append((code, k, true, false))

    def label(self, name: str) -> None:
        self._labels[name] = len(self._lines)

    def program(self) -> tuple[Instruction, ...]:
        end = len(self._lines)
        labels = self._labels | {"yes": end, "no": end + 1}
        return (
            *(self._resolved(at, labels) for at in range(end)),
            Instruction(_RET, 0, 0, 1),
            Instruction(_RET, 0, 0, 0),
        )

    def _resolved(self, at: int, labels: Mapping[str, int]) -> Instruction:
        code, k, true, false = self._lines[at]
        if code == _JA:
            return Instruction(code, 0, 0, labels[true] - at - 1)
        jt, jf = (labels[label] - at - 1 if label else 0 for label in (true, false))
        return Instruction(code, jt, jf, k)


def normal(match: PacketMatch | Sequence[str]) -> PacketMatch:
    """The match in its normal form, flags in header order. Raises `WireError` if it is not a match."""
    if isinstance(match, HeaderMatch):
        return match
    if isinstance(match, str):
        if match not in MATCHES:
            raise WireError(
                f"{match!r} is not a match: {', '.join(MATCHES)}, a list of flags or header fields"
            )
        return match
    wrong = [flag for flag in match if flag.lower() not in FLAGS]
    if wrong or not match:
        raise WireError(f"{list(match)!r} is not a list of TCP flags: they are {', '.join(FLAGS)}")
    given = {flag.lower() for flag in match}
    return tuple(flag for flag in FLAGS if flag in given)


def program(match: PacketMatch, mark: int) -> tuple[Instruction, ...]:
    """A BPF program over an IPv4 packet: 1 if its mark is at least `mark` and it matches, otherwise 0.

    Only the first fragment of a packet has a TCP header to test; `any` takes every fragment.
    """
    code = _Assembler()
    code.do(_LD_W, _MARK)
    code.jump(_JGE, mark, false="no")
    if isinstance(match, HeaderMatch):
        _header(code, match)
    elif match in ICMP_WORDS:
        _icmp(code, str(match))
    elif match != "any":
        _first_piece(code)
        code.do(_LDX_MSH, 0)
        code.do(_LD_B, 9)
        if match == "data":
            _data(code)
        else:
            code.jump(_JEQ, _TCP, false="no")
            code.do(_LD_B_IND, 13)
            _flags(code, match)
    return code.program()


def _flags(code: _Assembler, match: str | tuple[str, ...]) -> None:
    """Tests the flags; A holds them."""
    if match in ("syn", "syn-ack"):
        code.do(_AND_K, FLAGS["syn"] | FLAGS["ack"])
        code.jump(_JEQ, FLAGS["syn"] | (FLAGS["ack"] if match == "syn-ack" else 0), false="no")
    elif match in ("fin", "rst"):
        code.jump(_JSET, FLAGS[str(match)], false="no")
    elif match == "ack":
        code.do(_AND_K, _CLASSIC)
        code.jump(_JEQ, FLAGS["ack"], false="no")
        _tcp_header(code)
        _payload(code)
        code.jump(_JGT, 0, true="no")
    else:
        code.jump(_JEQ, sum(FLAGS[flag] for flag in match), false="no")


def _first_piece(code: _Assembler) -> None:
    """Accepts whole packets, and the fragment that holds the transport header."""
    code.do(_LD_H, 6)
    code.jump(_JSET, 0x1FFF, true="no")


def _icmp(code: _Assembler, word: str) -> None:
    """Tests for ICMP of some types and codes, or of all."""
    code.do(_LD_B, 9)
    code.jump(_JEQ, _ICMP, false="no")
    wanted = ICMP_WORDS[word]
    if wanted is None:
        return
    _first_piece(code)
    code.do(_LDX_MSH, 0)
    for number, (kind, icmp_code) in enumerate(wanted[0]):
        following = f"kind{number}"
        code.do(_LD_B_IND, 0)
        code.jump(_JEQ, kind, true="" if icmp_code is not None else "yes", false=following)
        if icmp_code is not None:
            code.do(_LD_B_IND, 1)
            code.jump(_JEQ, icmp_code, true="yes")
        code.label(following)
    code.jump(_JA, 0, true="no")


def _header(code: _Assembler, match: HeaderMatch) -> None:
    """Tests each named field; another match of iptables tests the options."""
    if match.length is not None:
        code.do(_LD_H, 2)
        _within(code, match.length)
    if match.tos is not None:
        code.do(_LD_B, 1)
        _within(code, match.tos)
    if match.ttl is not None:  # the router has decremented it before a packet comes here
        limits = (match.ttl.min, match.ttl.max)
        code.do(_LD_B, 8)
        _within(code, Bounds(*(None if limit is None else max(0, limit - 1) for limit in limits)))
    if match.of_tcp:
        _first_piece(code)
        code.do(_LD_B, 9)
        code.jump(_JEQ, _TCP, false="no")
        code.do(_LDX_MSH, 0)
        if match.window is not None:
            code.do(_LD_H_IND, 14)
            _within(code, match.window)
        if match.flags is not None:
            code.do(_LD_B_IND, 13)
            code.jump(_JEQ, sum(FLAGS[flag] for flag in match.flags), false="no")


def _within(code: _Assembler, bounds: Bounds) -> None:
    """Tests the value; A holds it."""
    if bounds.min is not None:
        code.jump(_JGE, bounds.min, false="no")
    if bounds.max is not None:
        code.jump(_JGT, bounds.max, true="no")


def _data(code: _Assembler) -> None:
    """Tests for payload in TCP or UDP; A holds the protocol."""
    code.jump(_JEQ, _TCP, true="tcp")
    code.jump(_JEQ, _UDP, false="no")
    code.do(_LD_K, 8)
    code.do(_ST, 0)
    code.jump(_JA, 0, true="payload")
    code.label("tcp")
    _tcp_header(code)
    code.label("payload")
    _payload(code)
    code.jump(_JGT, 0, false="no")


def _tcp_header(code: _Assembler) -> None:
    """M[0] = bytes of the TCP header; X holds the length of the IP header."""
    code.do(_LD_B_IND, 12)
    code.do(_AND_K, 0xF0)
    code.do(_RSH_K, 2)  # 4 * (offset >> 4)
    code.do(_ST, 0)


def _payload(code: _Assembler) -> None:
    """A = bytes after the two headers."""
    code.do(_LD_H, 2)
    code.do(_SUB_X)
    code.do(_LDX_MEM, 0)
    code.do(_SUB_X)


class DropRule(Struct, frozen=True):
    """A rule that drops the next `count` packets from `source` to `target` that match."""

    mark: int  #: from 1; identifies the rule, and the packets that came in after it was made
    source: Address
    target: Address
    match: PacketMatch
    count: int

    @property
    def id(self) -> str:
        return f"drop{self.mark}"

    def lines(self) -> list[str]:
        """Lines for iptables-restore, without table and COMMIT."""
        if not 1 <= self.count <= LARGEST_DROP:
            raise WireError(f"drop of {self.count} packets: 1 to {LARGEST_DROP:,} can be counted")
        bytecode = program(self.match, self.mark)
        text = ",".join([str(len(bytecode)), *map(str, bytecode)])
        found: list[str] = []
        left, bucket = self.count, 0
        while left > 0:
            part = min(left, PER_RULE)
            left -= part
            for option in self._options():  # alternatives share one bucket through its name
                found.append(
                    f'-A FORWARD -s {self.source}/32 -d {self.target}/32{option} -m bpf --bytecode "{text}"'
                    f" -m hashlimit --hashlimit-upto {part}/day --hashlimit-burst {part}"
                    f" --hashlimit-name lab-{self.mark}-{bucket} --hashlimit-htable-expire 2000000000 -j DROP"
                )
            bucket += 1
        return found

    def _options(self) -> tuple[str, ...]:
        """The matches for a TCP option: a BPF program has no loops to find one."""
        if not isinstance(self.match, HeaderMatch) or self.match.option is None:
            return ("",)
        return tuple(f" -p tcp -m tcp --tcp-option {kind}" for kind in TCP_OPTIONS[self.match.option])


def restore_input(rules: Iterable[DropRule]) -> list[str]:
    """Lines for iptables-restore --noflush: rules appended to the existing ones, which keep their counts."""
    return ["*filter", *(line for rule in rules for line in rule.lines()), "COMMIT"]


_COUNTED = re.compile(r"\[(?P<packets>\d+):\d+\] -A FORWARD .*--hashlimit-name lab-(?P<mark>\d+)-\d+ ")


def dropped(saved: Iterable[str]) -> dict[int, int]:
    """Packets dropped, by each rule's mark, from the lines of `iptables-save -c`; 0 for a rule that never
    fired."""
    found: dict[int, int] = {}
    for line in saved:
        if match := _COUNTED.match(line):
            mark = int(match["mark"])
            found[mark] = found.get(mark, 0) + int(match["packets"])
    return found
