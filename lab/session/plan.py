"""What a lab needs on the network: hosts, links, labels. Pure; the testbed makes it real."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from lab.engine.base import LABEL_HOST, LABEL_ROLE
from lab.host import Identity
from lab.link import PLAIN, Link
from lab.scenario.calls import Send, Sendall, Sendto, Step
from lab.scenario.model import HostSpec, Scenario
from lab.scenario.steps import WIRE_STEPS, Drop, Run, all_steps
from lab.site import WireChoice
from lab.wire.container import Kind

#: Bytes that a case may send, in all, where the machine's kernel routes: TCP's first window. That kernel has
#: a queue for each CPU, and what comes thick and fast from two of them overtakes: up to 640 of the 35,000
#: packets of a bulk transfer were sent again. One CPU for all that sends leaves one now and then; behind
#: user-mode Linux, which is one queue, none.
_LITTLE = 14_000


class Plan(Struct, frozen=True):
    """Everything to bring up for one lab, still without a subnet."""

    run: str
    hosts: Mapping[str, HostSpec]  #: in the order of their addresses
    wire: WireChoice
    labels: Mapping[str, str]  #: of the run that owns it
    arp: Literal["static", "dynamic"] = "static"
    keep: bool = False  #: whether the lab stays up without its runner
    drops: bool = False  #: whether a step will drop packets: the wire then loads what that needs
    only_routes: bool = False  #: whether nothing will be impaired, and little is sent
    #: By host, as whom its programs are known to run: a container for each. Others start when they are
    #: asked for.
    programs: Mapping[str, tuple[Identity, ...]] = {}
    start_order: tuple[tuple[str, str], ...] = ()  #: all services, (host, service), each behind what it needs
    service_images: Mapping[tuple[str, str], str] = {}  #: their tags on the engine
    jobs: frozenset[tuple[str, str]] = frozenset()  #: services that are to end by themselves
    cpu: int = 0  #: which of the machine's moves its packets, as `Host.pin` counts them

    @property
    def wire_kind(self) -> Kind:
        """What the wire's container is told. A lab that stays up can be impaired by hand."""
        return "route" if self.wire == "auto" and self.only_routes and not self.keep else self.wire

    @property
    def links(self) -> dict[str, Link]:
        return {name: host.link for name, host in self.hosts.items()}

    def labels_of(self, role: str, host: str = "") -> dict[str, str]:
        return {**self.labels, LABEL_ROLE: role, **({LABEL_HOST: host} if host else {})}


def identity_of(run: Run) -> Identity:
    """As whom the program of a step runs."""
    return Identity(run.held, run.user)


def plan_case(
    scenario: Scenario,
    run: str,
    wire: WireChoice,
    labels: Mapping[str, str],
    *,
    keep: bool = False,
    cpu: int = 0,
    service_images: Mapping[tuple[str, str], str] | None = None,
) -> Plan:
    """The plan of a case, whose steps are all known."""
    hosts = {name: scenario.hosts[name] for name in scenario.used_hosts}
    steps = list(all_steps(scenario.steps))
    programs = {name: dict[Identity, None]() for name in hosts}
    for step in steps:
        if isinstance(step, Run) and step.in_ is None:
            programs[step.at][identity_of(step)] = None
    return Plan(
        run,
        hosts,
        wire,
        labels,
        scenario.arp,
        keep,
        drops=any(isinstance(step, Drop) for step in steps),
        only_routes="netem" not in scenario.requires and _only_routes(steps, hosts.values()),
        programs={name: tuple(identities) for name, identities in programs.items()},
        start_order=scenario.start_order,
        service_images=service_images or {},
        jobs=frozenset(key for key in scenario.start_order if scenario.completes(*key)),
        cpu=cpu,
    )


def _only_routes(steps: Sequence[Step], hosts: Iterable[HostSpec]) -> bool:
    """Nothing is impaired, and no more than a little is sent; nobody knows what a program sends."""
    if any(host.link != PLAIN or host.services for host in hosts):
        return False
    if any(isinstance(step, (*WIRE_STEPS, Run)) for step in steps):
        return False
    return sum(step.data.length for step in steps if isinstance(step, (Send, Sendall, Sendto))) <= _LITTLE
