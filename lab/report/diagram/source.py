"""Evidence → `Diagram`: what is drawn, in what order, and what is only counted.

A short case is drawn packet by packet. In a long one, runs of packets to which nothing special happened
become bundles, which also count what still does not fit: there are never more than `Budget` shapes, and the
diagram says what it does not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, permutations, product
from string import ascii_uppercase

from lab.evidence.model import CallRecord, Records, StateSample, WireEvent
from lab.evidence.store import Evidence
from lab.evidence.trace import Flow as TraceFlow
from lab.quantities import plural
from lab.report.diagram import words
from lab.report.diagram.bundling import Budget, gather
from lab.report.diagram.lanes import spread
from lab.report.diagram.model import Band, Bundle, Call, Diagram, Flow, Host, Packet, State
from lab.report.diagram.moments import moments_of
from lab.verdict import Finding

_CALLS_SIDE_BY_SIDE = 4
_CALLS = 240
_STATES = 240
_FLOWS = 60


def diagram_of(
    evidence: Evidence, *, title: str = "", findings: Sequence[Finding] = (), budget: Budget | None = None
) -> Diagram:
    """The whole diagram. `findings` mark the calls that failed and the packets that decided failed checks."""
    records = evidence.records
    zero = zero_ns(evidence)
    decisive = {
        (ref.host, ref.number) for finding in findings if finding.verdict.bad for ref in finding.packets
    }
    failed = {f.source for f in findings if f.verdict.bad}
    gathered = gather(evidence.trace, zero, decisive, budget or Budget())
    calls, hidden_calls = _calls(records, zero, failed)
    states = _states(records, zero, _connections(evidence.trace.flows))
    moments, hidden_moments = moments_of(records, zero, findings)
    end = max(
        [evidence.trace.end_ns - zero, gathered.end_ns]
        + [c.end_wall_ns - zero for c in records.calls]
        + [s.end_wall_ns - zero for s in records.steps]
        + [m.t_ns for m in moments]
        + [t for state in states for t in (state.start_ns, state.end_ns) if t is not None]
    )
    omitted = list(gathered.omitted)
    if hidden_calls:
        omitted.append(f"{plural(hidden_calls, 'call')} not drawn: see the table of calls")
    if len(states) > _STATES:
        omitted.append(f"{plural(len(states) - _STATES, 'state')} not drawn: see the table of states")
    shapes: list[Packet | Bundle] = [*gathered.packets, *gathered.bundles]
    drawn_flows = sorted({shape.flow for shape in shapes if shape.flow is not None})[:_FLOWS]
    tags = dict(zip(drawn_flows, _letters(), strict=False)) if len(drawn_flows) > 1 else {}
    if hidden_moments:
        omitted.append(f"{plural(hidden_moments, 'line')} of services not drawn: see their logs")
    return Diagram(
        title=title,
        hosts=_hosts(records, gathered.between),
        flows=tuple(
            Flow(f.number, f.name, f.protocol, gathered.flow_packets.get(f.number, 0), tags.get(f.number, ""))
            for f in evidence.trace.flows
            if f.number in drawn_flows
        ),
        calls=calls,
        states=tuple(states[:_STATES]),
        packets=gathered.packets,
        bundles=gathered.bundles,
        bands=tuple(_bands(records.wire_events, zero, end)),
        moments=moments,
        end_ns=end,
        total_packets=gathered.total,
        omitted=tuple(omitted),
    )


def zero_ns(evidence: Evidence) -> int:
    """CLOCK_REALTIME at the zero of all reported times: the first step, or else call, or else packet."""
    records = evidence.records
    starts = [step.start_wall_ns for step in records.steps] or [c.start_wall_ns for c in records.calls]
    if not starts:
        starts = [capture.t_ns[0] for capture in evidence.captures.values() if len(capture)]
    return min(starts, default=0)


def _hosts(records: Records, between: dict[tuple[str, str], int]) -> tuple[Host, ...]:
    """The hosts, ordered so that the fewest arrows pass behind a third host, otherwise as in the topology."""
    # A case that broke early may have calls of hosts whose facts were never read.
    seen = [call.host for call in records.calls] + [run.host for run in records.runs]
    seen += [service.host for service in records.services]
    names = list(dict.fromkeys([*records.hosts, *seen, *(state.host for state in records.states)]))
    best = names
    if 2 < len(names) <= 7:

        def crossings(order: Iterable[str]) -> int:
            at = {name: i for i, name in enumerate(order)}
            return sum(
                n * (abs(at[a] - at[b]) - 1)
                for (a, b), n in between.items()
                if a in at and b in at and a != b
            )

        best = list(min(permutations(names), key=crossings))
    facts = records.hosts
    return tuple(
        Host(name, facts[name].address, words.link(facts[name].link)) if name in facts else Host(name)
        for name in best
    )


def _calls(records: Records, zero: int, failed: set[str]) -> tuple[tuple[Call, ...], int]:
    names = {host.address: name for name, host in records.hosts.items()}
    calls = [_call(i, call, zero, failed, names) for i, call in enumerate(records.calls)]
    for i, run in enumerate(records.runs):
        calls.append(
            Call(
                key=f"r{i}",
                host=run.host,
                title=words.run_title(run),
                outcome=words.run_outcome(run),
                start_ns=run.start_wall_ns - zero,
                end_ns=None if run.exit_code is None and not run.error else run.end_wall_ns - zero,
                is_error=bool(run.error or run.exit_code),
                failed=run.step in failed,
                step=run.step,
            )
        )
    calls.sort(key=lambda call: (call.start_ns, call.key))
    drawn: list[Call] = []
    for host in dict.fromkeys(call.host for call in calls):
        own = [call for call in calls if call.host == host]
        far = max((c.end_ns or c.start_ns for c in own), default=0) + 1
        lanes = spread([(c.start_ns, far if c.end_ns is None else c.end_ns) for c in own[: 4 * _CALLS]])
        drawn += [c for c, lane in zip(own, lanes, strict=False) if lane < _CALLS_SIDE_BY_SIDE]
    drawn.sort(key=lambda call: (not call.failed, call.start_ns))
    kept = sorted(drawn[:_CALLS], key=lambda call: (call.start_ns, call.key))
    return tuple(kept), len(calls) - len(kept)


def _call(i: int, call: CallRecord, zero: int, failed: set[str], names: Mapping[str, str]) -> Call:
    # The monotonic clock measures the call; the wall clock may have been stepped meanwhile.
    start = call.start_wall_ns - zero
    return Call(
        key=f"c{i}",
        host=call.host,
        title=words.call_title(call),
        outcome=words.call_outcome(call, names),
        start_ns=start,
        end_ns=start + call.elapsed_ns,
        is_error=call.error is not None,
        failed=call.step in failed,
        step=call.step,
        notes=call.notes,
    )


def _letters() -> Iterator[str]:
    """A, B … Z, AA, AB …: the tags of flows."""
    for size in count(1):
        yield from map("".join, product(ascii_uppercase, repeat=size))


_Ends = tuple[str, int, str, int]  #: address and port of one end, then of the other


def _connections(flows: Iterable[TraceFlow]) -> dict[_Ends, list[TraceFlow]]:
    """The TCP connections by their four-tuple, as seen from either side, in order of time."""
    found: dict[_Ends, list[TraceFlow]] = {}
    for flow in flows:
        if flow.protocol == "tcp":
            one, two = flow.client, flow.server
            found.setdefault((one.address, one.port, two.address, two.port), []).append(flow)
            found.setdefault((two.address, two.port, one.address, one.port), []).append(flow)
    return found


def _flow_of(sample: StateSample, connections: Mapping[_Ends, list[TraceFlow]]) -> int | None:
    """The latest connection with the socket's four-tuple that had begun when the state was sampled."""
    if sample.remote is None:
        return None
    ends = (sample.local.address, sample.local.port, sample.remote.address, sample.remote.port)
    flows = connections.get(ends, ())
    begun = [flow.number for flow in flows if flow.start_ns <= sample.wall_ns]
    return begun[-1] if begun else flows[0].number if flows else None


def _states(records: Records, zero: int, connections: Mapping[_Ends, list[TraceFlow]]) -> list[State]:
    """The states: each sample begins a span that its socket's next sample ends; GONE and CLOSE only end."""
    open_: dict[tuple[str, str], StateSample] = {}
    spans: list[State] = []
    names = {host.address: name for name, host in records.hosts.items()}

    def finish(sample: StateSample, end_ns: int | None) -> None:
        spans.append(
            State(
                host=sample.host,
                socket=_socket(sample, names),
                label=sample.state,
                start_ns=sample.wall_ns - zero,
                end_ns=end_ns,
                listener=sample.remote is None,
                flow=_flow_of(sample, connections),
            )
        )

    off = sorted((e.wall_ns, e.host) for e in records.wire_events if e.action == "power_off" and e.host)

    def power_cuts(until_ns: int) -> None:
        """Ends the states of a host's sockets when its power goes: no sampler is left to report it."""
        while off and off[0][0] <= until_ns:
            at, host = off.pop(0)
            for key in [key for key in open_ if key[0] == host]:
                finish(open_.pop(key), at - zero)

    for sample in records.states:
        if sample.kind != "tcp":
            continue
        power_cuts(sample.wall_ns)
        key = (sample.host, _socket(sample, names))
        before = open_.get(key)
        if before is not None and before.state == sample.state:
            continue
        if before is not None:
            finish(before, sample.wall_ns - zero)
            del open_[key]
        if sample.state not in ("GONE", "CLOSE", "CLOSED"):
            open_[key] = sample
    power_cuts(1 << 62)
    for sample in open_.values():
        finish(sample, None)
    spans.sort(key=lambda state: (state.start_ns, state.socket))
    return [s for s in spans if s.end_ns is None or s.end_ns >= s.start_ns]


def _socket(sample: StateSample, names: Mapping[str, str]) -> str:
    local = words.endpoint(sample.local, names)
    return f"{local} → {words.endpoint(sample.remote, names)}" if sample.remote else f"{local} (listening)"


_ENDS = {"restore": "cut", "heal": "partition", "power_on": "power_off"}


def _bands(events: Iterable[WireEvent], zero: int, until_ns: int) -> list[Band]:
    """What the steps did to the wire. An event that a later one undoes is a band, and so is one in effect
    until the end of the diagram; the rest are moments."""
    later = [event for event in events if event.step is not None]
    ended: dict[int, int] = {}
    for i, event in enumerate(later):
        if event.action in _ENDS:
            for j in range(i - 1, -1, -1):
                start = later[j]
                same = (start.host, start.between) == (event.host, event.between)
                if start.action == _ENDS[event.action] and same and j not in ended:
                    ended[j] = event.wall_ns - zero
                    break
    open_until_the_end = {"cut", "partition", "power_off"}
    bands = []
    for i, event in enumerate(later):
        end = ended.get(i)
        if end is None and event.action in open_until_the_end:
            end = max(until_ns, event.wall_ns - zero)
        bands.append(Band(words.wire_event(event), event.wall_ns - zero, end))
    return bands
