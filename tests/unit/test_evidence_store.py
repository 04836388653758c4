"""`events.jsonl`: every record comes back as it was, bytes readable where they are text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from lab.attachment import attach_at
from lab.errors import UsageError
from lab.evidence import model
from lab.evidence.model import Endpoint, Records
from lab.evidence.store import load_evidence, read_records, write_records
from lab.link import GilbertElliott, Impairment, Link
from lab.place import Place
from lab.tolerance import Tolerance
from lab.units import Duration, Percent, Rate, Size

STORED = Path(__file__).parent.parent / "data" / "captures"
EVERYTHING = Impairment(
    delay=Duration(5),
    jitter=Duration(1),
    correlation=Percent.parse("25%"),
    distribution="normal",
    loss=Percent.parse("0.125%"),
    gemodel=GilbertElliott(*[Percent.parse("1%")] * 4),
    rate=Rate(64_000),
    burst=Size(1500),
    limit=7,
    mtu=600,
)
CALL = model.CallRecord(
    step="steps[1]",
    host="client",
    process="main",
    call="recv",
    arguments={"size": 5, "nested": {"none": None, "list": [1, 2.5, "x"]}},
    socket="c",
    fd=4,
    kind="tcp",
    start_mono_ns=1,
    end_mono_ns=2,
    start_wall_ns=30,
    end_wall_ns=40,
    local=Endpoint("198.18.1.10", 40000),
    data=b"hello\r\n",
    length=7,
    eof=False,
    notes=("a note",),
)
RECORDS = Records(
    hosts={
        "client": model.HostFacts(
            "client",
            (attach_at("client", "198.18.1.10", "02:00:00:00:00:01", Link(EVERYTHING)),),
            {"a.b": "1"},
            "6",
        )
    },
    wire=model.WireFacts(
        "uml",
        "no netem",
        "6.1",
        "198.18.1.2",
        "02:c6:12:01:00:02",
        readback=({"qdiscs": [{"kind": "netem"}]},),
    ),
    tolerance=Tolerance(machine_ns=5),
    steps=(model.StepRecord("steps[0]", "recv", Place("a.yml", 3, 5), "client", 10, 50, 1, 2),),
    calls=(
        CALL,
        replace(CALL, data=b"\xff\x00", error=model.CallError("ECONNRESET", 104, "reset"), start_wall_ns=5),
        replace(CALL, data="Grüße → \udcff".encode("utf-8", "surrogatepass"), kind=None),
    ),
    runs=(model.RunRecord("r", "client", ("ping", "-c1"), 0, "out\udcff", "", 1, 2, 3, 4),),
    streams=(
        model.StreamRecord(
            "client", "main", "c", Endpoint("198.18.1.10", 1), Endpoint("198.18.1.11", 2), 1, "aa", 2, "bb"
        ),
    ),
    states=(
        model.StateSample("client", 20, "tcp", Endpoint("198.18.1.10", 1), None, "LISTEN", 0, 5),
        model.StateSample("client", 90, "udp", Endpoint("198.18.1.10", 1), None, "GONE", 0, 0, final=True),
    ),
    counters={"client": model.CounterRecord("client", {"TcpInSegs": 1}, {"TcpInSegs": 9})},
    wire_events=(
        model.WireEvent(
            7, "drop", "s", rule="r1", source="client", target="server", match=("syn", "ack"), count=2
        ),
        model.WireEvent(8, "partition", "s", between=("client", "server")),
        model.WireEvent(9, "link", None, host="client", direction="up", impairment=EVERYTHING),
    ),
    captures=(model.CaptureFacts("client", 1, "pcap/client.pcapng", "eth0", 5, 0),),
)


def test_round_trip(tmp_path: Path) -> None:
    path = write_records(tmp_path, RECORDS)
    assert read_records(tmp_path) == RECORDS
    lines = [json.loads(line) for line in path.read_text(errors="surrogateescape").splitlines()]
    assert lines[0] == {"kind": "lab events", "version": 1}
    kinds = [line["kind"] for line in lines]
    assert kinds[1:7] == ["host", "tolerance", "wire", "capture", "counters", "stream"]
    assert kinds[7:] == ["run", *["wire event"] * 3, "step", "state", "call", "call", "call", "state"]
    data = [line["data"] for line in lines if line["kind"] == "call"]
    assert {"text": "hello\r\n"} in data
    assert {"hex": "ff00"} in data


def test_nothing_but_hosts(tmp_path: Path) -> None:
    records = Records(hosts=RECORDS.hosts, wire=None)
    write_records(tmp_path, records)
    assert read_records(tmp_path) == records


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no events in it"),
        ('{"kind": "lab events", "version": 2}\n', "version 2, this lab reads 1"),
        ('{"kind": "host"}\n', "kind 'host', must be 'lab events'"),
        ('{"kind": "lab events", "version": 1}\n{"kind": "dance"}\n', ":2: not a line of events"),
        ('{"kind": "lab events", "version": 1}\n{"kind": "ho', ":2: not a line of events"),
        ('{"kind": "lab events", "version": 1}\n{"kind": "capture", "host": 5}\n', ":2: capture: "),
        ("[]\n", ":1: not a line of events"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "events.jsonl").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_records(tmp_path)
    assert words in str(caught.value)


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run folder"):
        read_records(tmp_path)


def test_the_evidence_of_a_stored_run() -> None:
    evidence = load_evidence(STORED / "plain")
    assert set(evidence.captures) == {"client", "server"}
    assert evidence.trace is evidence.trace
    assert len(evidence.trace.journeys) == 20
