"""Short texts for what a diagram shows: links, wire events, calls with their outcomes, packets."""

from __future__ import annotations

from collections.abc import Mapping
from socket import inet_ntoa

from lab.evidence.model import CallRecord, Endpoint, Json, RunRecord, WireEvent
from lab.evidence.packets import ACK, FIN, RST, SYN, CaptureError, Packet
from lab.harmless import clean
from lab.link import Impairment, Link
from lab.quantities import duration, size
from lab.report.diagram.model import PacketKind
from lab.report.text import cut

_ICMP = {
    (0, 0): "echo reply",
    (3, 0): "net unreachable",
    (3, 1): "host unreachable",
    (3, 3): "port unreachable",
    (3, 4): "fragmentation needed",
    (5, 0): "redirect",
    (8, 0): "echo request",
    (11, 0): "TTL exceeded",
}
_ICMPV6 = {
    128: "echo request",
    129: "echo reply",
    1: "unreachable",
    2: "packet too big",
    133: "router solicitation",
}
_ICMPV6 |= {134: "router advertisement", 135: "neighbour solicitation", 136: "neighbour advertisement"}


def impairment(value: Impairment) -> str:
    """`20ms ± 1ms normal, loss 5%, rate 10mbit`; "" if nothing is impaired."""
    parts = []
    if value.delay is not None:
        text = str(value.delay)
        if value.jitter is not None:
            text += f" ± {value.jitter}" + (f" {value.distribution}" if value.distribution else "")
        parts.append(text)
    for name in ("loss", "duplicate", "reorder", "corrupt", "rate", "burst"):
        if (given := getattr(value, name)) is not None:
            parts.append(f"{name} {given}")
    if value.gemodel is not None:
        parts.append(f"loss in bursts (p {value.gemodel.p}, r {value.gemodel.r})")
    if value.limit is not None:
        parts.append(f"queue {value.limit} packets")
    if value.mtu is not None:
        parts.append(f"MTU {value.mtu}")
    return ", ".join(parts)


def link(value: Link) -> tuple[str, ...]:
    """One line if both directions are the same, otherwise one for each."""
    up, down = impairment(value.up), impairment(value.down)
    if up == down:
        return (f"link {up}",) if up else ("link not impaired",)
    return (f"up {up or 'not impaired'}", f"down {down or 'not impaired'}")


def wire_event(event: WireEvent) -> str:
    """`link client up: 50ms, loss 100%`, `cut server (both ways)`, `drop the next 2 syn client → server`."""
    match event.action:
        case "link":
            now = impairment(event.impairment) if event.impairment else ""
            way = f" {event.direction}" if event.direction else ""
            return f"link {event.host}{way}: {now or 'not impaired'}"
        case "cut" | "restore":
            way = "" if event.direction in (None, "both") else f" ({event.direction})"
            return f"{event.action} {event.host}{way}"
        case "partition" | "heal":
            return f"{event.action} " + " | ".join(event.between or ())
        case "drop":
            what = "+".join(event.match) if isinstance(event.match, tuple) else str(event.match or "")
            many = (
                "" if event.count is None else "the next " if event.count == 1 else f"the next {event.count} "
            )
            return f"drop {many}{what} {event.source or 'any'} → {event.target or 'any'}"
        case "power_off" | "power_on":
            return f"{event.host}: {event.action.replace('_', ' ')}"
        case "apart":
            return "no network in common: " + " | ".join(event.between or ())


def call_title(call: CallRecord) -> str:
    """`c.connect(server:8001)`, with the process unless it is main."""
    what = f"{call.socket}.{call.call}" if call.socket else call.call
    process = "" if call.process == "main" else f"{call.process}: "
    return clean(f"{process}{what}({_arguments(call.arguments)})")


_SILENT = {"on", "as", "as_", "at", "timeout", "process", "kind", "family", "background", "id"}
_BARE = {"to", "size", "port", "data", "value", "option", "how", "backlog"}


def _arguments(arguments: Mapping[str, Json]) -> str:
    parts = []
    for name, value in arguments.items():
        if name in _SILENT or value is None:
            continue
        text = (
            quote(value.encode("utf-8", "surrogatepass"))
            if name == "data" and isinstance(value, str)
            else _argument(value)
        )
        parts.append(text if name in _BARE and name != "backlog" else f"{name} {text}")
    return ", ".join(parts)


def _argument(value: Json) -> str:
    if isinstance(value, dict):
        if "length" in value:
            return size(int(value["length"]))
        if "repeat" in value:
            return f"{value['repeat']!r} × {value.get('times', 1)}"
        if "random" in value:
            return f"{_size(value['random'])} random"
        if "text" in value:
            return quote(str(value["text"]).encode("utf-8", "surrogatepass"))
        if "address" in value and "port" in value:
            return f"{value.get('host') or value['address']}:{value['port']}"
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return cut(str(value), 40)


def _size(value: Json) -> str:
    return size(value) if isinstance(value, int) else str(value)


def quote(data: bytes, room: int = 24) -> str:
    """A short preview of bytes: quoted text if they are printable, otherwise "" (show their size instead)."""
    try:
        text = data[: room * 4].decode()
    except UnicodeDecodeError:
        return ""
    text = text.replace("\n", "⏎").replace("\r", "␍").replace("\t", "␉")
    if not text or not text.isprintable():
        return ""
    return "“" + cut(text, room) + "”"


def endpoint(value: Endpoint, names: Mapping[str, str]) -> str:
    """`client:40000`, with the host's name if it is known."""
    name = names.get(value.address)
    return f"{name}:{value.port}" if name else str(value)


def call_outcome(call: CallRecord, names: Mapping[str, str]) -> str:
    """`= 5 B “hello”`, `ETIMEDOUT`, `= end of stream`, `ok`; then how long it took."""
    took = duration(call.elapsed_ns)
    return f"{_outcome(call, names)} · {took}"


def _outcome(call: CallRecord, names: Mapping[str, str]) -> str:
    if call.error is not None:
        sent = f" after {size(call.length)}" if call.length else ""
        return f"{call.error.name}{sent}"
    if call.eof:
        return "= end of stream"
    if call.data is not None:
        length = call.length if call.length is not None else len(call.data)
        cutoff = ", cut short" if call.truncated else ""
        return f"= {size(length)} {quote(call.data)}".rstrip() + cutoff
    if call.peer is not None:
        return f"= from {endpoint(call.peer, names)}"
    if call.result is not None:
        return f"= {cut(str(call.result), 24)}"
    return "ok"


def run_title(run: RunRecord) -> str:
    return clean("$ " + " ".join(run.command))


def run_outcome(run: RunRecord) -> str:
    took = duration(run.end_mono_ns - run.start_mono_ns)
    if run.error:
        return f"{run.error} · {took}"
    if run.exit_code is None:
        return "did not end"
    how = f"signal {-run.exit_code}" if run.exit_code < 0 else f"exit {run.exit_code}"
    return f"{how} · {took}"


def packet_kind(packet: Packet) -> PacketKind:
    if packet.protocol == "tcp":
        for bit, kind in ((RST, "rst"), (SYN, "syn"), (FIN, "fin")):
            if packet.flags & bit:
                return kind  # type: ignore[return-value]
        return "data" if packet.payload_len else "ack"
    kinds: dict[str, PacketKind] = {"udp": "udp", "icmp": "icmp", "icmpv6": "icmp", "arp": "arp"}
    return kinds.get(packet.protocol, "other")


def packet_label(packet: Packet, relative: tuple[int, int] | None) -> str:
    """`PSH,ACK seq=1 ack=1 len=11`, with relative numbers."""
    if packet.protocol == "tcp":
        seq, ack = relative if relative is not None else (packet.seq, packet.ack)
        flags = sorted(packet.flag_names, key=lambda name: name == "ACK")
        parts = [",".join(flags) or "no flags", f"seq={seq}"]
        if packet.flags & ACK:
            parts.append(f"ack={ack}")
        if packet.payload_len:
            parts.append(f"len={packet.payload_len}")
        return " ".join(parts)
    if packet.protocol == "udp":
        part = packet.fragment
        if part is not None and part[0]:  # only the first one has the ports
            return f"UDP fragment at {part[0]} len={packet.payload_len}"
        return f"UDP {packet.sport} → {packet.dport} len={packet.payload_len}" + (
            f" fragment at {part[0]}" if part else ""
        )
    if packet.protocol == "icmp":
        kind = (packet.icmp_type or 0, packet.icmp_code or 0)
        return "ICMP " + _ICMP.get(kind, f"type {kind[0]} code {kind[1]}")
    if packet.protocol == "icmpv6":
        return "ICMPv6 " + _ICMPV6.get(
            packet.icmp_type or 0, f"type {packet.icmp_type} code {packet.icmp_code}"
        )
    if packet.protocol == "arp":
        return _arp(packet)
    return packet.protocol.upper()


def _arp(packet: Packet) -> str:
    """`ARP who has 198.18.0.11?`, `ARP 198.18.0.11 is at 02:c6:…`, `ARP announcement: 198.18.0.11 is at …`.

    An announcement (RFC 5227) asks for its sender's own address, and wants no answer.
    """
    try:
        body = packet.frame()[14:42]
    except CaptureError:
        return "ARP"
    if len(body) < 28 or body[6:8] not in (b"\0\1", b"\0\2"):
        return "ARP"
    is_at = f"{inet_ntoa(body[14:18])} is at {body[8:14].hex(':')}"
    if body[14:18] == body[24:28]:
        return f"ARP announcement: {is_at}"
    return f"ARP who has {inet_ntoa(body[24:28])}?" if body[7] == 1 else f"ARP {is_at}"
