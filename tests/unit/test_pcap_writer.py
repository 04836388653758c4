"""The pcapng writer: what is written is read back; boots and hosts are interfaces."""

from __future__ import annotations

from pathlib import Path

from lab.evidence.pcapng_write import PcapngWriter, convert, merge
from lab.evidence.reader import read_capture
from tests.unit.evidence_frames import ACK, HOSTS, T0, ethernet, ipv4, pcap, tcp

FRAME = ethernet(ipv4(tcp(1, 2, 3, 4, ACK, b"abc"), HOSTS["client"], HOSTS["server"]))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with PcapngWriter(path) as writer:
        first, second = writer.interface("client"), writer.interface("server")
        writer.packet(first, T0 + 1, FRAME)
        writer.packet(second, T0 + 2, FRAME[:54], length=len(FRAME), comment="lost: loss 5% on client.up")
        writer.packet(first, T0 + 3, FRAME, comment="x" * 70_000)
    capture = read_capture(path)
    assert [i.name for i in capture.interfaces] == ["client", "server"]
    assert list(capture.t_ns) == [T0 + 1, T0 + 2, T0 + 3]
    assert list(capture.captured) == [len(FRAME), 54, len(FRAME)]
    assert list(capture.original) == [len(FRAME)] * 3
    assert capture.comments[1] == "lost: loss 5% on client.up"
    assert capture[1].payload_len == 3  # by the headers
    assert len(capture.comments[2]) == 65_532
    assert not capture.truncated


def test_two_boots_of_a_host_are_two_interfaces(tmp_path: Path) -> None:
    one = pcap(tmp_path / "1.pcap", [(T0, FRAME)])
    two = pcap(tmp_path / "2.pcap", [(T0 + 10, FRAME), (T0 + 11, FRAME)])
    two.write_bytes(two.read_bytes()[:-3])  # cut: the power went
    capture = convert("server", {2: two, 1: one}, tmp_path / "server.pcapng")
    assert [i.name for i in capture.interfaces] == ["server", "server (boot 2)"]
    assert [(p.t_ns, p.number) for p in capture] == [(T0, 1), (T0 + 10, 2)]
    assert list(capture.interface) == [0, 1]
    assert not capture.truncated


def test_merged_in_order_of_time_with_a_host_on_each_interface(tmp_path: Path) -> None:
    client = read_capture(pcap(tmp_path / "c.pcap", [(T0, FRAME), (T0 + 20, FRAME)]), "client")
    server = convert("server", {1: pcap(tmp_path / "s.pcap", [(T0 + 10, FRAME)])}, tmp_path / "s.pcapng")
    merge([client, server], tmp_path / "all.pcapng", {("client", 2): "lost"})
    merged = read_capture(tmp_path / "all.pcapng")
    assert [i.name for i in merged.interfaces] == ["client", "server"]
    assert [p.t_ns for p in merged] == [T0, T0 + 10, T0 + 20]
    assert list(merged.interface) == [0, 1, 0]
    assert merged.comments == {2: "lost"}
    assert merged[1].frame() == FRAME
