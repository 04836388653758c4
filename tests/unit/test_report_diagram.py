"""The sequence diagram: heights of moments, places of shapes, and what the three renderings say."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.report.diagram import mermaid, svg, text
from lab.report.diagram.bundling import Budget
from lab.report.diagram.lanes import spread
from lab.report.diagram.layout import lay_out
from lab.report.diagram.model import Band, Bundle, Call, Diagram, Host, Packet, State
from lab.report.diagram.shapes import Arrow
from lab.report.diagram.source import diagram_of
from lab.report.diagram.timemap import Mark, Scale, build
from lab.report.text import cells
from lab.verdict import PacketRef, Verdict
from tests.unit.report_helpers import MS, STORIES, Story, bulk_story, finding, loss_story, three_story

SVG = "{http://www.w3.org/2000/svg}"
C, S = "client", "server"


def packet(key: int, sent: float, received: float | None, source: str = C, **more: object) -> Packet:
    values: dict[str, object] = {"kind": "data", "label": f"PSH,ACK seq={key} len=1", "flow": 0}
    values.update(more)
    if received is None:
        values.setdefault("fate", "lost")
    return Packet(
        key,
        source,
        S if source == C else C,
        round(sent * MS),
        None if received is None else round(received * MS),
        **values,  # type: ignore[arg-type]
    )


def diagram(packets: Sequence[Packet] = (), **more: object) -> Diagram:
    values: dict[str, object] = {"hosts": (Host(C, "198.18.0.10"), Host(S, "198.18.0.11")), "end_ns": 0}
    values.update(more)
    return Diagram("test", packets=tuple(packets), total_packets=len(packets), **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Diagram]:
    """The diagrams of all stories, from run folders."""
    found = {}
    for name, story in STORIES.items():
        failing = finding("recv", Verdict.FAIL, 17, source="steps[7]", packets=(PacketRef("client", 6),))
        folder = tmp_path_factory.mktemp(name)
        found[name] = diagram_of(story().write(folder), title=name, findings=[failing])
    return found


# Heights


def test_later_is_lower_and_the_same_moment_the_same_height() -> None:
    times = build([Mark(0, "a"), Mark(10 * MS, "a"), Mark(10 * MS, "b"), Mark(30 * MS, "b")], Scale(1e-6))
    assert [times.y(t) for t in (0, 10 * MS, 30 * MS)] == [0, 10, 30]
    assert times.y(20 * MS) == 20
    assert times.y(-1) == 0
    assert times.y(99 * MS) == 30


def test_a_lane_gets_its_room_and_only_where_it_is_needed() -> None:
    marks = [
        Mark(0, "a"),
        Mark(1 * MS, "a", room=16),
        Mark(2 * MS, "b", room=16),
        Mark(60 * MS, "a", room=16),
    ]
    times = build(marks, Scale(1e-6))
    assert times.y(1 * MS) == 16
    assert times.y(2 * MS) == 17
    assert times.y(60 * MS) == 75


def test_silences_are_folded_and_say_how_long_they_are() -> None:
    times = build([Mark(0, "a"), Mark(3_000 * MS, "a"), Mark(3_010 * MS, "a")], Scale(1e-6, fold_ns=100 * MS))
    assert [fold.ns for fold in times.folds] == [3_000 * MS]
    assert times.y(3_000 * MS) == 64
    assert 0 < times.folds[0].y < 64
    none = build([Mark(0, "a"), Mark(99 * MS, "a")], Scale(1e-6, fold_ns=100 * MS))
    assert none.folds == ()


@given(
    st.lists(
        st.tuples(st.integers(-(10**9), 10**11), st.sampled_from("abc"), st.floats(0, 40), st.floats(0, 30)),
        max_size=60,
    )
)
def test_heights_never_go_back_and_lanes_never_collide(items: list[tuple[int, str, float, float]]) -> None:
    times = build([Mark(*item) for item in items], Scale(1e-6))
    assert list(times.heights) == sorted(times.heights)
    assert list(times.times) == sorted({item[0] for item in items})
    for lane in "abc":
        own = sorted({item[0] for item in items if item[1] == lane})
        for before, after in pairwise(own):
            room = max(item[2] for item in items if item[:2] == (after, lane))
            assert times.y(after) >= times.y(before) + room - 1e-6


def test_spans_that_overlap_stand_side_by_side() -> None:
    assert spread([(0, 10), (5, 15), (10, 20), (6, 7)]) == [0, 1, 0, 2]
    assert spread([]) == []


# Places


def test_arrows_run_from_edge_to_edge_at_their_real_moments() -> None:
    layout = lay_out(diagram([packet(1, 0, 20), packet(2, 25, 65, source=S)]))
    there, back = layout.arrows
    left, right = layout.blocks[0].edge_right, layout.blocks[1].edge_left
    assert (there.x1, there.x2) == (left, right)
    assert (back.x1, back.x2) == (right, left)
    assert there.y1 < there.y2 < back.y1 < back.y2
    # Twice the delay, twice the fall: the gaps between these moments are all drawn to scale.
    assert back.y2 - back.y1 == pytest.approx(2 * (there.y2 - there.y1), rel=0.05)


def test_a_lost_packet_ends_at_the_wire_and_says_why() -> None:
    layout = lay_out(
        diagram([packet(1, 0, None, cause="dropped by rule drop-1 (steps[5])"), packet(2, 30, 50)])
    )
    lost = layout.arrows[0]
    assert lost.x2 == layout.wires[0]
    assert lost.under.lines == ("× dropped by rule drop-1 (steps[5])",)


def test_labels_beside_one_host_do_not_collide() -> None:
    """Forty segments within 40 µs, and as many acknowledgements."""
    packets = [packet(n, n / 1000, 20 + n / 1000) for n in range(40)]
    packets += [packet(50 + n, 21 + n / 1000, 41 + n / 1000, source=S) for n in range(40)]
    layout = lay_out(diagram(packets))
    for side in ("start", "end"):
        own = sorted((a for a in layout.arrows if a.anchor == side), key=lambda a: a.label_y)
        assert all(b.label_y - a.label_y >= 13 for a, b in pairwise(own))
        assert all(b.y2 - a.y2 >= 10 for a, b in pairwise(own))


def test_labels_stay_in_their_half_or_are_cut(drawn: dict[str, Diagram]) -> None:
    for story in drawn.values():
        layout = lay_out(story)
        gap = layout.metrics.gap if len(layout.blocks) == 2 else layout.metrics.gap_many
        for arrow in layout.arrows:
            assert len(arrow.label) * layout.metrics.char < gap
            assert layout.metrics.axis <= arrow.label_x <= layout.width


def test_a_retransmission_is_joined_to_the_one_before() -> None:
    packets = [packet(1, 0, None), packet(2, 200, None, retransmits=1), packet(3, 600, 620, retransmits=1)]
    layout = lay_out(diagram(packets))
    first, second = layout.joins
    rows: dict[int, Arrow] = {arrow.packet.key: arrow for arrow in layout.arrows}
    assert (first.y1, first.y2) == (rows[1].y1, rows[2].y1)
    assert (second.y1, second.y2) == (rows[2].y1, rows[3].y1)


def test_what_is_left_below_a_lost_packet_is_not_folded_away() -> None:
    layout = lay_out(diagram([packet(1, 0, None, cause="loss 5%"), packet(2, 3_000, 3_020)]))
    assert layout.folds[0].y - 11 >= layout.arrows[0].y2 + 5


def test_calls_that_overlap_stand_side_by_side_and_short_ones_take_one_line() -> None:
    calls = (
        Call("1", S, "accept()", "ok · 50 ms", 0, 50 * MS),
        Call("2", S, "recv(5)", "ok · 1 ms", 10 * MS, 11 * MS),
        Call("3", C, "close()", "ok", 10 * MS, 10 * MS),
    )
    layout = lay_out(diagram(calls=calls, end_ns=60 * MS))
    assert layout.calls[0].x != layout.calls[1].x
    assert [line[1] for line in layout.calls[2].lines] == ["close() ok"]
    assert layout.calls[0].y1 < layout.calls[1].y1 < layout.calls[0].y2


def test_three_hosts_stand_so_that_the_fewest_arrows_pass_behind_one(drawn: dict[str, Diagram]) -> None:
    assert [host.name for host in drawn["three"].hosts][1] == "server"
    layout = lay_out(drawn["three"])
    middle = layout.blocks[1]
    assert middle.edge_left is not None
    assert middle.edge_right is not None
    assert len(layout.wires) == 2


# From evidence


def test_the_story_of_a_loss_is_in_the_diagram(drawn: dict[str, Diagram]) -> None:
    story = drawn["loss"]
    assert [p.label for p in story.packets[:3]] == ["SYN seq=0", "SYN,ACK seq=0 ack=1", "ACK seq=1 ack=1"]
    lost = [p for p in story.packets if p.fate == "lost"]
    assert [p.cause for p in lost] == ["dropped by rule drop-1 (steps[5])"]
    assert lost[0].decisive
    again = [p for p in story.packets if p.retransmits is not None]
    assert [p.retransmits for p in again] == [lost[0].key]
    hello = next(p for p in story.packets if p.payload)
    assert hello.payload == "“hello world”"
    assert hello.fields["one-way delay"] == "20.4 ms"
    assert hello.fields["seq"] == "1 (raw 1000001)"
    assert [call.step for call in story.calls if call.failed] == ["steps[7]"]
    states = [state.label for state in story.states if state.host == C]
    assert states == ["SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "TIME_WAIT"]
    assert [band.text for band in story.bands] == ["drop the next data client → server"]


def test_a_cut_is_a_band_until_it_is_restored(drawn: dict[str, Diagram]) -> None:
    cut, restore = drawn["timeout"].bands
    assert cut.end_ns == restore.start_ns
    assert [p.cause for p in drawn["timeout"].packets if p.fate == "lost"] == [
        "server is cut (down) (steps[0])"
    ] * 3
    assert [p.kind for p in drawn["timeout"].packets][-2:] == ["icmp", "icmp"]


def test_a_long_transfer_is_bundled_and_says_so(drawn: dict[str, Diagram], tmp_path: Path) -> None:
    story = drawn["bulk"]
    single, bundled = len(story.packets), sum(bundle.packets for bundle in story.bundles)
    assert single + bundled == story.total_packets > 900
    assert single <= Budget().special + Budget().all_below
    assert any("bundle" in sentence for sentence in story.omitted)
    assert sum(p.fate == "lost" for p in story.packets) + sum(b.lost for b in story.bundles) == 6
    tight = Budget(all_below=5, special=8, ends=2, bundles=10)
    small = diagram_of(bulk_story(600).write(tmp_path), budget=tight)
    assert len(small.bundles) <= 10
    assert len(small.packets) <= 13
    assert len(small.packets) + sum(b.packets for b in small.bundles) == small.total_packets
    assert sum(p.fate == "lost" for p in small.packets) + sum(b.lost for b in small.bundles) == 6


def test_housekeeping_of_ipv6_is_counted_not_drawn(tmp_path: Path) -> None:
    story = Story({C: "198.18.7.10", S: "198.18.7.11"})
    story.tcp(C, S, 1, 2, 2, 1)
    head = bytes.fromhex("6000000000083aff") + bytes(31) + b"\x01" + bytes(15) + b"\x02"
    frame = b"\x33\x33\0\0\0\x01" + b"\x02\xc6\x12\x07\0\x0a" + b"\x86\xdd"
    story.frames[C].append((story.ns(0.5), frame + head[:40] + b"\x85\0\0\0\0\0\0\0"))
    found = diagram_of(story.write(tmp_path))
    assert [p.kind for p in found.packets] == ["syn"]
    assert "1 packet of housekeeping" in found.omitted[0]


# SVG


def texts(document: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(document).iter(f"{SVG}text")]


def test_svg_is_well_formed_and_shows_everything(drawn: dict[str, Diagram]) -> None:
    for story in drawn.values():
        document = svg.render(story)
        root = ET.fromstring(document)
        groups = [g for g in root.iter(f"{SVG}g") if g.get("data-k", "").startswith("p")]
        assert len(groups) == len(story.packets)
        assert all(g.attrib["aria-label"] for g in groups)
        assert root.find(f"{SVG}title") is not None
        assert "http://" not in document.replace("http://www.w3.org/2000/svg", "")


def test_svg_says_in_words_what_colours_say(drawn: dict[str, Diagram]) -> None:
    said = texts(svg.render(drawn["loss"]))
    for words in (
        "ESTABLISHED",
        "TIME_WAIT",
        "× dropped by rule drop-1 (steps[5])",
        "c.connect(server:8001)",
    ):
        assert words in said
    assert any("retransmission" in label for label in said)
    assert any("in which nothing happens" in label for label in said)
    assert "drop the next data client → server" in said


def test_svg_escapes_what_scenarios_and_packets_bring() -> None:
    evil = '<script>alert("1")</script>&'
    document = svg.render(
        diagram(
            [packet(1, 0, 20, label=evil, cause=evil), packet(2, 30, None, label=evil, cause=evil)],
            hosts=(Host(C, evil, (evil,)), Host(S)),
            calls=(Call("1", C, evil, evil, 0, MS, step=evil),),
            states=(State(C, evil, evil, 0, MS),),
            bands=(Band(evil, 0, MS),),
            end_ns=MS,
        )
    )
    assert "<script" not in document
    assert ET.fromstring(document) is not None
    assert evil in texts(document)


def test_svg_of_nothing_and_of_one_host() -> None:
    assert ET.fromstring(svg.render(diagram())) is not None
    one = diagram(hosts=(Host(C),), calls=(Call("1", C, "bind()", "EADDRINUSE", 0, None),), end_ns=MS)
    assert "bind()" in " ".join(texts(svg.render(one)))


# Terminal


def test_the_terminal_picture_shows_slopes_losses_and_folds(drawn: dict[str, Diagram]) -> None:
    picture = text.render(drawn["loss"], width=80)
    lines = picture.splitlines()
    assert max(map(cells, lines)) <= 80
    row = next(n for n, line in enumerate(lines) if "──SYN seq=0──" in line)
    assert "╮" in lines[row]
    arrival = next(n for n, line in enumerate(lines) if n > row and "╰" in line and "▶" in line)
    assert lines[arrival].index("╰") == lines[row].index("╮")
    assert any("╳" in line and "seq=12" in line for line in lines)
    assert "dropped by rule drop-1 (steps[5])" in picture
    assert "↻ of 92.00 ms" in picture
    assert "1 s in which nothing happens" in picture
    assert "FAIL" in picture


def test_the_terminal_picture_in_ascii_has_nothing_else(drawn: dict[str, Diagram]) -> None:
    for story in drawn.values():
        picture = text.render(story, width=80, ascii=True)
        assert picture.isascii()
        assert "\x1b" not in picture
        assert text.render(story, width=80, colour=True) != text.render(story, width=80)


def test_the_terminal_picture_of_three_hosts(drawn: dict[str, Diagram]) -> None:
    picture = text.render(drawn["three"], width=80)
    head = picture.splitlines()[0]
    assert head.index("alice") < head.index("server") < head.index("bob")
    assert "RST,ACK seq=0 ack=1" in picture
    assert "ECONNREFUSED" in text.render(drawn["three"], width=120)
    assert max(map(cells, picture.splitlines())) <= 80


def test_more_in_flight_than_there_is_room_for_is_still_told() -> None:
    packets = [packet(n, n / 100, 20 + n / 100) for n in range(60)]
    picture = text.render(diagram(packets), width=80)
    for n in range(60):
        assert f"seq={n} " in picture
    assert picture.count("▶") == 60


def test_crossing_packets_cross() -> None:
    picture = text.render(
        diagram([packet(1, 0, 20, kind="fin"), packet(2, 1, 21, source=S, kind="fin")]), width=80
    )
    assert "┼" in picture or "│" in picture.splitlines()[3]
    assert picture.count("▶") == picture.count("◀") == 1


# Mermaid


def test_mermaid_names_hosts_and_draws_losses(drawn: dict[str, Diagram]) -> None:
    source = mermaid.render(drawn["loss"])
    assert source.startswith("sequenceDiagram\n    participant h0 as client\n    participant h1 as server\n")
    assert "h0->>h1: 2.30 ms SYN seq=0 (+20.1 ms)\n" in source
    assert (
        "h0-xh1: 92.00 ms PSH,ACK seq=12 ack=1 len=1448 (lost: dropped by rule drop-1 (steps[5]))\n" in source
    )
    assert "Note over h0,h1: … 1 s in which nothing happens …\n" in source


def test_mermaid_text_cannot_break_out_of_its_line() -> None:
    source = mermaid.render(diagram([packet(1, 0, 20, label="a;b#c\nend<br>")]))
    assert "a#59;b#35;c⏎end#60;br#62;" in source
    assert all(line.startswith(("sequenceDiagram", "    ")) for line in source.splitlines())


def test_a_bundle_is_told_everywhere() -> None:
    many = Bundle("0", C, S, 0, "data", 312, 451_776, 0, 50 * MS, 20 * MS, 70 * MS, lost=3, seq=(1, 451_777))
    story = diagram(bundles=(many,), end_ns=70 * MS)
    for rendered in (svg.render(story), text.render(story), mermaid.render(story)):
        assert "312 segments" in rendered
        assert "3 lost" in rendered


def test_stories_are_what_they_say() -> None:
    assert len(loss_story().frames["client"]) == 15
    assert set(three_story().hosts) == {"alice", "bob", "server"}


def test_arp_is_asked_of_the_wire_and_answered_by_it(tmp_path: Path) -> None:
    story = Story({C: "198.18.7.10", S: "198.18.7.11"})
    own, wire = bytes.fromhex("02c61207000a"), bytes.fromhex("02c612070002")
    ips = bytes([198, 18, 7, 10]), bytes([198, 18, 7, 11])
    head = bytes.fromhex("0001080006040001")
    story.frames[C].append(
        (story.ns(1), b"\xff" * 6 + own + b"\x08\x06" + head + own + ips[0] + bytes(6) + ips[1])
    )
    head = head[:7] + b"\x02"
    story.frames[C].append((story.ns(2), own + wire + b"\x08\x06" + head + wire + ips[1] + own + ips[0]))
    found = diagram_of(story.write(tmp_path))
    assert [p.label for p in found.packets] == [
        "ARP who has 198.18.7.11?",
        "ARP 198.18.7.11 is at 02:c6:12:07:00:02",
    ]
    picture = text.render(found)
    assert "who has" in picture
    assert "unknown" not in picture
    assert ET.fromstring(svg.render(found)) is not None


@pytest.mark.parametrize("operation", [1, 2])
def test_an_arp_announcement_is_no_question(tmp_path: Path, operation: int) -> None:
    """Gratuitous ARP, by a request or by an answer that nobody asked for: here the wire's, seen by a host."""
    story = Story({C: "198.18.7.10", S: "198.18.7.11"})
    wire, ip = bytes.fromhex("02c612070002"), bytes([198, 18, 7, 2])
    head = bytes.fromhex("00010800060400") + bytes([operation])
    story.frames[C].append((story.ns(1), b"\xff" * 6 + wire + b"\x08\x06" + head + wire + ip + bytes(6) + ip))
    found = diagram_of(story.write(tmp_path))
    assert [p.label for p in found.packets] == ["ARP announcement: 198.18.7.2 is at 02:c6:12:07:00:02"]
    for rendered in (text.render(found), mermaid.render(found), svg.render(found)):
        assert "announcement" in rendered
        assert "who has" not in rendered
