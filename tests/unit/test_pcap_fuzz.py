"""Hostile files: the reader never crashes, hangs or blows up, whatever the bytes.

`tests/data/fuzz` holds the corpus: small files of every format, and what once went wrong. LAB_FUZZ_EXAMPLES
sets how many mutations are tried (default 60; CI runs more).
"""

from __future__ import annotations

import os
import tempfile
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.evidence.marks import mark
from lab.evidence.packets import CaptureError
from lab.evidence.reader import read_capture
from lab.evidence.trace import Trace
from tests.unit.evidence_frames import records_of

CORPUS = sorted((Path(__file__).parent.parent / "data" / "fuzz").iterdir())
EXAMPLES = int(os.environ.get("LAB_FUZZ_EXAMPLES", "60"))
EXTREMES = [
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\x80",
    b"\x0b\0\0\0",
    b"\x45",
    b"\xff",
]
_WINDOW = 5 << 20  #: what the reader may hold besides what it keeps: a block of the file, and its slack


def read_everything(path: Path) -> int:
    """Looks at every packet and every property of it; how many packets there were."""
    try:
        capture = read_capture(path, "client")
    except CaptureError:
        return 0
    for packet, held in zip(capture, capture.captured, strict=True):
        assert packet.summary
        assert packet.options is not None
        assert len(packet.payload()) <= held
        assert len(packet.frame()) == held
        seen = (packet.quoted, packet.icmp_type, packet.ttl, packet.ip_id, packet.fragment)
        assert len(seen) == 5
    assert len(mark(capture).truth) == len(capture)
    trace = Trace({"client": capture, "server": capture}, records_of())
    for flow in trace.flows[:20]:
        assert flow.close.how
        assert flow.handshake.syn is not None
        for host in {flow.client.host, flow.server.host} - {"wire"}:
            assert flow.stream(host, host).length >= 0
            assert flow.rtt(host) is not None
    return len(capture)


def judge(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pcap"
        path.write_bytes(content)
        began = time.process_time()
        read_everything(path)
        assert time.process_time() - began < 2.0


def test_there_is_a_corpus() -> None:
    assert len(CORPUS) >= 10


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_corpus(path: Path) -> None:
    assert read_everything(path) >= 0


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 60,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
@given(
    seed=st.sampled_from(CORPUS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.sampled_from(EXTREMES) | st.binary(max_size=4)), max_size=6),
    keep=st.floats(0, 1) | st.just(1.0),
    twice=st.booleans(),
)
def test_mutations(seed: Path, edits: list[tuple[float, bytes]], keep: float, twice: bool) -> None:
    content = bytearray(seed.read_bytes())
    for place, put in edits:
        at = int(place * len(content))
        content[at : at + len(put)] = put
    whole = bytes(content) * (2 if twice else 1)
    judge(whole[: max(1, int(keep * len(whole)))])


@settings(max_examples=EXAMPLES // 4, deadline=None, derandomize=EXAMPLES == 60, database=None)
@given(
    magic=st.sampled_from(
        [b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a"]
    ),
    rest=st.binary(max_size=400),
)
def test_rubbish_behind_a_magic_number(magic: bytes, rest: bytes) -> None:
    judge(magic + rest)


@pytest.mark.parametrize("kind", [b"\xd4\xc3\xb2\xa1", b"\x0a\x0d\x0d\x0a"])
def test_a_length_of_four_gigabytes_costs_nothing(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(kind + bytes(20) + b"\xff" * 2000)
    tracemalloc.start()
    try:
        read_everything(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * _WINDOW
    finally:
        tracemalloc.stop()
