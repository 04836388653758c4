"""Turns one journey into a drawable packet with all its details."""

from __future__ import annotations

from lab.evidence.packets import ACK, CaptureError
from lab.evidence.trace import Flow, Journey, Trace
from lab.quantities import clock, duration
from lab.report.diagram import words
from lab.report.diagram.model import Packet, spoken_name

_ALL = (1 << 32) - 1


def packet_of(trace: Trace, journey: Journey, zero: int, decisive: set[tuple[str, int]]) -> Packet:
    packet = journey.packet
    flow = trace.flows[journey.flow] if journey.flow is not None else None
    relative = flow.relative(packet) if flow is not None and packet.protocol == "tcp" else None
    notes, brief = _note(journey, relative)
    network = [
        words
        for words, so in (
            (("arrived out of order", "out of order"), journey.reordered),
            (("duplicated by the network", "copied"), bool(journey.copies)),
            (("corrupted on the way", "corrupted"), journey.fate.value == "corrupted"),
        )
        if so
    ]
    if network:
        short = [words for _, words in network]
        brief = (
            *(", ".join((words, *short)) for words in brief),
            *((", ".join((*notes, *short)),) if not brief else ()),
            ", ".join(short),
        )
        notes += [words for words, _ in network]
    preview = _preview(journey)
    reason = journey.cause or journey.discarded
    return Packet(
        key=journey.number,
        source=journey.source,
        target=journey.target,
        sent_ns=journey.sent.t_ns - zero if journey.sent else None,
        received_ns=journey.received.t_ns - zero if journey.received else None,
        kind=words.packet_kind(packet),
        label=words.packet_label(packet, relative),
        fate=journey.fate.value,
        flow=journey.flow,
        cause=reason.text if reason is not None else "",
        discarded=journey.discarded is not None,
        note=", ".join(notes),
        brief=brief,
        retransmits=journey.retransmits,
        copies_ns=tuple(copy.t_ns - zero for copy in journey.copies),
        payload=preview,
        decisive=any((ref.host, ref.number) in decisive for ref in journey.refs),
        fields=_fields(journey, flow, relative, zero, preview),
    )


def _note(journey: Journey, relative: tuple[int, int] | None) -> tuple[list[str], tuple[str, ...]]:
    """What is special about a segment, and the same in ever fewer words.

    For an ACK that acknowledges nothing new: what it asks for, and its SACK and D-SACK blocks.
    """
    mark: str = journey.mark
    if journey.retransmits is not None and not mark:
        mark = "retransmission"
    if relative is None or not journey.packet.flags & ACK:
        return [mark] if mark else [], ("again",) if journey.retransmits is not None else ()
    twice, held = _blocks(journey, relative)
    if mark != "duplicate ack":
        notes = [mark] if mark else []
        if journey.retransmits is not None:
            return notes, ("again",)
        few = _few(held)
        return notes + twice + held, (", ".join(notes + few), *notes) if few else tuple(notes)
    if twice:
        return [f"{mark}: {twice[0]} came twice", *held], (twice[0],)
    if not held:
        return [f"{mark}: still asks for seq={relative[1]}"], (f"asks for {relative[1]} again",)
    asks = f"asks for {relative[1]} again"
    return (
        [f"{mark}: asks for seq={relative[1]} again", *held],
        tuple(
            ", ".join(words) for words in ((asks, *held), ("again", *held), ("again", *_few(held)), (asks,))
        ),
    )


def _blocks(journey: Journey, relative: tuple[int, int]) -> tuple[list[str], list[str]]:
    """The D-SACK block (RFC 2883) and the SACK blocks as `SACK 1449–2897`: the first byte and the one after
    the last, in relative numbers."""
    packet = journey.packet
    blocks = packet.options.sack
    zero = packet.ack - relative[1]

    def text(block: tuple[int, int]) -> str:
        return f"{(block[0] - zero) & _ALL}–{(block[1] - zero) & _ALL}"

    def beyond(block: tuple[int, int]) -> bool:
        return 0 < (block[1] - packet.ack) & _ALL < _ALL // 2

    twice = blocks[:1]
    if twice and beyond(twice[0]) and not (len(blocks) > 1 and _within(twice[0], blocks[1])):
        twice = ()
    held = blocks[len(twice) :]
    return [f"D-SACK {text(b)}" for b in twice], [f"SACK {', '.join(map(text, held))}"] if held else []


def _few(held: list[str]) -> list[str]:
    """Only the first SACK block, which is the newest."""
    return [f"{text.split(',')[0]}, …" if "," in text else text for text in held]


def _within(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    return (inner[0] - outer[0]) & _ALL <= (outer[1] - outer[0]) & _ALL and (inner[1] - outer[0]) & _ALL <= (
        outer[1] - outer[0]
    ) & _ALL


def _preview(journey: Journey) -> str:
    packet = journey.packet
    if not packet.payload_len or packet.protocol not in ("tcp", "udp"):
        return ""
    try:
        return words.quote(packet.payload()[:64])
    except CaptureError:
        return ""


def _fields(
    journey: Journey, flow: Flow | None, relative: tuple[int, int] | None, zero: int, preview: str
) -> dict[str, str]:
    packet = journey.packet
    fields = {"flow": flow.name} if flow is not None else {}
    fields["from"] = _end(packet.source, packet.sport, journey.source)
    fields["to"] = _end(packet.target, packet.dport, journey.target)
    if journey.sent is not None:
        fields["sent"] = (
            f"{clock(journey.sent.t_ns - zero)} (frame {journey.sent.number} at {journey.sent.host})"
        )
    for n, arrival in enumerate((journey.received, *journey.copies)):
        if arrival is not None:
            name = "received" if n == 0 else f"copy {n}"
            fields[name] = f"{clock(arrival.t_ns - zero)} (frame {arrival.number} at {arrival.host})"
    if journey.delay_ns is not None:
        fields["one-way delay"] = duration(journey.delay_ns)
    reason = journey.cause or journey.discarded
    fields["fate"] = journey.fate.value + (f": {reason.text}" if reason is not None else "")
    if journey.mark:
        fields["mark"] = journey.mark
    if journey.retransmits is not None:
        fields["sends again"] = f"packet {journey.retransmits}"
    if packet.protocol == "tcp":
        fields["flags"] = ", ".join(packet.flag_names) or "none"
        seq, ack = relative or (packet.seq, packet.ack)
        fields["seq"] = f"{seq} (raw {packet.seq})"
        if packet.flags & ACK:
            fields["ack"] = f"{ack} (raw {packet.ack})"
        fields["window"] = f"{packet.window} (raw field)"
        options = packet.options
        twice, held = _blocks(journey, (seq, ack)) if packet.flags & ACK else ([], [])
        listed = [
            f"MSS {options.mss}" if options.mss is not None else "",
            f"window scale {options.window_scale}" if options.window_scale is not None else "",
            "SACK permitted" if options.sack_permitted else "",
            *twice,
            *held,
            f"TS {options.ts_value}/{options.ts_echo}" if options.ts_value is not None else "",
        ]
        if text := ", ".join(item for item in listed if item):
            fields["options"] = text
    fields["payload"] = f"{packet.payload_len:,} B" + (f" {preview}" if preview else "")
    fields["frame"] = f"{packet.length:,} B, TTL {packet.ttl}, IP id {packet.ip_id:#06x}"
    return fields


def _end(address: str, port: int, host: str) -> str:
    name = spoken_name(host)
    return f"{name} ({address}:{port})" if port else f"{name} ({address})"
