"""An egress filter on the interface: only frames for the wire leave the host.

A program needs no privilege to bypass the routes: packets of a socket bound to the interface, broadcasts and
multicasts go directly to the link (all tried). So the last stage before the interface tests each frame: it
passes if it goes to the wire's MAC or is an ARP request for the wire's address, and is dropped otherwise. The
filter is a classifier without a queue (classic BPF at clsact), so no packet waits for it.
"""

from __future__ import annotations

import socket

from .tools import ToolFailed, Tools

_LOAD_WORD, _LOAD_HALF, _EQUAL, _RETURN = 32, 40, 21, 6  # linux/filter.h
_PASS, _DROP = 0, 2  # TC_ACT_OK, TC_ACT_SHOT
_TARGET, _TYPE, _ARP_TARGET = 0, 12, 38  # offsets in a frame
_ARP = 0x0806


def bytecode(wire_mac: str, wire_address: str) -> str:
    """The filter in tc's form: number of instructions, then `code jump-if jump-if-not value` of each."""
    mac = bytes.fromhex(wire_mac.replace(":", ""))
    code = (
        (_LOAD_WORD, 0, 0, _TARGET),
        (_EQUAL, 0, 2, int.from_bytes(mac[:4], "big")),
        (_LOAD_HALF, 0, 0, _TARGET + 4),
        (_EQUAL, 4, 0, int.from_bytes(mac[4:], "big")),
        (_LOAD_HALF, 0, 0, _TYPE),
        (_EQUAL, 0, 3, _ARP),
        (_LOAD_WORD, 0, 0, _ARP_TARGET),
        (_EQUAL, 0, 1, int.from_bytes(socket.inet_aton(wire_address), "big")),
        (_RETURN, 0, 0, _PASS),
        (_RETURN, 0, 0, _DROP),
    )
    return ",".join([str(len(code)), *(" ".join(map(str, line)) for line in code)])


def only_to_the_wire(tools: Tools, interface: str, wire_mac: str, wire_address: str) -> bool:
    """Install the filter; whether tc now shows it. A kernel without cls_bpf or clsact filters nothing; then
    only the captures show a frame that goes around the wire."""
    wanted = bytecode(wire_mac, wire_address)
    lines = (
        f"qdisc replace dev {interface} clsact",
        f"filter replace dev {interface} egress protocol all pref 1 handle 1 bpf direct-action"
        f' bytecode "{wanted}"',
        f"filter show dev {interface} egress",
    )
    try:
        there = tools.run(["tc", "-batch", "-"], "\n".join(lines) + "\n")
    except ToolFailed:
        return False
    return f"'{wanted}'" in there and "direct-action" in there
