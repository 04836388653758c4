"""tshark as an independent judge: what it counts in a capture is what the lab counts.

Here over the stored runs and conversations made up at random, in test_scenarios.py over the captures of every
shipped scenario.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from lab.evidence.marks import MARKS, mark
from lab.evidence.packets import ACK, FIN, RST, SYN, TCP
from lab.evidence.pcapng_write import merge
from lab.evidence.reader import read_capture
from tests.lab.conversations import made_up_capture

DATA = Path(__file__).parent.parent / "data"
STORED = DATA / "captures"
CAPTURES = sorted(STORED.glob("*/pcap/*.pcapng"))
ANALYSIS = {
    "retransmission": "tcp.analysis.retransmission",
    "fast retransmission": "tcp.analysis.fast_retransmission",
    "spurious retransmission": "tcp.analysis.spurious_retransmission",
    "out of order": "tcp.analysis.out_of_order",
    "keep-alive": "tcp.analysis.keep_alive",
    "keep-alive ack": "tcp.analysis.keep_alive_ack",
    "zero window probe": "tcp.analysis.zero_window_probe",
    "duplicate ack": "tcp.analysis.duplicate_ack",
    "window update": "tcp.analysis.window_update",
}
FIELDS = ["frame.number", "frame.time_epoch", "ip.proto", "tcp.flags", "tcp.len", *ANALYSIS.values()]


def asked(tshark: str, path: Path) -> list[list[str]]:
    """One row a packet, one text a field."""
    command = [tshark, "-r", str(path), "-n", "-T", "fields", "-E", "separator=;", "-E", "occurrence=f"]
    for name in FIELDS:
        command += ["-e", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [line.split(";") for line in done.stdout.splitlines()]


def flag_counts(flags: list[int]) -> dict[str, int]:
    return {
        "packets": len(flags),
        "SYN": sum(1 for f in flags if f & (SYN | ACK) == SYN),
        "SYN-ACK": sum(1 for f in flags if f & (SYN | ACK) == SYN | ACK),
        "FIN": sum(1 for f in flags if f & FIN),
        "RST": sum(1 for f in flags if f & RST),
    }


def test_there_is_something_to_judge() -> None:
    assert len(CAPTURES) >= 34


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_counts_agree(tshark: str, path: Path) -> None:
    assert_agreement(tshark, path)


def assert_agreement(tshark: str, path: Path) -> None:
    """SYN, SYN-ACK, FIN, RST, bytes, retransmissions and time stamps of one capture, by both."""
    capture = read_capture(path)
    rows = asked(tshark, path)
    assert len(rows) == len(capture)
    theirs = [(int(row[3], 16) & 0xFF, int(row[4] or 0)) for row in rows if row[2] == "6" and row[3]]
    whole = [i for i, p in enumerate(capture.protocol) if p == TCP and i not in capture.fragments]
    assert flag_counts([capture.flags[i] for i in whole]) == flag_counts([flags for flags, _ in theirs])
    assert sum(capture.payload_len[i] for i in whole) == sum(length for _, length in theirs)
    mine: Counter[str] = Counter(MARKS[code] for code in mark(capture).wireshark)
    mine["retransmission"] += mine["fast retransmission"] + mine["spurious retransmission"]
    analysed = {name: sum(1 for row in rows if row[5 + i]) for i, name in enumerate(ANALYSIS)}
    counted = {name: mine[name] for name in ANALYSIS}
    assert counted == analysed
    stamps = [int(row[1].replace(".", "")) for row in rows]
    assert stamps == list(capture.t_ns)


def test_counts_agree_where_bits_were_flipped(tshark: str) -> None:
    """30 segments with a wrong checksum: flipped acknowledgments move what tshark calls sent again."""
    assert_agreement(tshark, DATA / "alone" / "corrupt-server.pcapng")


@pytest.mark.parametrize("flips", [False, True], ids=["whole", "flipped"])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_every_segment_has_the_name_that_tshark_gives_it(
    tshark: str, tmp_path: Path, seed: int, flips: bool
) -> None:
    path = made_up_capture(tmp_path / "made-up.pcap", seed, flips=flips)
    marks = mark(read_capture(path)).wireshark
    rows = asked(tshark, path)
    assert len(rows) == len(marks) > 5_000
    named: Counter[str] = Counter()
    for number, (row, code) in enumerate(zip(rows, marks, strict=True), 1):
        theirs = {name for i, name in enumerate(ANALYSIS) if row[5 + i]}
        if "zero window probe" in theirs:
            theirs = {"zero window probe"}  # tshark gives the probe of an acknowledged byte two names
        mine = {MARKS[code]} & set(ANALYSIS)
        if mine & {"fast retransmission", "spurious retransmission"}:
            mine.add("retransmission")
        assert mine == theirs, f"frame {number}"
        named.update(mine)
    assert set(named) == set(ANALYSIS)  # each name was given


def test_a_merged_file_is_opened_with_a_host_on_each_interface(tshark: str, tmp_path: Path) -> None:
    folder = STORED / "plain" / "pcap"
    captures = [read_capture(folder / f"{host}.pcapng", host) for host in ("client", "server")]
    merge(captures, tmp_path / "all.pcapng", {("client", 1): "SYN, arrived after 10 ms"})
    command = [tshark, "-r", str(tmp_path / "all.pcapng"), "-n", "-T", "fields"]
    command += ["-e", "frame.interface_name", "-e", "frame.comment"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert Counter(row[0] for row in rows) == {"client": len(captures[0]), "server": len(captures[1])}
    assert rows[0] == ["client", "SYN, arrived after 10 ms"]
