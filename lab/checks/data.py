"""The check `bytes`: the received bytes are the sent bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Sequence
from itertools import islice

from msgspec import Struct

from lab.checks.columns import Packets
from lab.checks.common import MAX_REFS, Context, failed, passed
from lab.checks.flows import Pair, none_there
from lab.checks.moments import Window
from lab.checks.parting import first_difference, parting
from lab.checks.which import choose, picks, within
from lab.evidence.flags import SYN, URG
from lab.evidence.model import CallRecord, Records, StreamRecord
from lab.evidence.packets import Packet
from lab.evidence.store import Evidence
from lab.evidence.trace import Flow, Journey
from lab.evidence.types import EMPTY_SHA256
from lab.quantities import plural
from lab.scenario.checks import BytesCheck
from lab.verdict import Finding, PacketRef


class _Bytes(Struct, frozen=True):
    """One datagram, or the bytes of one direction at one end."""

    length: int
    sha256: str


class _Transfer(Struct, frozen=True):
    """One direction of one conversation: what went in, what came out, and the source of both."""

    name: str
    sent: _Bytes
    received: _Bytes
    how: str
    incomplete: str = ""  #: why part of it is unknown
    packets: tuple[PacketRef, ...] = ()
    parting: str = ""  #: where the two differ, and why, as far as known


def judge_bytes(check: BytesCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge every stream from `from` to `to`, whoever opened it, by the hashes that the agents keep.

    At an end held by a user's program, the capture is reassembled instead: what left one host, what reached
    the other. Datagrams are compared one by one, in order. Empty streams prove nothing: at least one must
    have carried bytes.
    """
    pair = Pair.of(check.from_, check.to, context)
    expected = "the same bytes received as sent"
    chosen = choose(check, pair.flows(evidence), pair, evidence)
    window = Window.of(check, evidence.records)
    chosen = within(chosen, window, lambda flow: flow.start_ns, "was opened")
    meant = None if window.whole and not picks(check) else {flow.number for flow in chosen.flows}
    if window.missing or meant == set():
        return failed(check, "bytes", expected, "no connection", window.missing or chosen.reason)
    transfers = [*_streams(pair, evidence, meant), *_datagrams(pair, evidence, context, meant)]
    if not transfers:
        reason = none_there(pair, evidence)
        return failed(check, "bytes", expected, "no connection", reason)
    total = sum(t.sent.length for t in transfers)
    bad = next((t for t in transfers if _differs(t)), None)
    if bad is not None:
        return failed(
            check, "bytes", expected, _shown(bad), f"{bad.name}: {_differs(bad)}", packets=bad.packets
        )
    if total == 0:
        reason = f"no byte was sent {pair}: there is nothing to compare"
        return failed(check, "bytes", expected, "0 bytes", reason)
    return passed(check, "bytes", expected, "; ".join(_shown(t) for t in transfers[:4] if t.sent.length))


def _shown(transfer: _Transfer) -> str:
    sent, received = transfer.sent, transfer.received
    if sent == received:
        return f"{transfer.name}: {plural(sent.length, 'byte')}, sha256 {sent.sha256} ({transfer.how})"
    return (
        f"{transfer.name}: {sent.length:,} sent, sha256 {sent.sha256}; "
        f"{received.length:,} received, sha256 {received.sha256} ({transfer.how})"
    )


def _differs(transfer: _Transfer) -> str:
    """How the two differ; "" if they are the same."""
    sent, received = transfer.sent, transfer.received
    if transfer.incomplete:
        return transfer.incomplete
    if transfer.parting:
        return f"{sent.length:,} bytes were sent and {received.length:,} received; {transfer.parting}"
    if received.length < sent.length:
        missing = plural(sent.length - received.length, "byte")
        return (
            f"{sent.length:,} bytes were sent and {received.length:,} received: {missing} missing at the end"
        )
    if received.length > sent.length:
        return f"{sent.length:,} bytes were sent and {received.length:,} received: more than was sent"
    if received.sha256 != sent.sha256:
        return f"{sent.length:,} bytes were sent and as many received, but they are not the same bytes"
    return ""


# --- streams ----------------------------------------------------------------------------------------------


def _streams(pair: Pair, evidence: Evidence, meant: Container[int] | None) -> list[_Transfer]:
    """The bytes from source to target of each connection between the two, opened by either; `meant` are the
    numbers of the flows that count."""
    transfers = []
    flows = [(flow, True) for flow in pair.connections(evidence)]
    known = {flow.number for flow, _ in flows}
    flows += [(flow, False) for flow in pair.back.connections(evidence) if flow.number not in known]
    used: set[int] = set()
    for flow, forward in sorted(flows, key=lambda item: item[0].start_ns):
        source, target = (flow.client, flow.server) if forward else (flow.server, flow.client)
        here = (source.address, source.port, target.address, target.port)
        sender = _record(evidence.records.streams, source.host, here, used)
        receiver = _record(evidence.records.streams, target.host, (*here[2:], *here[:2]), used)
        name = f"{source.host}:{source.port} → {target.host}:{target.port}"
        if meant is not None and flow.number not in meant:
            continue  # its records are used up all the same: ports may be reused
        if sender is not None and receiver is not None:
            transfers.append(_by_agents(name, sender, receiver, flow, evidence.records))
        elif _carried(flow, source.host):
            own = _own_program(target.host, evidence)
            ends = (sender, receiver)
            transfers.append(_by_captures(name, flow, source.host, target.host, ends, own, evidence.records))
    return transfers


def _record(
    streams: Sequence[StreamRecord], host: str, ends: tuple[str, int, str, int], used: set[int]
) -> StreamRecord | None:
    """The next record of a stream with these ends; each is used once, as ports may be reused."""
    for index, stream in enumerate(streams):
        local, remote = stream.local, stream.remote
        have = (local.plain, local.port, remote.plain, remote.port)
        if index not in used and stream.host == host and have == ends:
            used.add(index)
            return stream
    return None


def _by_agents(
    name: str, sender: StreamRecord, receiver: StreamRecord, flow: Flow, records: Records
) -> _Transfer:
    sent = _Bytes(sender.sent_bytes, sender.sent_sha256)
    received = _Bytes(receiver.received_bytes, receiver.received_sha256)
    parts = "" if sent == received else _parting(flow, sender.host, receiver.host, records, sent, received)
    return _Transfer(name, sent, received, "by what the sockets took and gave", parting=parts)


def _carried(flow: Flow, source: str) -> bool:
    """Whether any data went this way, so there is something to reassemble."""
    return any(j.source == source and j.packet.payload_len for j in flow)


def _own_program(host: str, evidence: Evidence) -> bool:
    """Whether anything other than the lab's own socket calls may hold sockets on this host."""
    records = evidence.records
    ran = any(run.host == host for run in records.runs)
    return ran or not any(call.host == host for call in records.calls)


def _by_captures(
    name: str,
    flow: Flow,
    source: str,
    target: str,
    ends: tuple[StreamRecord | None, StreamRecord | None],
    own_program: bool,
    records: Records,
) -> _Transfer:
    """At an end without a record: the bytes reassembled from its capture.

    For received bytes this is right only if a user's program received them: bytes in a connection that was
    never accepted were not received.
    """
    incomplete = ""
    sender, receiver = ends
    sides = []
    for host, known in (
        (source, None if sender is None else _Bytes(sender.sent_bytes, sender.sent_sha256)),
        (target, None if receiver is None else _Bytes(receiver.received_bytes, receiver.received_sha256)),
    ):
        if known is not None:
            sides.append(known)
            continue
        if host == target and not own_program:
            sides.append(_Bytes(0, EMPTY_SHA256))
            incomplete = f"no socket of {host} received anything: it was never accepted, or its process died"
            continue
        stream = flow.stream(source, host)
        sides.append(_Bytes(stream.length, stream.sha256))
        if not stream.complete:
            incomplete = f"the capture of {host} lacks bytes after the first {stream.length:,}"
    refs = tuple(j.packet.ref for j in _last_data(flow, source))
    parts = ""
    if sides[0] != sides[1] and not incomplete and receiver is not None:
        parts = _parting(flow, source, target, records, sides[0], sides[1])
    return _Transfer(name, sides[0], sides[1], "by the captures put together", incomplete, refs, parts)


_COMPARED = 1 << 20  #: bytes from the first that are compared one by one


def _parting(flow: Flow, source: str, target: str, records: Records, sent: _Bytes, got: _Bytes) -> str:
    """Where the received bytes differ from the sent ones; "" if that is unknown.

    The sent bytes are in the sender's capture, the received ones in the records of the calls, as far as those
    hold them. The urgent pointer shows a byte that left the stream.
    """
    if max(sent.length, got.length) > _COMPARED or flow.stream(source, source).sha256 != sent.sha256:
        return ""
    own = flow.client if flow.client.host == target else flow.server
    other = flow.server if own is flow.client else flow.client
    calls = sorted(
        (
            call
            for call in records.calls
            if call.call in ("recv", "recv_exactly", "drain", "recvfrom")
            and call.host == target
            and call.kind == "tcp"
            and call.remote is not None
            and (call.local_port, call.remote.port) == (own.port, other.port)
            and not {"MSG_OOB", "MSG_PEEK"} & set(call.arguments.get("flags") or ())
        ),
        key=lambda call: call.end_mono_ns,
    )
    received = b"".join(call.data or b"" for call in calls)
    if hashlib.sha256(received).hexdigest() != got.sha256:
        return ""
    whole = flow.head(source, source, _COMPARED)
    at = first_difference(whole, received)
    if at is None or at == len(received):
        return ""  # the end is missing, which the lengths show
    urgent = _URGENT if at in _urgent(flow, source) else ""
    return f"{parting(whole, received)}{urgent}"


_URGENT = "; that byte was sent as urgent, and leaves the stream unless the socket has SO_OOBINLINE"


def _urgent(flow: Flow, source: str) -> set[int]:
    """The offsets of the bytes just before the urgent pointer of some packet."""
    isn = next((j.packet.seq for j in flow if j.source == source and j.packet.flags & SYN), None)
    found: set[int] = set()
    for journey in flow:
        packet = journey.packet
        if isn is not None and journey.source == source and packet.flags & URG:
            found.add((packet.seq + packet.urgent - 1 - isn - 1) & 0xFFFFFFFF)
    return found


def _last_data(flow: Flow, source: str) -> list[Journey]:
    """The last segments with data: missing bytes are missing here."""
    data = (j for j in reversed(flow) if j.source == source and j.packet.payload_len)
    return list(islice(data, 3))[::-1]


# --- datagrams --------------------------------------------------------------------------------------------


def _datagrams(
    pair: Pair, evidence: Evidence, context: Context, meant: Container[int] | None
) -> list[_Transfer]:
    """For each UDP conversation: the datagrams that one end sent and the other received, in order.

    For the lab's own sockets, the calls tell. A user's program sent what left its host, and received what
    reached it.
    """
    conversations: dict[int | None, list[Journey]] = {}
    everything = evidence.trace.journeys
    for number in Packets.of(pair, evidence.trace, context).of_protocol("udp").numbers:
        journey = everything[number]
        if meant is not None and journey.flow not in meant:
            continue
        if journey.packet.sport or journey.packet.dport:  # a later fragment has no ports
            conversations.setdefault(journey.flow, []).append(journey)
    return [_conversation(pair, evidence, journeys) for journeys in conversations.values()]


def _conversation(pair: Pair, evidence: Evidence, journeys: list[Journey]) -> _Transfer:
    source, target = pair.source.host or "?", pair.target.host or "?"  # `bytes` names both
    sport, dport = journeys[0].packet.sport, journeys[0].packet.dport
    calls = evidence.records.calls
    sent = [
        call
        for call in calls
        if call.call in ("send", "sendall", "sendto") and _uses(call, source, sport) and _goes_to(call, dport)
    ]
    receiving = [call for call in calls if _uses(call, target, dport)]
    received = [
        call
        for call in receiving
        if call.call in ("recv", "recvfrom") and _comes_from(call, journeys[0].packet)
    ]
    incomplete, ways = "", []
    if sent:
        left = _told(sent)
        ways.append("calls")
    else:
        left, incomplete = _seen(source, (j.sent for j in journeys if j.sent is not None))
        ways.append("captures")
    if receiving or not _own_program(target, evidence):
        came = _told(received)
        ways.append("calls")
    else:
        arrived = [p for j in journeys for p in (j.received, *j.copies) if p is not None]
        came, why = _seen(target, sorted(arrived, key=lambda packet: (packet.t_ns, packet.position)))
        incomplete = incomplete or why
        ways.append("captures")
    lost = [ref for j in journeys if j.received is None for ref in j.refs]
    return _Transfer(
        f"{source}:{sport} → {target}:{dport} (udp)",
        _side(left),
        _side(came),
        f"by the {' and the '.join(dict.fromkeys(ways))}, datagram by datagram",
        incomplete,
        tuple(lost[:MAX_REFS]),
    )


def _uses(call: CallRecord, host: str, port: int) -> bool:
    """Whether the call worked on the UDP socket of this host with this port."""
    return call.host == host and call.kind == "udp" and call.error is None and call.local_port == port


def _goes_to(call: CallRecord, port: int) -> bool:
    """Whether a datagram went to this port; for an unconnected socket the call's arguments tell."""
    to = call.arguments.get("to")
    if isinstance(to, str):
        return to.rpartition(":")[2] == str(port)
    return call.remote is None or call.remote.port == port


def _comes_from(call: CallRecord, packet: Packet) -> bool:
    """Whether a datagram came from this packet's source."""
    peer = call.peer or call.remote
    return peer is not None and (peer.plain, peer.port) == (packet.source, packet.sport)


def _told(calls: Sequence[CallRecord]) -> list[_Bytes]:
    """The datagrams of calls, in the order in which the calls returned."""
    ended = sorted(calls, key=lambda call: call.end_mono_ns)
    return [_Bytes(call.length or 0, call.sha256 or EMPTY_SHA256) for call in ended]


def _seen(host: str, packets: Iterable[Packet]) -> tuple[list[_Bytes], str]:
    """The datagrams in a capture, and why some are missing."""
    found: list[_Bytes] = []
    for packet in packets:
        if packet.fragment is not None:
            return found, f"a datagram is in fragments in the capture of {host}, and no call recorded it"
        payload = packet.payload()
        found.append(_Bytes(len(payload), hashlib.sha256(payload).hexdigest()))
    return found, ""


def _side(datagrams: Sequence[_Bytes]) -> _Bytes:
    """The hash of one datagram, or the hash of several hashes: the boundaries count too."""
    length = sum(datagram.length for datagram in datagrams)
    if len(datagrams) == 1:
        return _Bytes(length, datagrams[0].sha256)
    together = "".join(d.sha256 for d in datagrams).encode("utf-8", "surrogatepass")
    return _Bytes(length, hashlib.sha256(together).hexdigest())
