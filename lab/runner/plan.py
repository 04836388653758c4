"""What a case needs on the network: addresses, links, labels. Pure; the testbed makes it real."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from lab.engine.base import LABEL_BOOT, LABEL_HOST, LABEL_LOCK, LABEL_PID, LABEL_ROLE, LABEL_RUN
from lab.link import Link
from lab.scenario.model import Scenario
from lab.scenario.steps import LinkStep, Parallel, Step
from lab.site import WireChoice

_WIRE = 2  #: the wire's last octet; .1 is the engine's machine on every bridge
_FIRST_HOST = 10


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One host as the scenario wants it, with its place in the subnet."""

    name: str
    number: int  #: last octet of its address
    link: Link
    sysctls: Mapping[str, str]
    ulimits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is to be brought up for one case, still without a subnet."""

    run: str
    hosts: tuple[HostPlan, ...]
    wire: WireChoice
    arp: str
    labels: Mapping[str, str]

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
    octets = address.packed
    return Place(
        address, f"02:c6:{octets[0] ^ octets[1]:02x}:{octets[1]:02x}:{octets[2]:02x}:{octets[3]:02x}"
    )


def wire_place(subnet: IPv4Network) -> Place:
    return place(subnet, _WIRE)


def make_plan(scenario: Scenario, run: str, wire: WireChoice, lock: Path) -> Plan:
    """The plan of a case. With `wire` auto and nothing to impair, the machine's own kernel routes."""
    hosts = tuple(
        HostPlan(
            name,
            _FIRST_HOST + index,
            scenario.hosts[name].link,
            scenario.hosts[name].sysctls,
            scenario.hosts[name].ulimits,
        )
        for index, name in enumerate(scenario.used_hosts)
    )
    labels = {
        LABEL_RUN: run,
        LABEL_PID: str(os.getpid()),
        LABEL_BOOT: Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        LABEL_LOCK: str(lock),
    }
    return Plan(run, hosts, wire, scenario.arp, labels)


def needs_netem(scenario: Scenario) -> bool:
    """Whether anything in the scenario impairs a link."""
    links = (scenario.hosts[name].link for name in scenario.used_hosts)
    return any(link.up.active or link.down.active for link in links) or any(
        isinstance(step, LinkStep) for step in all_steps(scenario.steps)
    )


def all_steps(steps: tuple[Step, ...]) -> list[Step]:
    """The steps and, behind a `parallel`, those in it."""
    flat: list[Step] = []
    for step in steps:
        flat.append(step)
        if isinstance(step, Parallel):
            flat.extend(all_steps(step.steps))
    return flat
