"""The filter on a host's way out, run here as the kernel runs it: what it passes and what it drops."""

from __future__ import annotations

import struct

import pytest

from images.host.lab_agent.guard import bytecode
from tests.unit.evidence_frames import MACS, WIRE_MAC, ethernet, mac

WIRE = "198.18.1.2"
PASS, DROP = 0, 2


def verdict(frame: bytes, text: str) -> int:
    """Classic BPF with the four instructions that the filter has; a load past the end ends it with 0."""
    count, *lines = text.split(",")
    program = [tuple(map(int, line.split())) for line in lines]
    assert int(count) == len(program)
    at, register = 0, 0
    while True:
        code, yes, no, value = program[at]
        at += 1
        if code == 6:
            return value
        if code == 21:
            at += yes if register == value else no
            continue
        size = {32: 4, 40: 2}[code]
        if value + size > len(frame):
            return 0
        register = int.from_bytes(frame[value : value + size], "big")


def arp(asked: str, operation: int = 1) -> bytes:
    target = bytes(map(int, asked.split(".")))
    ends = mac(MACS["client"]), bytes(4), bytes(6), target
    return struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, *ends)


CLIENT, SERVER, EVERYBODY = MACS["client"], MACS["server"], "ff:ff:ff:ff:ff:ff"


@pytest.mark.parametrize(
    ("target", "kind", "payload", "wanted"),
    [
        (WIRE_MAC, 0x0800, bytes(60), PASS),
        (WIRE_MAC, 0x0806, arp("198.18.1.77", 2), PASS),  # an answer to the wire's own question
        (EVERYBODY, 0x0806, arp(WIRE), PASS),
        (EVERYBODY, 0x0806, arp("198.18.1.11"), DROP),  # past the wire to another host
        (EVERYBODY, 0x0806, arp("192.0.2.1"), DROP),
        (SERVER, 0x0800, bytes(60), DROP),
        (SERVER, 0x86DD, bytes(60), DROP),
        (EVERYBODY, 0x0800, bytes(60), DROP),
        ("01:00:5e:00:00:fb", 0x0800, bytes(60), DROP),
        ("33:33:00:00:00:01", 0x86DD, bytes(60), DROP),
        (WIRE_MAC[:-2] + "03", 0x0800, bytes(60), DROP),
        ("03" + WIRE_MAC[2:], 0x0800, bytes(60), DROP),
    ],
)
def test_only_to_the_wire(target: str, kind: int, payload: bytes, wanted: int) -> None:
    frame = ethernet(payload, kind=kind, source=CLIENT, target=target)
    assert verdict(frame, bytecode(WIRE_MAC, WIRE)) == wanted
