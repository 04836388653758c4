"""One journey as a drawable packet, with all that can be said of it for the details."""

from __future__ import annotations

from lab.evidence.packets import ACK, CaptureError
from lab.evidence.trace import Flow, Journey, Trace
from lab.quantities import clock, duration
from lab.report.diagram import words
from lab.report.diagram.model import Packet


def packet_of(trace: Trace, journey: Journey, zero: int, decisive: set[tuple[str, int]]) -> Packet:
    packet = journey.packet
    flow = trace.flows[journey.flow] if journey.flow is not None else None
    relative = flow.relative(packet) if flow is not None and packet.protocol == "tcp" else None
    note: str = journey.mark
    if journey.retransmits is not None and not note:
        note = "retransmission"
    notes = [note] if note else []
    if journey.reordered:
        notes.append("arrived out of order")
    if journey.copies:
        notes.append("duplicated by the network")
    if journey.fate.value == "corrupted":
        notes.append("corrupted on the way")
    preview = _preview(journey)
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
        cause=journey.cause.text if journey.cause is not None else "",
        note=", ".join(notes),
        retransmits=journey.retransmits,
        copies_ns=tuple(copy.t_ns - zero for copy in journey.copies),
        payload=preview,
        decisive=any((ref.host, ref.number) in decisive for ref in journey.refs),
        length=packet.payload_len,
        fields=_fields(journey, flow, relative, zero, preview),
    )


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
    fields["fate"] = journey.fate.value + (f": {journey.cause.text}" if journey.cause else "")
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
        listed = [
            f"MSS {options.mss}" if options.mss is not None else "",
            f"window scale {options.window_scale}" if options.window_scale is not None else "",
            "SACK permitted" if options.sack_permitted else "",
            f"SACK {len(options.sack)} blocks" if options.sack else "",
            f"TS {options.ts_value}/{options.ts_echo}" if options.ts_value is not None else "",
        ]
        if text := ", ".join(item for item in listed if item):
            fields["options"] = text
    fields["payload"] = f"{packet.payload_len:,} B" + (f" {preview}" if preview else "")
    fields["frame"] = f"{packet.length:,} B, TTL {packet.ttl}, IP id {packet.ip_id:#06x}"
    return fields


def _end(address: str, port: int, host: str) -> str:
    name = "the wire" if host == "wire" else host
    return f"{name} ({address}:{port})" if port else f"{name} ({address})"
