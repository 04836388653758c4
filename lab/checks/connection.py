"""The checks of whole connections: `handshake` and `close`."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from lab.checks.common import Context, failed, finding, found, hold_count, passed, refs
from lab.checks.expect import hold_elapsed
from lab.checks.flows import Pair
from lab.checks.moments import Window
from lab.checks.which import choose, ordinal, within
from lab.evidence.packets import ACK, FIN, RST, SYN, Packet
from lab.evidence.store import Evidence
from lab.evidence.trace import Close, Flow, Journey
from lab.quantities import duration, plural
from lab.scenario.checks import CloseCheck, HandshakeCheck
from lab.scenario.ranges import Range
from lab.verdict import Finding


class _Judged(Struct, frozen=True):
    """The judgement of one connection by a check."""

    flow: Flow
    actual: str
    reason: str  #: "" where it holds
    journeys: tuple[Journey, ...]
    tolerance: str = ""
    margin: str = ""


def _said(check: HandshakeCheck | CloseCheck, name: str, expected: str, judged: list[_Judged]) -> Finding:
    """All selected connections must hold; the first that does not is reported. With `count`, that many of
    them must hold."""
    if check.count is not None:
        return _counted(check, check.count, name, expected, judged)
    one = next((one for one in judged if one.reason), judged[0])
    actual, reason = one.actual, one.reason
    if len(judged) > 1:
        holding = f"{_holding(judged)} of {len(judged)} connections hold"
        actual = f"{actual} ({one.flow.name}; {holding})"
        if reason:
            reason = f"{holding}; the {ordinal(judged.index(one) + 1)}, {one.flow.name}: {reason}"
    packets = refs(one.journeys)
    return finding(
        check, name, expected, actual, reason, tolerance=one.tolerance, margin=one.margin, packets=packets
    )


def _holding(judged: list[_Judged]) -> int:
    return sum(not one.reason for one in judged)


def _counted(
    check: HandshakeCheck | CloseCheck, count: Range, name: str, expected: str, judged: list[_Judged]
) -> Finding:
    held = hold_count(count, _holding(judged), "connections that hold")
    if not held.ok and (other := next((one for one in judged if one.reason), None)) is not None:
        held = held.because(f"{held.reason}; {other.flow.name}: {other.reason}")
    packets = refs(journey for one in judged for journey in one.journeys)
    actual = f"{_holding(judged)} of {plural(len(judged), 'connection')}"
    return found(check, name, held, packets, expected=f"{count} × {expected}", actual=actual)


def _none(
    check: HandshakeCheck | CloseCheck, name: str, expected: str, reason: str, evidence: Evidence
) -> Finding:
    """No connection is selected: a failure, unless none is expected and the captures can tell."""
    if check.count is not None and check.count.holds(0) and evidence.captures:
        return passed(check, name, f"{check.count} × {expected}", "no connection")
    return failed(check, name, expected, "no connection", reason)


# --- handshake --------------------------------------------------------------------------------------------


def judge_handshake(check: HandshakeCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge SYN, SYN-ACK and ACK, each seen at both ends, in order; the number of SYNs; the time.

    Every connection that `from` tried to open to `to` must hold. The third packet is the first to arrive that
    acknowledges the SYN-ACK: if the first ACK was lost, data or a second ACK completes the handshake as well.
    In a simultaneous open, the third packet is the one that acknowledges the other's SYN, even a SYN-ACK.
    `elapsed` counts from the first SYN until the handshake is complete: at `from` when it sends the third
    packet (one round trip: connect() returns), at `to` when that packet arrives (one and a half: accept() can
    return). One of the two times must hold, and both are reported.
    """
    expected = "SYN, SYN-ACK, ACK at both ends, in order"
    if check.syn is not None:
        expected += f"; SYNs sent: {check.syn}"
    if check.elapsed is not None:
        expected += f"; in {check.elapsed}"
    pair = Pair.of(check.from_, check.to, context)
    window = Window.of(check, evidence.records)
    if window.missing:
        return failed(check, "handshake", expected, "no connection", window.missing)
    chosen = choose(check, pair.connections(evidence), pair, evidence)
    chosen = within(chosen, window, lambda flow: flow.start_ns, "was opened")
    if not chosen.flows:
        return _none(check, "handshake", expected, chosen.reason, evidence)
    judged = [_handshake(check, flow, context) for flow in chosen.flows]
    return _said(check, "handshake", expected + window.text, judged)


def _handshake(check: HandshakeCheck, flow: Flow, context: Context) -> _Judged:
    shake = flow.handshake
    syns = len(shake.syn)
    client, server = flow.client.host, flow.server.host
    if not shake.syn:
        return _Judged(flow, "no SYN", f"{client} sent no SYN: the capture begins later", ())
    said = plural(syns, "SYN")
    syn = _both_ends(shake.syn)
    if syn is None:
        return _Judged(flow, said, f"no SYN reached {server}", shake.syn)
    if not shake.syn_ack:
        refused = next((j for j in flow.close.rst if j.source == server), None)
        if refused is not None:
            reason = f"{server} answered the SYN with RST: the connection was refused"
            return _Judged(flow, f"{said}, RST", reason, (*shake.syn, refused))
        return _Judged(flow, f"{said}, no SYN-ACK", f"{server} never answered the SYN", shake.syn)
    said += f", {plural(len(shake.syn_ack), 'SYN-ACK')}"
    if flow.simultaneous:
        said += " (both sides opened)"
    syn_ack = _both_ends(shake.syn_ack)
    if syn_ack is None:
        reason = f"no SYN-ACK of {server} reached {client}"
        return _Judged(flow, said, reason, (*shake.syn, *shake.syn_ack))
    third = _third(flow)
    if third is None:
        reason = f"no ACK of {client} reached {server} after the SYN-ACK: the handshake has no third packet"
        return _Judged(flow, f"{said}, no ACK", reason, (*shake.syn, *shake.syn_ack))
    packets = (syn, syn_ack, third)
    if not (_crossed(syn, syn_ack, third) if flow.simultaneous else _in_order(syn, syn_ack, third)):
        return _Judged(flow, f"{said}, ACK", "the three packets were not seen in order", packets)
    begin = shake.syn[0].packet.t_ns
    took_from, took_to = _ns(third.sent) - begin, _ns(third.received) - begin
    if flow.simultaneous:  # connect() returns when the last of the two has come
        took_from = max(took_from, _ns(syn_ack.received) - begin)
    actual = f"{said}, ACK; {duration(took_from)} at {client}, {duration(took_to)} at {server}"
    judged = _Judged(flow, actual, "", packets)
    if check.syn is not None and not check.syn.holds(syns):
        reason = f"{client} sent {plural(syns, 'SYN')}, and not {check.syn}"
        return replace(judged, reason=reason, journeys=shake.syn)
    if check.elapsed is None:
        return judged
    rtt = context.timeline.rtt(client, server, begin)
    holds = [
        hold_elapsed(check.elapsed, took, rtt, context.tolerance, f"the handshake (at {host})")
        for host, took in ((client, took_from), (server, took_to))
    ]
    best = next((held for held in holds if held.ok), holds[0])
    return replace(judged, reason=best.reason, tolerance=best.tolerance, margin=best.margin)


def _both_ends(journeys: tuple[Journey, ...]) -> Journey | None:
    """The first transmission that was seen to leave and to arrive."""
    return next((j for j in journeys if j.sent is not None and j.received is not None), None)


def _third(flow: Flow) -> Journey | None:
    """The client's first segment that acknowledges the server's SYN and arrived."""
    syn = 0 if flow.simultaneous else SYN
    for segment in flow.segments():
        journey = segment.journey
        if segment.from_client and journey.sent is not None and journey.received is not None:
            flags = journey.packet.flags
            if flags & ACK and not flags & (syn | RST) and segment.ack >= 1:
                return journey
    return None


def _in_order(syn: Journey, syn_ack: Journey, third: Journey) -> bool:
    """By the capture of each end: an answer left after the packet that it answers had arrived."""
    at_server = _ns(syn.received) <= _ns(syn_ack.sent) <= _ns(third.received)
    at_client = _ns(syn.sent) <= _ns(syn_ack.received) <= _ns(third.sent)
    return at_server and at_client


def _crossed(syn: Journey, syn_ack: Journey, third: Journey) -> bool:
    """In a simultaneous open, each side answers the other's SYN, and neither waits for that answer."""
    at_server = _ns(syn.received) <= _ns(syn_ack.sent)
    at_client = _ns(syn.sent) <= min(_ns(syn_ack.received), _ns(third.sent))
    return at_server and at_client


def _ns(packet: Packet | None) -> int:
    """The timestamp of a packet that is known to have been seen."""
    assert packet is not None
    return packet.t_ns


# --- close ------------------------------------------------------------------------------------------------


def judge_close(check: CloseCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge how the connections from `from` to `to` were closed, who began, and in how many segments.

    Every established connection must hold; one that was never established has nothing to close, and is judged
    only if there is no other. A reset after a complete orderly close does not undo it.
    """
    expected = {"fin": "both FINs sent, both acknowledged", "rst": "a reset"}[check.how]
    if check.first is not None:
        expected += f"; {check.first} first"
    if check.segments is not None:
        expected += f"; {check.segments} segments"
    pair = Pair.of(check.from_, check.to, context)
    window = Window.of(check, evidence.records)
    if window.missing:
        return failed(check, "close", expected, "no connection", window.missing)
    chosen = choose(check, pair.connections(evidence), pair, evidence)
    chosen = within(chosen, window, _begins_to_close, "was closed")
    if not chosen.flows:
        return _none(check, "close", expected, chosen.reason, evidence)
    flows = [f for f in chosen.flows if _third(f) is not None or f.close.fin_client] or chosen.flows
    return _said(check, "close", expected + window.text, [_close(check, flow) for flow in flows])


def _begins_to_close(flow: Flow) -> int | None:
    """When the first FIN or RST was sent."""
    packets = _closing(flow.close)
    first = (j.packet.t_ns for j in packets if j.packet.flags & (FIN | RST))
    return min(first, default=None)


def _close(check: CloseCheck, flow: Flow) -> _Judged:
    close = flow.close
    how = close.how
    actual = _closed(close, how)
    packets = _closing(close)
    judged = _Judged(flow, actual, "", packets)
    if how != check.how:
        return replace(judged, reason=_why_not(check, flow, close, how))
    if check.first is not None and close.first != check.first:
        begun = f"{close.first} closed first" if close.first else "it is not known who closed first"
        return replace(judged, reason=f"{begun}, and not {check.first}")
    if check.segments is not None and close.segments != check.segments:
        took = "an unknown number of" if close.segments is None else str(close.segments)
        return replace(judged, reason=f"the close took {took} segments, and not {check.segments}")
    return judged


def _closing(close: Close) -> tuple[Journey, ...]:
    """The packets that decide the judgement, in order of time."""
    single = [j for j in (close.ack_of_client, close.ack_of_server) if j is not None]
    packets = {j.number: j for j in (*close.fin_client, *close.fin_server, *single, *close.rst)}
    return tuple(packets[number] for number in sorted(packets))


def _closed(close: Close, how: str) -> str:
    parts = [{"fin": "closed by FIN", "rst": "reset", "open": "not closed"}[how]]
    if close.first is not None:
        parts.append(f"{close.first} first")
    if how == "fin" and close.segments is not None:
        parts.append(f"{close.segments} segments")
    if how == "rst":
        parts.append(f"RST by {close.rst[0].source}")
    return ", ".join(parts)


def _why_not(check: CloseCheck, flow: Flow, close: Close, how: str) -> str:
    client, server = flow.client.host, flow.server.host
    if how == "rst":
        return f"{close.rst[0].source} reset the connection, so it was not closed by two acknowledged FINs"
    if check.how == "rst":
        return "neither side sent a reset" + (": it was closed by FIN on both sides" if how == "fin" else "")
    if not close.fin_client and not close.fin_server:
        return "neither side sent a FIN: the connection was still open when the captures ended"
    for fins, host in ((close.fin_client, client), (close.fin_server, server)):
        if not fins:
            return f"{host} never sent a FIN: its side was still open when the captures ended"
    unacked = server if close.ack_of_server is None else client
    return f"the FIN of {unacked} was never acknowledged"
