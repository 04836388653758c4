"""The check `bytes`: what was received is what was sent, byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from lab.checks.columns import Packets
from lab.checks.common import MAX_REFS, Context, failed, passed, plural
from lab.checks.flows import Pair, none_there
from lab.evidence.model import StreamRecord
from lab.evidence.store import Evidence
from lab.evidence.trace import Flow, Journey
from lab.scenario.checks import BytesCheck
from lab.verdict import Finding, PacketRef

_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class _Side:
    """The bytes of one direction at one end."""

    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Transfer:
    """One direction of one conversation: what went in, what came out, and who says so."""

    name: str
    sent: _Side
    received: _Side
    how: str
    incomplete: str = ""  #: why what is known is not all
    packets: tuple[PacketRef, ...] = ()


def judge_bytes(check: BytesCheck, evidence: Evidence, context: Context) -> Finding:
    """Every stream from `from` to `to`, whoever opened it, by the hashes that the applications' agents keep.

    Where a program of the user's own held an end, its capture is put together instead: what left one host,
    what reached the other. Datagrams are compared by their captures, in order. Streams that carried nothing
    prove nothing: there must be one that did.
    """
    pair = Pair.of(check.from_, check.to, context)
    expected = "the same bytes received as sent"
    transfers = [*_streams(pair, evidence), *_datagrams(pair, evidence, context)]
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
    """Why it is not the same; "" where it is."""
    sent, received = transfer.sent, transfer.received
    if transfer.incomplete:
        return transfer.incomplete
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


def _streams(pair: Pair, evidence: Evidence) -> list[_Transfer]:
    """Of each connection between the two, opened by either, the bytes from source to target."""
    transfers = []
    flows = [(flow, True) for flow in pair.connections(evidence)]
    flows += [(flow, False) for flow in pair.back.connections(evidence)]
    used: set[int] = set()
    for flow, forward in sorted(flows, key=lambda item: item[0].start_ns):
        source, target = (flow.client, flow.server) if forward else (flow.server, flow.client)
        here = (source.address, source.port, target.address, target.port)
        sender = _record(evidence.records.streams, source.host, here, used)
        receiver = _record(evidence.records.streams, target.host, (*here[2:], *here[:2]), used)
        name = f"{source.host}:{source.port} → {target.host}:{target.port}"
        if sender is not None and receiver is not None:
            transfers.append(_by_agents(name, sender, receiver))
        elif _carried(flow, source.host):
            own = _own_program(target.host, evidence)
            transfers.append(_by_captures(name, flow, source.host, target.host, sender, receiver, own))
    return transfers


def _record(
    streams: Sequence[StreamRecord], host: str, ends: tuple[str, int, str, int], used: set[int]
) -> StreamRecord | None:
    """The next record of a stream with these ends; each is taken once, as ports may be used again."""
    for index, stream in enumerate(streams):
        have = (stream.local.address, stream.local.port, stream.remote.address, stream.remote.port)
        if index not in used and stream.host == host and _plain(have) == ends:
            used.add(index)
            return stream
    return None


def _plain(ends: tuple[str, int, str, int]) -> tuple[str, int, str, int]:
    """Without the `::ffff:` of an IPv4 address on an IPv6 socket."""
    return ends[0].removeprefix("::ffff:"), ends[1], ends[2].removeprefix("::ffff:"), ends[3]


def _by_agents(name: str, sender: StreamRecord, receiver: StreamRecord) -> _Transfer:
    return _Transfer(
        name,
        _Side(sender.sent_bytes, sender.sent_sha256),
        _Side(receiver.received_bytes, receiver.received_sha256),
        "by what the sockets took and gave",
    )


def _carried(flow: Flow, source: str) -> bool:
    """Whether any data went this way, so that there is something to put together."""
    return any(j.source == source and j.packet.payload_len for j in flow.journeys())


def _own_program(host: str, evidence: Evidence) -> bool:
    """Whether something else than the lab's own socket calls may hold sockets on this host."""
    records = evidence.records
    ran = any(run.host == host for run in records.runs)
    return ran or not any(call.host == host for call in records.calls)


def _by_captures(
    name: str,
    flow: Flow,
    source: str,
    target: str,
    sender: StreamRecord | None,
    receiver: StreamRecord | None,
    own_program: bool,
) -> _Transfer:
    """At an end without a record: the bytes that its capture holds, put together.

    For what was received that is only right where a program of the user's own did the receiving: bytes that
    wait in a connection which nobody accepted were not received.
    """
    incomplete = ""
    sides = []
    for host, known in (
        (source, None if sender is None else _Side(sender.sent_bytes, sender.sent_sha256)),
        (target, None if receiver is None else _Side(receiver.received_bytes, receiver.received_sha256)),
    ):
        if known is not None:
            sides.append(known)
            continue
        if host == target and not own_program:
            sides.append(_Side(0, _EMPTY))
            incomplete = f"no socket of {host} received anything: it was never accepted, or its process died"
            continue
        stream = flow.stream(source, host)
        sides.append(_Side(stream.length, stream.sha256))
        if not stream.complete:
            incomplete = f"the capture of {host} lacks bytes after the first {stream.length:,}"
    refs = tuple(j.packet.ref for j in _last_data(flow, source))
    return _Transfer(name, sides[0], sides[1], "by the captures put together", incomplete, refs)


def _last_data(flow: Flow, source: str) -> list[Journey]:
    """The last segments with data: where something is missing, it is missing here."""
    data = (j for j in reversed(flow) if j.source == source and j.packet.payload_len)
    return list(islice(data, 3))[::-1]


# --- datagrams --------------------------------------------------------------------------------------------


def _datagrams(pair: Pair, evidence: Evidence, context: Context) -> list[_Transfer]:
    """Of each UDP conversation: the datagrams as they left, and as they arrived, one after another."""
    conversations: dict[int | None, list[Journey]] = {}
    everything = evidence.trace.journeys
    for number in Packets.of(pair, evidence.trace, context).of_protocol("udp").numbers:
        journey = everything[number]
        conversations.setdefault(journey.flow, []).append(journey)
    transfers = []
    for journeys in conversations.values():
        left = [j.sent for j in journeys if j.sent is not None]
        came = [p for j in journeys for p in (j.received, *j.copies) if p is not None]
        came.sort(key=lambda packet: (packet.t_ns, packet.position))
        first = journeys[0].packet
        sides = []
        for packets in (left, came):
            digest, length = hashlib.sha256(), 0
            for packet in packets:
                payload = packet.payload()
                digest.update(payload)
                length += len(payload)
            sides.append(_Side(length, digest.hexdigest()))
        name = f"{pair.source.host}:{first.sport} → {pair.target.host}:{first.dport} (udp)"
        lost = [ref for j in journeys if j.received is None for ref in j.refs]
        decide = tuple(lost[:MAX_REFS])
        transfers.append(_Transfer(name, sides[0], sides[1], "by the captures", packets=decide))
    return transfers
