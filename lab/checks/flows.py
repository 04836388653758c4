"""The packets and connections that a check's `from` and `to` select."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from lab.attachment import WIRE
from lab.checks.common import Context
from lab.evidence.store import Evidence
from lab.evidence.trace import End, Flow
from lab.scenario.values import Address

#: Causes of a loss that the scenario configured explicitly.
RULES = ("drop", "cut", "partition", "network", "power off")


class Side(Struct, frozen=True):
    """One party of a check as the trace names it. `host` None is any; WIRE with `address` is no lab host."""

    host: str | None
    port: int | None = None
    address: str | None = None  #: of a literal address that is not a host's

    def is_end(self, end: End) -> bool:
        """Whether this is the end of a flow."""
        return (
            self.host in (None, end.host)
            and self.port in (None, end.port)
            and self.address in (None, end.address)
        )

    def __str__(self) -> str:
        name = self.address or self.host or "any host"
        return name if self.port is None else f"{name}:{self.port}"


def side(party: Address | None, context: Context) -> Side:
    """A party by name or by address; None is any."""
    if party is None:
        return Side(None)
    if not party.literal:
        return Side(party.host, party.port)
    host = context.host_of(party.host)
    return Side(host, party.port) if host else Side(WIRE, party.port, party.host)


class Pair(Struct, frozen=True):
    """From one side to the other."""

    source: Side
    target: Side

    @classmethod
    def of(cls, source: Address | None, target: Address | None, context: Context) -> Pair:
        return cls(side(source, context), side(target, context))

    def __str__(self) -> str:
        return f"from {self.source} to {self.target}"

    @property
    def back(self) -> Pair:
        return Pair(self.target, self.source)

    @property
    def hosts(self) -> Pair:
        """The same pair of hosts, whatever the ports."""
        return Pair(replace(self.source, port=None), replace(self.target, port=None))

    def connections(self, evidence: Evidence) -> list[Flow]:
        """The TCP connections that `source` opened to `target`, by time of the first packet. In a
        simultaneous open, `source` is the client."""
        found = []
        for flow in evidence.trace.flows:
            if flow.protocol == "tcp":
                if self._is_of(flow):
                    found.append(flow)
                elif self.back._is_of(flow) and flow.simultaneous:
                    found.append(flow.turned)
        return found

    def _is_of(self, flow: Flow) -> bool:
        return self.source.is_end(flow.client) and self.target.is_end(flow.server)

    def flows(self, evidence: Evidence) -> list[Flow]:
        """All flows between the two, whoever opened them, by time of the first packet; if one side is any
        host, those of the other."""
        return [flow for flow in evidence.trace.flows if self._is_of(flow) or self.back._is_of(flow)]


def none_there(pair: Pair, evidence: Evidence) -> str:
    """Why there is no connection to judge, and what was found instead."""
    if not evidence.captures:
        return "there are no captures of this run, so no packet can be judged"
    reason = f"the captures hold no TCP connection {pair}"
    if pair.back.connections(evidence):
        return f"{reason}; there is one {pair.back}: are `from` and `to` the right way round?"
    others = pair.hosts.connections(evidence)
    if others:
        ports = sorted({flow.server.port for flow in others})
        return f"{reason}; those between the two hosts go to port {', '.join(map(str, ports))}"
    return reason


def no_packets(pair: Pair, evidence: Evidence, what: str = "packet") -> str:
    """Why there is no packet to judge."""
    if not evidence.captures:
        return "there are no captures of this run, so no packet can be judged"
    return f"the captures hold no {what} {pair}: there is nothing to judge"
