"""How fast the reader is, as a ratio to dpkt in the same run, and what matching a million packets costs.

    python -m benchmarks.reader [--packets 200000] [--rounds 5] [--whole]

Rounds of the two readers alternate, so that both see the same machine; the output has medians and spreads.
`--whole` makes two captures of 500,000 packets each (a bulk transfer with 1 % loss, and its ACKs) and times
reading, matching, flows, proof, bytes and every check in a process of their own, with its peak memory.
"""

from __future__ import annotations

import argparse
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from socket import inet_aton

import dpkt

from lab.attachment import attach_at
from lab.checks import judge
from lab.checks.common import Context
from lab.evidence.model import Endpoint, HostFacts, Records, StateSample
from lab.evidence.pcapng_write import PcapngWriter
from lab.evidence.proof import contradictions, prove
from lab.evidence.reader import read_capture
from lab.evidence.store import Evidence
from lab.evidence.trace import Trace
from lab.link import Impairment, Link
from lab.scenario.checks import parse_check
from lab.units import Duration, Percent

_A, _B = "198.18.1.10", "198.18.1.11"
_MACS = {_A: "02:c6:12:01:00:0a", _B: "02:c6:12:01:00:0b"}
_WIRE_MAC = bytes.fromhex("02c612010002")
_T0 = 1_700_000_000_000_000_000
_MS = 1_000_000
_CHECKS: tuple[dict[str, object], ...] = (
    {"check": "handshake"},
    {"check": "close", "how": "fin"},
    {"check": "packets", "match": "data", "at": "lost", "count": {"min": 1}},
    {"check": "packets", "match": "any", "at": "receiver", "count": {"min": 1}},
    {"check": "retransmissions", "count": {"min": 1}},
    {"check": "one_way", "delay": "20ms"},
    {"check": "loss", "rate": "1%"},
    {"check": "reordered", "count": {"min": 1}},
    {"check": "duplicated", "count": 0},
    {"check": "state", "at": "server", "port": 8001, "state": "ESTABLISHED", "when": "ever"},
    {"check": "bytes"},
)


def _frame(
    source: str, target: str, ttl: int, ip_id: int, seq: int, ack: int, flags: int, data: bytes
) -> bytes:
    """A segment with time stamps, as Linux sends them."""
    own = bytes.fromhex(_MACS[source if ttl == 64 else target].replace(":", ""))
    ethernet = _WIRE_MAC + own if ttl == 64 else own + _WIRE_MAC
    sport, dport = (40000, 8001) if source == _A else (8001, 40000)
    ends = inet_aton(source) + inet_aton(target)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 52 + len(data), ip_id & 0xFFFF, 0x4000, ttl, 6, 0) + ends
    stamps = struct.pack(">BBBBII", 1, 1, 8, 10, seq // 65536 & 0xFFFFFFFF, 7)
    ports = struct.pack(">HHII", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF)
    tcp = ports + struct.pack(">BBHHH", 0x80, flags, 501, 0, 0) + stamps
    return ethernet + b"\x08\x00" + ip + tcp + data


def write_transfer(folder: Path, packets: int, *, size: int = 1448, loss: float = 0.01) -> tuple[Path, Path]:
    """Writes two captures of about `packets` packets each: data one way, an ACK for every second segment,
    each loss retransmitted 40 ms later."""
    rng = random.Random(1)
    data = rng.randbytes(size)
    sent: list[tuple[int, int, bytes]] = []  # time, order, frame
    arrived: list[tuple[int, int, bytes]] = []
    shake = [(_A, _B, 0, 0, 2), (_B, _A, 0, 1, 18), (_A, _B, 1, 1, 16)]
    for i, (source, target, seq, ack, flags) in enumerate(shake):
        at = _T0 + i * 20 * _MS
        here, there = (sent, arrived) if source == _A else (arrived, sent)
        here.append((at, i, _frame(source, target, 64, 0, seq, ack, flags, b"")))
        there.append((at + 20 * _MS, i, _frame(source, target, 63, 0, seq, ack, flags, b"")))
    now = _T0 + 100 * _MS
    for i in range(round(packets / 1.5)):
        seq = 1 + i * size
        now += 12_000
        sent.append((now, i, _frame(_A, _B, 64, i, seq, 1, 16, data)))
        at = now
        if rng.random() < loss:
            at += 40 * _MS
            sent.append((at, i, _frame(_A, _B, 64, i + 7, seq, 1, 24, data)))
            arrived.append((at + 20 * _MS, i, _frame(_A, _B, 63, i + 7, seq, 1, 24, data)))
        else:
            arrived.append(
                (at + 20 * _MS + rng.randrange(50_000), i, _frame(_A, _B, 63, i, seq, 1, 16, data))
            )
        if i % 2:
            at += 20 * _MS + 60_000
            arrived.append((at, i, _frame(_B, _A, 64, i, 1, seq + size, 16, b"")))
            sent.append((at + 20 * _MS, i, _frame(_B, _A, 63, i, 1, seq + size, 16, b"")))
    paths = folder / "client.pcapng", folder / "server.pcapng"
    for path, frames in zip(paths, (sent, arrived), strict=True):
        frames.sort(key=lambda item: item[0])
        with PcapngWriter(path) as writer:
            number = writer.interface(path.stem)
            for t_ns, _, frame in frames:
                writer.packet(number, t_ns, frame)
    return paths


def _ours(path: Path) -> int:
    return len(read_capture(path))


def _dpkt(path: Path) -> int:
    """Counts packets as dpkt's own examples do, with every frame parsed."""
    count = 0
    with path.open("rb") as file:
        for _, frame in dpkt.pcapng.Reader(file):
            dpkt.ethernet.Ethernet(frame)
            count += 1
    return count


def _timed(work: Callable[[Path], int], path: Path) -> float:
    """Packets per second of processor time: other work on the machine does not count."""
    began = time.process_time()
    return work(path) / (time.process_time() - began)


def _shown(name: str, rates: list[float]) -> str:
    median = statistics.median(rates)
    spread = f"from {min(rates):,.0f} to {max(rates):,.0f}, {len(rates)} rounds"
    return f"{name:>6}: {median:>9,.0f} packets/s ({spread})"


def _peak_mib() -> float:
    """The peak of this process; `ru_maxrss` would include what its parent held at the fork."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def compare(packets: int, rounds: int) -> None:
    for size, what in ((1448, "full segments and their ACKs"), (0, "headers only")):
        with tempfile.TemporaryDirectory() as folder:
            path, _ = write_transfer(Path(folder), packets, size=size)
            ours: list[float] = []
            theirs: list[float] = []
            for _ in range(rounds):
                ours.append(_timed(_ours, path))
                theirs.append(_timed(_dpkt, path))
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        print(f"{what}:")
        print(_shown("lab", ours))
        print(_shown("dpkt", theirs))
        print(f" ratio: {statistics.median(ratios):.1f} (from {min(ratios):.1f} to {max(ratios):.1f})")


def whole(folder: Path) -> None:
    """Times everything on two captures, in this process."""
    up = Impairment(delay=Duration(20 * _MS), loss=Percent.parse("1%"))
    links = {"client": Link(up=up), "server": Link(up=Impairment(delay=Duration(20 * _MS)))}
    hosts = {
        name: HostFacts(name, (attach_at(name, address, _MACS[address], links[name]),), {}, "")
        for name, address in (("client", _A), ("server", _B))
    }
    began = time.process_time()
    last = began

    def lap(what: str) -> None:
        nonlocal last
        now = time.process_time()
        print(f"{what:>24}: {now - last:6.2f} s  peak {_peak_mib():6.0f} MiB", flush=True)
        last = now

    captures = {name: read_capture(folder / f"{name}.pcapng", name) for name in hosts}
    lap(f"read {sum(map(len, captures.values())):,}")
    end = max(capture.t_ns[-1] for capture in captures.values()) + 200 * _MS
    final = StateSample("client", end, "tcp", Endpoint("", 0), None, "GONE", 0, 0, final=True)
    trace = Trace(captures, Records(hosts, None, states=(final,)))
    print(f"{'':>26}{len(trace.marks)} captures marked, {len(trace.matching.paths)} paths")
    lap("mark and match")
    flows = trace.flows
    lap(f"{len(trace.journeys):,} journeys")
    resent = sum(1 for journey in trace.journeys if journey.is_retransmission)
    print(f"{'':>26}{len(trace.unexplained())} unexplained, {resent} retransmissions")
    flow = flows[0]
    print(f"{'':>26}close {flow.close.how}, {len(flow.handshake.syn)} SYN")
    lap("flow")
    print(f"{'':>26}contradictions: {len(contradictions(prove(trace)))}")
    lap("proof")
    streams = [flow.stream("client", at) for at in hosts]
    print(f"{'':>26}{streams[1].length:,} bytes, equal {streams[0].sha256 == streams[1].sha256}")
    lap("bytes at both ends")
    points = len(flow.rtt("client")) + len(flow.throughput("client", 100 * _MS))
    lap(f"{points:,} points")
    count = sum(1 for journey in trace.journeys if journey.delay_ns is not None)
    lap(f"{count:,} seen at both ends")
    evidence = Evidence(trace.records, captures)
    evidence.__dict__["trace"] = trace
    context = Context.of(trace.records)
    for keys in _CHECKS:
        ends = {} if keys["check"] == "state" else {"from": "client", "to": "server"}
        check = parse_check({**ends, **keys})
        finding = judge(check, evidence, context)
        lap(f"{finding.name} {finding.verdict}")
    print(f"{'all':>24}: {time.process_time() - began:6.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packets", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder is not None:
        whole(given.folder)
        return
    compare(given.packets, given.rounds)
    if given.whole:
        with tempfile.TemporaryDirectory() as folder:
            write_transfer(Path(folder), 500_000)
            subprocess.run([sys.executable, "-m", "benchmarks.reader", "--folder", folder], check=True)


if __name__ == "__main__":
    main()
