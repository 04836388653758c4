"""What a case needs on the network: addresses, links, labels. Pure; the testbed makes it real."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from lab.engine.base import LABEL_HOST, LABEL_ROLE
from lab.link import Link
from lab.scenario.calls import Send, Sendall, Sendto
from lab.scenario.model import Scenario
from lab.scenario.steps import WIRE_STEPS, Drop, Run, Step, all_steps
from lab.site import WireChoice
from lab.wire.container import Kind

_WIRE = 2  #: the wire's last octet; .1 is the engine's machine on every bridge
_FIRST_HOST = 10

#: Bytes that a case may send, in all, where the machine's kernel routes: TCP's first window. That kernel has
#: a queue for each CPU, and what comes thick and fast from two of them overtakes: up to 640 of the 35,000
#: packets of a bulk transfer were sent again. One CPU for all that sends leaves one now and then; behind
#: user-mode Linux, which is one queue, none.
_LITTLE = 14_000


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One host as the scenario wants it, with its place in the subnet."""

    name: str
    number: int  #: last octet of its address
    link: Link
    sysctls: Mapping[str, str]
    ulimits: Mapping[str, int]
    programs: tuple[tuple[str, ...], ...] = ()  #: the capabilities that its programs have, each set once


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is to be brought up for one case, still without a subnet."""

    run: str
    hosts: tuple[HostPlan, ...]
    wire: WireChoice
    arp: Literal["static", "dynamic"]
    labels: Mapping[str, str]
    keep: bool = False  #: whether the lab is to go on standing without its runner
    drops: bool = False  #: whether a step drops packets: the wire then loads what that needs
    router_will_do: bool = False  #: whether the case needs no wire that can impair
    cpu: int = 0  #: which of the machine's moves its packets, as `Host.pin` counts them

    @property
    def wire_kind(self) -> Kind:
        """What the wire's container is told. A lab that goes on standing can be impaired by hand."""
        return "route" if self.wire == "auto" and self.router_will_do and not self.keep else self.wire

    @property
    def links(self) -> dict[str, Link]:
        return {host.name: host.link for host in self.hosts}

    def labels_of(self, role: str, host: str = "") -> dict[str, str]:
        return {**self.labels, LABEL_ROLE: role, **({LABEL_HOST: host} if host else {})}


@dataclass(frozen=True, slots=True)
class Place:
    """Address and MAC of one container in the run's subnet."""

    address: IPv4Address
    mac: str


def place(subnet: IPv4Network, number: int) -> Place:
    """The address with this last octet, and a locally administered MAC that tells it to people."""
    address = subnet.network_address + number
    _, second, third, last = address.packed
    return Place(address, f"02:c6:{second:02x}:{third:02x}:00:{last:02x}")


def wire_place(subnet: IPv4Network) -> Place:
    return place(subnet, _WIRE)


def make_plan(
    scenario: Scenario, run: str, wire: WireChoice, labels: Mapping[str, str], *, keep: bool, cpu: int = 0
) -> Plan:
    """The plan of a case; `labels` are those of the run that owns it."""
    runs = [step for step in all_steps(scenario.steps) if isinstance(step, Run)]
    hosts = tuple(
        HostPlan(
            name,
            _FIRST_HOST + index,
            scenario.hosts[name].link,
            scenario.hosts[name].sysctls,
            scenario.hosts[name].ulimits,
            tuple(dict.fromkeys(run.held for run in runs if run.at == name)),
        )
        for index, name in enumerate(scenario.used_hosts)
    )
    steps = list(all_steps(scenario.steps))
    drops = any(isinstance(step, Drop) for step in steps)
    return Plan(run, hosts, wire, scenario.arp, labels, keep, drops, _router_will_do(steps, hosts), cpu)


def _router_will_do(steps: Sequence[Step], hosts: Iterable[HostPlan]) -> bool:
    """Nothing is impaired, and no more than a little is sent; of a program nobody knows what it sends."""
    if any(host.link != Link() for host in hosts) or any(isinstance(s, (*WIRE_STEPS, Run)) for s in steps):
        return False
    return sum(step.data.length for step in steps if isinstance(step, (Send, Sendall, Sendto))) <= _LITTLE
