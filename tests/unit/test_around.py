"""Frames that went around the wire make a run an error; what engines and bridges say unasked does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from lab.errors import WireError
from lab.evidence.reader import read_capture
from lab.evidence.store import Evidence
from lab.judging.around import went_around
from lab.judging.trust import assess
from tests.unit.evidence_frames import HOSTS, MACS, T0, WIRE_MAC, ethernet, ipv4, pcap, records_of, udp

ARP, VLAN = 0x0806, 0x8100
MACHINE, EVERYBODY, GROUP = "02:42:aa:bb:cc:dd", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:fb"
CLIENT, SERVER = MACS["client"], MACS["server"]


def judged(folder: Path, frames: Mapping[str, list[tuple[str, str, int]]]) -> WireError | None:
    """`frames` are (source, target, ethertype) of a host's capture."""
    packet = ipv4(udp(1, 2, b"data"), HOSTS["client"], HOSTS["server"], protocol=17)
    captures = {}
    for name, headers in frames.items():
        data = [
            (T0 + number, ethernet(packet, kind=kind, source=source, target=target))
            for number, (source, target, kind) in enumerate(headers)
        ]
        captures[name] = read_capture(pcap(folder / f"{name}.pcap", data), name)
    return went_around(Evidence(records_of(), captures))


HONEST = [
    (CLIENT, WIRE_MAC, 0x0800),
    (WIRE_MAC, CLIENT, 0x0800),
    (CLIENT, EVERYBODY, ARP),
    (MACHINE, CLIENT, ARP),
    (SERVER, EVERYBODY, ARP),
    (MACHINE, EVERYBODY, 0x0800),  # what a machine tells all its networks: mDNS, SSDP
    (MACHINE, GROUP, 0x0800),
    (CLIENT, CLIENT, 0x0800),
]


def test_what_goes_by_the_wire_is_believed(tmp_path: Path) -> None:
    assert judged(tmp_path, {"client": HONEST * 3}) is None


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ((CLIENT, SERVER, 0x0800), f"left client for server itself ({SERVER})"),
        ((CLIENT, MACHINE, 0x0800), f"left client for {MACHINE}, which is not the lab's"),
        ((CLIENT, EVERYBODY, 0x0800), f"left client for everybody on the bridge ({EVERYBODY})"),
        ((CLIENT, GROUP, 0x0800), f"left client for everybody on the bridge ({GROUP})"),
        ((CLIENT, MACHINE, 0x86DD), f"left client for {MACHINE}, which is not the lab's"),
        ((CLIENT, SERVER, VLAN), f"left client for server itself ({SERVER})"),
        ((SERVER, CLIENT, 0x0800), f"came to client from server itself ({SERVER})"),
        ((SERVER, EVERYBODY, 0x0800), f"came to client from server itself ({SERVER})"),
        ((MACHINE, CLIENT, 0x0800), f"came to client from {MACHINE}, which is not the lab's"),
        ((MACHINE, CLIENT, 0x86DD), f"came to client from {MACHINE}, which is not the lab's"),
    ],
)
def test_what_went_around_is_named(tmp_path: Path, frame: tuple[str, str, int], said: str) -> None:
    error = judged(tmp_path, {"client": [*HONEST, frame, frame], "server": []})
    assert error is not None
    assert str(error) == f"went around the wire: {said} (client #{len(HONEST) + 1})"


def test_it_comes_before_what_follows_from_it(tmp_path: Path) -> None:
    """A packet that the wire never saw is missing too: that is not the news."""
    packet = ipv4(udp(1, 2, b"data"), HOSTS["client"], HOSTS["server"], protocol=17)
    file = pcap(tmp_path / "client.pcap", [(T0, ethernet(packet, source=CLIENT, target=SERVER))])
    captures = {
        "client": read_capture(file, "client"),
        "server": read_capture(pcap(tmp_path / "server.pcap", []), "server"),
    }
    _, doubt = assess(Evidence(records_of(), captures))
    assert str(doubt).startswith("went around the wire")
