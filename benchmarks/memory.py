"""Peak memory of `check`, `recheck` and `report` over the hostile corpus and the largest legal inputs.

    python -m benchmarks.memory

prints a table in Markdown: the peak of the process in MB (ru_maxrss), and seconds of processor time.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab.evidence.flags import ACK, PSH
from lab.evidence.pcapng_write import PcapngWriter
from lab.evidence.reader import read_capture

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "tests" / "data" / "hostile"
RUN = ROOT / "tests" / "data" / "runs" / "timeout"
_LARGEST_CALL = 64_000_000  #: bytes that one call's record may hold
_LARGEST_CAPTURE = 1 << 30  #: bytes of frames in one capture
_MTU = 1500


def measured(*arguments: str) -> tuple[float, float, int]:
    """MB, seconds and the exit status of one command of the lab."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_maxrss * 1024 / 1e6, used.ru_utime + used.ru_stime, process.returncode


def copied(folder: Path) -> Path:
    """A copy of a run folder that may be written to."""
    for source in RUN.rglob("*"):
        target = folder / source.relative_to(RUN)
        if source.is_dir():
            target.mkdir(parents=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return folder


def large_call(folder: Path) -> Path:
    """A run whose last call received as many bytes as a record may hold."""
    events = (copied(folder) / "events.jsonl").read_text(encoding="utf-8").splitlines()
    calls = [number for number, line in enumerate(events) if json.loads(line)["kind"] == "call"]
    call = json.loads(events[calls[-1]])
    call["data"] = {"hex": "00" * _LARGEST_CALL}
    call["length"] = _LARGEST_CALL
    events[calls[-1]] = json.dumps(call)
    (folder / "events.jsonl").write_text("\n".join(events) + "\n", encoding="utf-8")
    return folder


def many_steps(folder: Path) -> Path:
    folder.mkdir()
    step = "  - {{at: client, do: socket, as: c{n}, expect: {{elapsed: {{max: 1s}}}}}}\n"
    (folder / "s.yml").write_text("lab: 1\nsteps:\n" + "".join(step.format(n=n) for n in range(5_000)))
    return folder / "s.yml"


def large_captures(folder: Path, *, arrive: bool) -> Path:
    """A run whose captures each have 1 GiB more: full-size segments after all others.

    With `arrive` they are the client's, in both captures; otherwise each host sends its own and none arrives.
    """
    captures = {path.stem: path for path in (copied(folder) / "pcap").iterdir()}
    client = read_capture(captures["client"])[0].source
    for path in captures.values():
        found = read_capture(path)
        from_client = arrive or path.stem == "client"
        said = [packet for packet in found if packet.flags & ~PSH == ACK]
        frame = bytearray(next(one for one in said if (one.source == client) == from_client).frame())
        frame += bytes(_MTU + 14 - len(frame))
        struct.pack_into(">H", frame, 16, _MTU)
        (interface,) = found.interfaces
        with PcapngWriter(path) as writer:
            number = writer.interface(interface.name, interface.link_type, interface.snap_length)
            for packet in found:
                writer.packet(number, packet.t_ns, packet.frame())
            for at in range(_LARGEST_CAPTURE // len(frame)):
                struct.pack_into(">H", frame, 18, at & 0xFFFF)
                struct.pack_into(">I", frame, 38, at * (_MTU - 40) & 0xFFFFFFFF)
                writer.packet(number, found[-1].t_ns + at * 1000, bytes(frame))
    return folder


def rows(work: Path) -> Iterator[tuple[str, str, list[tuple[str, ...]]]]:
    """Each row to measure: the command, its subject, and lists of its arguments; the largest counts."""
    scenarios = sorted(str(path) for path in CORPUS.glob("*/*/s.yml"))
    yield "check", "the corpus", [("check", path) for path in scenarios]
    runs = sorted((CORPUS / "runs").iterdir())
    yield "recheck", "the corpus", [("recheck", str(path)) for path in runs]
    yield "report", "the corpus", [("report", str(path), "--diagram") for path in runs]
    yield "check", "5,000 steps", [("check", str(many_steps(work / "steps")))]
    large = str(large_call(work / "call"))
    yield "recheck", "64 MB in one call", [("recheck", large)]
    yield "report", "64 MB in one call", [("report", large)]
    for arrive, what in ((True, "1 GiB in each capture"), (False, "the same, but none of it arrives")):
        captures = str(large_captures(work / f"captures-{arrive}", arrive=arrive))
        yield "recheck", what, [("recheck", captures)]
        yield "report", what, [("report", captures)]
        shutil.rmtree(captures)


def main() -> None:
    print("| command | of | peak MB | processor time |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for command, what, runs in rows(Path(name)):
            found = [measured(*arguments) for arguments in runs]
            assert all(status in (0, 1, 2) for _, _, status in found), (what, found)
            memory, seconds = max(one[0] for one in found), max(one[1] for one in found)
            print(f"| `{command}` | {what} | {memory:.0f} | {seconds:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
