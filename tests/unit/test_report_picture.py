"""The picture tells the reason: what a host threw away, what an ACK asks for again, whose packet it is, what
a long gap is, and what stands where there is little room."""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from socket import inet_aton

import pytest
from msgspec.structs import replace

from lab.evidence.marks import MARKS, mark
from lab.evidence.model import LogRecord, Records, ServiceRecord, StepRecord, WireEvent
from lab.evidence.packets import ACK, SYN
from lab.evidence.store import Evidence
from lab.place import Place
from lab.report.diagram import legend, mermaid, svg, text
from lab.report.diagram.events import Left, Silence, events
from lab.report.diagram.labels import fitting
from lab.report.diagram.layout import lay_out
from lab.report.diagram.model import Bundle, Call, Diagram, Flow, Host, Moment, Packet, State
from lab.report.diagram.moments import moments_of
from lab.report.diagram.shapes import NARROW, Layout
from lab.report.diagram.source import diagram_of
from lab.report.text import cells, folded
from lab.verdict import LogRef, Verdict
from tests.unit.check_helpers import Connection
from tests.unit.check_helpers import Story as CheckedStory
from tests.unit.report_helpers import MS, ZERO, Story, finding
from tests.unit.test_evidence_discards import counted, queue
from tests.unit.test_report_diagram import C, S, diagram, packet

FULL = "the accept queue of server is full: the SYN was thrown away"


def words_of(layout: Layout) -> list[str]:
    """All texts of a drawing."""
    whole = ET.fromstring(f"<svg>{''.join(svg.body(layout))}</svg>")
    return ["".join(element.itertext()) for element in whole.iter("text")]


def call(host: str, title: str, start: float, end: float | None, **more: str) -> Call:
    return Call(
        f"c{start}",
        host,
        title,
        more.get("outcome", "ok · 1 ms"),
        round(start * MS),
        None if end is None else round(end * MS),
    )


# Thrown away by the host


def thrown() -> Packet:
    return packet(1, 0, 20, kind="syn", label="SYN seq=0", cause=FULL, discarded=True)


def test_a_syn_that_the_full_queue_threw_away_is_one_in_the_diagram(tmp_path: Path) -> None:
    trace = counted(queue(tmp_path), TcpExtListenOverflows=2)
    drawn = diagram_of(Evidence(trace.records, trace.captures))
    assert [p.cause for p in drawn.packets[:3]] == [FULL, FULL, ""]
    assert [p.discarded for p in drawn.packets[:3]] == [True, True, False]
    assert drawn.packets[0].fields["fate"] == f"received: {FULL}"


@pytest.mark.parametrize("narrow", [False, True])
def test_it_is_crossed_out_at_the_hosts_edge_and_says_why(narrow: bool) -> None:
    layout = lay_out(diagram([thrown()]), NARROW if narrow else None)
    arrow = layout.arrows[0]
    assert arrow.x2 == layout.blocks[1].edge_left  # it arrived
    assert " ".join(arrow.under.lines) == f"× {FULL}"
    assert arrow.under.y > arrow.y2
    assert layout.height > arrow.under.y + 13 * len(arrow.under.lines)
    picture = "".join(svg.body(layout))
    assert 'class="p k-syn thrown"' in picture
    assert 'class="x"' in picture
    assert 'class="hd"' not in picture
    assert f"arrived, but {FULL}" in picture


def test_the_terminal_crosses_it_out_at_the_host() -> None:
    for after in (20, 0.1):
        lines = text.render(diagram([replace(thrown(), received_ns=round(after * MS))])).splitlines()
        at = next(n for n, line in enumerate(lines) if "╳" in line)
        assert lines[at].endswith("╳│")
        assert FULL in lines[at + 1]
        assert "╳ at a host: arrived, and thrown away" in lines[-1]


def test_mermaid_and_the_legend_say_it() -> None:
    drawn = diagram([thrown()])
    assert f"(arrived, but {FULL})" in mermaid.render(drawn)
    assert "arrived, and thrown away by the host" in [words for _, words in legend.samples(drawn)]
    assert "1 thrown away on arrival" in svg.summary(drawn)


def test_a_bundle_says_how_many_were_thrown_away() -> None:
    bundle = Bundle("0", C, S, 0, "udp", 50, 5000, 0, MS, 0, MS, discarded=3)
    assert bundle.detail == "5,000 B, 3 thrown away on arrival"


# What an ACK asks for again


def sack(*blocks: tuple[int, int]) -> bytes:
    body = b"".join(struct.pack(">II", *block) for block in blocks)
    return b"\1\1" + bytes([5, 2 + len(body)]) + body


def gap_story(folder: Path, *, sacks: bool = True) -> Evidence:
    """The second of five segments is lost; each that follows it opens the window of its duplicate ACK."""
    story = Story({C: "198.18.7.10", S: "198.18.7.11"})
    story.tcp(C, S, 0, 10, SYN, 1000)
    story.tcp(S, C, 10, 20, SYN | ACK, 5000, 1001, ports=(8001, 40000))
    story.tcp(C, S, 20, 30, ACK, 1001, 5001)
    story.tcp(C, S, 21, 31, ACK, 1001, 5001, b"a" * 100)
    story.tcp(S, C, 31, 41, ACK, 5001, 1101, ports=(8001, 40000))
    story.tcp(C, S, 42, None, ACK, 1101, 5001, b"b" * 100)
    for n in range(3):
        story.tcp(C, S, 43 + n, 53 + n, ACK, 1201 + 100 * n, 5001, b"c" * 100)
        options = sack((1201, 1301 + 100 * n)) if sacks else b""
        story.tcp(
            S, C, 53.1 + n, 63 + n, ACK, 5001, 1101, ports=(8001, 40000), options=options, window=510 + n
        )
    return story.write(folder)


@pytest.mark.parametrize("sacks", [True, False])
def test_a_duplicate_ack_is_one_whatever_window_it_has(tmp_path: Path, sacks: bool) -> None:
    evidence = gap_story(tmp_path, sacks=sacks)
    marks = mark(evidence.captures[S])
    last = [MARKS[code] for code in marks.wireshark if code]
    assert last[-3:] == ["window update"] * 3  # as tshark has it
    assert [MARKS[code] for code in marks.truth if code][-3:] == ["duplicate ack"] * 3


def test_an_update_of_the_window_stays_one(tmp_path: Path) -> None:
    """Nothing is missing, and nothing is held beyond what is acknowledged."""
    story = Story({C: "198.18.7.10", S: "198.18.7.11"})
    story.tcp(C, S, 0, 10, ACK, 1001, 5001, b"a" * 100)
    story.tcp(S, C, 10, 20, ACK, 5001, 1101, ports=(8001, 40000))
    story.tcp(S, C, 30, 40, ACK, 5001, 1101, ports=(8001, 40000), window=900, options=sack((1001, 1101)))
    marks = mark(story.write(tmp_path).captures[S])
    assert MARKS[marks.truth[2]] == MARKS[marks.wireshark[2]] == "window update"


def test_it_says_what_it_asks_for_and_what_is_held(tmp_path: Path) -> None:
    drawn = diagram_of(gap_story(tmp_path))
    first = next(p for p in drawn.packets if p.note)
    assert first.note == "duplicate ack: asks for seq=101 again, SACK 201–301"
    assert first.fields["options"] == "SACK 201–301"
    assert fitting(first, 80) == f"ACK seq=1 ack=101 {first.note}"
    assert fitting(first, 50) == "ACK seq=1 ack=101 asks for 101 again, SACK 201–301"
    assert fitting(first, 31) == "ACK ack=101 again, SACK 201–301"
    assert fitting(first, 30) == "ACK ack=101 asks for 101 again"
    assert fitting(first, 24) == "ACK asks for 101 again"
    for width in (80, 100):
        picture = text.render(drawn, width=width)
        assert "window update" not in picture
        assert picture.count("again") >= 3


def test_what_came_twice_is_said_by_d_sack(tmp_path: Path) -> None:
    story = Story({C: "198.18.7.10", S: "198.18.7.11"})
    story.tcp(C, S, 0, 10, SYN, 1000)
    story.tcp(S, C, 10, 20, SYN | ACK, 5000, 1001, ports=(8001, 40000))
    story.tcp(C, S, 20, 30, ACK, 1001, 5001, b"a" * 100)
    story.tcp(S, C, 30, 40, ACK, 5001, 1101, ports=(8001, 40000))
    story.tcp(C, S, 250, 260, ACK, 1001, 5001, b"a" * 100)
    story.tcp(S, C, 260, 270, ACK, 5001, 1101, ports=(8001, 40000), options=sack((1001, 1101)))
    last = diagram_of(story.write(tmp_path)).packets[-1]
    assert last.note == "duplicate ack: D-SACK 1–101 came twice"


# Long gaps


def silences(drawn: Diagram) -> list[str]:
    return [event.text for event in events(drawn) if isinstance(event, Silence)]


def test_a_jump_that_is_not_drawn_to_scale_is_folded() -> None:
    """At 50 ms one way, 400 ms are eight arrows high."""
    drawn = diagram([packet(1, 0, 50), packet(2, 450, 500)], end_ns=500 * MS)
    assert [fold.text for fold in lay_out(drawn).folds] == ["400 ms"]
    assert silences(drawn) == ["400 ms in which nothing happens"]
    assert "400 ms in which nothing happens" in words_of(lay_out(drawn))
    assert "nothing happens" in words_of(lay_out(drawn, NARROW))


def test_what_holds_until_the_end_ends_there(tmp_path: Path) -> None:
    story = Story({C: "198.18.7.10", S: "198.18.7.11"})
    story.tcp(C, S, 0, 10, SYN, 1000)
    story.events.append(WireEvent(ZERO + 20 * MS, "cut", "steps[1]", S, "both"))
    story.tcp(C, S, 30, None, SYN, 1000)
    drawn = diagram_of(story.write(tmp_path))
    assert drawn.bands[0].end_ns == drawn.end_ns == 30 * MS
    assert not lay_out(drawn).folds


def test_what_is_drawn_to_scale_is_not() -> None:
    drawn = diagram([packet(1, 0, 300), packet(2, 500, 800)], end_ns=800 * MS)
    assert not lay_out(drawn).folds
    assert silences(drawn) == []


def test_a_fold_through_a_bundle_or_packets_on_their_way_does_not_say_that_nothing_happens() -> None:
    bundle = Bundle("0", C, S, 0, "data", 102, 100_000, 0, 600 * MS, 5 * MS, 610 * MS)
    quick = [packet(n, n, n + 5) for n in range(5)]
    drawn = diagram([*quick, packet(9, 610, 615)], bundles=(bundle,), end_ns=615 * MS)
    assert silences(drawn) == ["601 ms: 102 segments go on"]
    assert any("102 segments go on" in words for words in words_of(lay_out(drawn)))
    drawn = diagram([*quick, packet(9, 10, 900)], end_ns=900 * MS)
    assert silences(drawn) == ["890 ms: 1 packet on its way"]


# Whose packet it is


def two_flows() -> Diagram:
    flows = (Flow(0, "client:40000 → server:8001", "tcp", 1, "A"), Flow(3, "client:40002 → x", "tcp", 1, "B"))
    states = (State(S, "server → 40002", "ESTABLISHED", 0, None, flow=3),)
    packets = [packet(1, 0, 20), packet(2, 60, 80, flow=3)]
    return diagram(packets, flows=flows, states=states, end_ns=90 * MS)


def test_each_flow_has_its_letter_at_packets_states_and_in_the_legend() -> None:
    for metrics in (None, NARROW):
        layout = lay_out(two_flows(), metrics)
        assert [arrow.tag for arrow in layout.arrows] == ["A", "B"]
        words = words_of(layout)
        assert words.count("A") == words.count("B") == 2  # where it begins and where it ends
        assert "B ESTABLISHED" in words
    assert "client:40000 → server:8001 (tcp)" in [words for _, words in legend.samples(two_flows())]
    picture = text.render(two_flows())
    assert re.search(r"──A PSH,ACK seq=1 len=1─", picture)
    assert re.search(r"──B PSH,ACK seq=2 len=1─", picture)
    assert "[B ESTABLISHED]" in picture
    assert "B: client:40002 → x (tcp)" in picture
    assert "A PSH,ACK seq=1" in mermaid.render(two_flows())


def test_letters_are_given_where_there_are_several(tmp_path: Path) -> None:
    story = CheckedStory(tmp_path)
    for n in range(28):
        Connection(story, sport=40_000 + n).handshake(n * 100)
    tags = [flow.tag for flow in diagram_of(story.evidence()).flows]
    assert tags[:2] == ["A", "B"]
    assert tags[25:] == ["Z", "AA", "AB"]
    alone = CheckedStory(tmp_path)
    Connection(alone).handshake()
    assert [flow.tag for flow in diagram_of(alone.evidence()).flows] == [""]


# States


def states(listeners: int, connections: int) -> tuple[State, ...]:
    """A listener, then connections that overlap."""
    listening = [State(S, f"*:{n}", "LISTEN", 0, None, listener=True) for n in range(listeners)]
    others = [State(S, f"s{n}", "ESTABLISHED", n * MS, None) for n in range(connections)]
    return (*listening, *others)


@pytest.mark.parametrize("connections", [0, 1, 2, 5])
def test_the_lane_of_the_listener_is_always_there(connections: int) -> None:
    drawn = diagram([packet(1, 0, 20)], states=states(1, connections), end_ns=30 * MS)
    for metrics in (None, NARROW):
        layout = lay_out(drawn, metrics)
        assert "LISTEN" in words_of(layout)
        shown = min(connections, layout.metrics.state_columns)
        assert len({state.x for state in layout.states}) == 1 + shown
        assert layout.hidden_sockets == connections - shown
    assert "[LISTEN]" in text.render(drawn)


def test_the_end_of_a_socket_is_told_where_the_bar_ends() -> None:
    spans = (State(S, "s", "ESTABLISHED", 0, 5 * MS), State(S, "s", "LAST_ACK", 5 * MS, 9 * MS))
    drawn = diagram([packet(1, 0, 20)], states=spans, end_ns=20 * MS)
    assert [e.state.label for e in events(drawn) if isinstance(e, Left)] == ["LAST_ACK"]
    assert "[LAST_ACK ends]" in text.render(drawn)
    assert "LAST_ACK ends" in mermaid.render(drawn)


# Little room


def busy() -> Diagram:
    calls = (
        call(S, "listener.listen(8001, backlog 5)", 0, 0.1),
        call(C, "c.connect(server:8001)", 1, 22, outcome="ok · 21 ms"),
        call(S, "s.accept()", 25, 32, outcome="= from client:40000 · 7 ms"),
    )
    packets = [
        packet(1, 1.1, 11, kind="syn", label="SYN seq=0"),
        packet(2, 11.1, 21, source=S, kind="syn", label="SYN,ACK seq=0 ack=1"),
        packet(3, 21.1, None, label="PSH,ACK seq=1 ack=1 len=1448", cause="dropped by rule drop1 (steps[3])"),
    ]
    return diagram(packets, calls=calls, states=states(1, 1), end_ns=60 * MS)


def test_at_400_px_each_call_says_its_name_and_what_came_out() -> None:
    words = words_of(lay_out(busy(), NARROW))
    for expected in (
        "● listener.listen(8001, backlog 5)",
        "▶ c.connect(server:8001)",
        "◀ c.connect ok · 21 ms",
        "● s.accept()",
        "= from client:40000 · 7 ms",
    ):
        assert expected in words


def test_at_400_px_nothing_that_matters_is_cut_and_nothing_collides() -> None:
    layout = lay_out(busy(), NARROW)
    assert not [words for words in words_of(layout) if "…" in words]
    assert "PSH,ACK seq=1 ack=1 len=1448" in [arrow.label for arrow in layout.arrows]
    assert " ".join(layout.arrows[2].under.lines) == "× dropped by rule drop1 (steps[3])"
    heights = [arrow.label_y for arrow in layout.arrows]
    heights += [said.y + 13 * n for said in layout.spoken for n in range(len(said.lines))]
    heights += [a.under.y + 13 * n for a in layout.arrows for n in range(len(a.under.lines))]
    heights.sort()
    assert all(low - high >= 7 for high, low in pairwise(heights))
    for state in layout.states:
        assert state.y2 - state.y1 >= len(state.label) * layout.metrics.char - 0.1


def test_the_words_of_a_bundle_keep_clear_of_those_of_calls() -> None:
    bundle = Bundle("0", C, S, 0, "data", 15, 20_272, 14 * MS, 53 * MS, 19 * MS, 58 * MS, seq=(1, 20_273))
    calls = tuple(call(C, f"c.send{n}()", at, at + 0.1) for n, at in enumerate((13, 14, 25, 30, 33.5, 50)))
    layout = lay_out(diagram([packet(1, 0, 5)], bundles=(bundle,), calls=calls, end_ns=60 * MS), NARROW)
    heights = [layout.bundles[0].label_y, layout.bundles[0].label_y + 13]
    heights += [said.y + 13 * n for said in layout.spoken for n in range(len(said.lines))]
    assert all(low - high >= 7 for high, low in pairwise(sorted(heights)))


def test_labels_lose_what_tells_the_least_first() -> None:
    again = packet(1, 0, 20, label="PSH,ACK seq=12 ack=1 len=1448", payload="“hello”")
    again = replace(again, retransmits=0, note="fast retransmission", brief=("again",))
    assert fitting(again, 60).endswith("len=1448 “hello” fast retransmission")
    assert fitting(again, 50) == "PSH,ACK seq=12 ack=1 len=1448 fast retransmission"
    assert fitting(again, 46) == "PSH,ACK seq=12 len=1448 fast retransmission"
    assert fitting(again, 30) == "PSH,ACK seq=12 len=1448 again"
    assert fitting(again, 20) == "PSH,ACK again"
    assert fitting(again, 5) == "PSH,…"


def test_folded_text_keeps_to_its_lines() -> None:
    assert folded("one two three", 7) == ("one two", "three")
    assert folded("one two three four", 7) == ("one two", "three…")
    assert folded("", 7) == ("",)


# Beside calls and packets


def test_a_diagram_in_which_nothing_happens_is_drawn() -> None:
    empty = diagram()
    assert mermaid.render(empty).startswith("sequenceDiagram\n")
    assert "client" in text.render(empty)


def test_an_announcement_by_arp_is_drawn_as_sent_to_all(tmp_path: Path) -> None:
    story = Story({C: "198.18.7.10", S: "198.18.7.11"})
    own, address = bytes.fromhex("02c61207000a"), inet_aton("198.18.7.10")
    arp = bytes.fromhex("0001080006040001") + own + address + bytes(6) + address
    story.frames[C].append((ZERO + 5 * MS, b"\xff" * 6 + own + b"\x08\x06" + arp))
    story.tcp(C, S, 10, 20, SYN, 1000)
    drawn = diagram_of(story.write(tmp_path)).packets
    assert [(p.kind, p.source, p.target) for p in drawn] == [("arp", C, "wire"), ("syn", C, S)]
    assert drawn[0].label.startswith("ARP announcement: 198.18.7.10 is at 02:c6:12")
    assert drawn[0].outcome == ""


def at(ms: float) -> int:
    return ZERO + round(ms * MS)


def line(ms: float, words: str) -> LogRecord:
    return LogRecord(S, "db", 1, at(ms), "stdout", words)


def step(name: str, do: str, ms: float, target: str | None, signal: str | None) -> StepRecord:
    return StepRecord(name, do, Place("s.yml", 1, 1), S, at(ms), at(ms), 0, 0, target, signal)


def told(records: Records, *lines: tuple[LogRef, Verdict]) -> list[tuple[float, str, bool]]:
    findings = [replace(finding("log", verdict, 9), lines=(ref,)) for ref, verdict in lines]
    found, hidden = moments_of(records, ZERO, findings)
    assert hidden == 0
    return [(moment.t_ns / MS, moment.text, moment.is_error) for moment in found]


def test_the_life_of_a_service_and_the_lines_that_a_check_matched() -> None:
    service = ServiceRecord(
        S, "db", 1, "db:1", at(-20), at(-5), at(90), exit_code=143, signal=15, ended_by="steps[4]"
    )
    records = Records(
        {}, None, services=(service,), logs=(line(10, "ready"), line(20, "a\x1b[31m query"), line(30, "x"))
    )
    assert told(
        records,
        (LogRef(S, "db", 1, at(20)), Verdict.PASS),
        (LogRef(S, "db", 1, at(30)), Verdict.FAIL),
    ) == [
        (-20, "db: started", False),
        (-5, "db: ready", False),
        (20, "db: “a· query”", False),
        (30, "db: “x”", True),
        (90, "db: ended by signal 15 (steps[4])", False),
    ]


@pytest.mark.parametrize(
    ("ends", "words", "bad"),
    [
        ({"exit_code": 1}, "ended with exit status 1", False),  # a check spoke of it
        ({"exit_code": 2}, "ended with exit status 2", True),
        (
            {"exit_code": 137, "signal": 9, "limit": "db reached its limit of 64MB of output (limits.logs)"},
            "ended: db reached its limit of 64MB of output",
            True,
        ),
        ({"exit_code": 0, "may_end": True}, "ended with exit status 0", False),
        ({"exit_code": 137, "out_of_memory": True}, "killed by the kernel: out of memory", False),
        ({"exit_code": 0, "ended_by": ""}, "ended with exit status 0, with the lab", False),
        ({"error": "no such file"}, "not started: no such file", True),
    ],
)
def test_how_a_service_ended(ends: dict[str, object], words: str, bad: bool) -> None:
    service = replace(ServiceRecord(S, "db", 2, "db:1", ended_wall_ns=at(90)), **ends)
    alone = replace(finding("service.end", Verdict.FAIL, 9), reason=f"{S}/db: no step ended it")
    judged = [alone] if ends.get("exit_code") == 2 else []
    found, _ = moments_of(Records({}, None, services=(service,)), ZERO, judged)
    assert [(one.text, one.is_error) for one in found] == [(f"db (start 2): {words}", bad)]


def test_signals_are_told_of_whom_they_went_to() -> None:
    steps = (
        step("steps[0]", "pause", 10, "db", "STOP"),
        step("steps[1]", "resume", 20, "db", "CONT"),
        step("steps[2]", "kill", 30, "worker", "TERM"),
        step("steps[3]", "kill", 40, None, None),  # as an older run folder has it
        step("steps[4]", "sleep", 50, None, None),
    )
    assert [text for _, text, _ in told(Records({}, None, steps=steps))] == [
        "db: paused (steps[0])",
        "db: resumed (steps[1])",
        "worker: signal TERM (steps[2])",
        "signal (steps[3])",
    ]


def moments(*texts: str) -> tuple[Moment, ...]:
    return tuple(Moment(S, n * MS, words, "service") for n, words in enumerate(texts))


@pytest.mark.parametrize("hosts", [2, 3])
def test_moments_stand_on_their_hosts_lane_in_every_drawing(hosts: int) -> None:
    names = (Host(C), Host(S), Host("third"))[:hosts]
    drawn = diagram([packet(1, 0, 20)], hosts=names, moments=moments("db: started", "db: ready"), end_ns=20)
    for metrics in (None, NARROW):
        layout = lay_out(drawn, metrics)
        assert [m.y for m in layout.moments] == sorted(m.y for m in layout.moments)
        assert layout.moments[1].y - layout.moments[0].y >= 13
        assert any("db: ready" in words for words in words_of(layout))
        assert all(layout.blocks[1].left <= m.x <= layout.blocks[1].right for m in layout.moments)
    assert "◆ db: started" in text.render(drawn)
    assert "* db: started" in text.render(drawn, ascii=True)
    assert "db: started" in mermaid.render(drawn)
    assert "a service, a line of its log, a signal" in [words for _, words in legend.samples(drawn)]


def test_a_long_moment_is_folded_in_the_terminal() -> None:
    words = "db: “" + "many words of a log " * 5 + "”"
    lines = text.render(diagram([packet(1, 0, 20)], moments=moments(words))).splitlines()
    assert all(cells(row) <= 80 for row in lines)
    assert sum("many words of a log" in row for row in lines) == 2


def test_the_page_shows_letters_and_says_which_states_it_does_not_draw(texts: Sequence[str]) -> None:
    page = texts[0]
    assert '<option value="0">A: client:' in page
    assert "The states of 3 more sockets are in the table below." in page


@pytest.fixture
def texts(tmp_path: Path) -> list[str]:
    from lab.report.html import render_html
    from tests.unit.report_helpers import result

    story = Story({C: "198.18.7.10", S: "198.18.7.11"})
    for n in range(5):
        ports = (40_000 + n, 8001)
        story.tcp(C, S, n, 10 + n, SYN, 1000, ports=ports)
        story.state(S, 20 + n, "ESTABLISHED", 8001, (C, 40_000 + n))
    return [render_html(result(), story.write(tmp_path))]


def test_what_the_network_did_is_said_in_few_words_where_there_is_little_room(tmp_path: Path) -> None:
    story = CheckedStory(tmp_path)
    Connection(story).send(0, "client", "PA", b"x" * 1448, copies=1)
    copied = diagram_of(story.evidence()).packets[0]
    assert copied.note == "duplicated by the network"
    assert fitting(copied, 32) == "PSH,ACK seq=1 len=1448 copied"
    datagram = packet(
        1, 0, 20, kind="udp", label="UDP 42445 → 9001 len=4", note=copied.note, brief=("copied",)
    )
    assert fitting(datagram, 30) == "UDP 42445 → 9001 len=4 copied"
    assert fitting(datagram, 20) == "UDP len=4 copied"


def test_a_call_with_many_words_has_two_lines() -> None:
    title = "first.connect(server:8001, from_port 40001)"
    drawn = diagram([packet(1, 0, 20)], calls=(call(C, title, 0, 0.1), call(C, "x.close()", 0.2, 0.3)))
    layout = lay_out(drawn)
    assert [words for _, words, _ in layout.calls[0].lines] == [
        "first.connect(server:8001,",
        "from_port 40001)",
        "ok · 1 ms",
    ]
    heights = [y for shape in layout.calls for y, _, _ in shape.lines]
    assert all(low - high >= 11 for high, low in pairwise(heights))


def test_the_words_of_a_host_that_is_alone_have_room() -> None:
    drawn = diagram(hosts=(Host(C),), calls=(call(C, "a.connect(192.0.2.1:8001)", 0, 1),), end_ns=MS)
    layout = lay_out(drawn, NARROW)
    for said in layout.spoken:
        assert said.x >= layout.blocks[0].right
        assert said.x + max(map(len, said.lines)) * NARROW.said_char <= layout.width
