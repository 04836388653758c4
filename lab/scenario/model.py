"""A scenario as its file has it (`ScenarioFile`), and as the lab runs it (`Scenario`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Struct
from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from lab.link import Link
from lab.scenario.base import AtMostOne, Model, Opt, Rule, WhenMet, problem, shown
from lab.scenario.calls import Step
from lab.scenario.checks import AnyCheck, Check
from lab.scenario.compose.models import NetworkKeys, ServiceKeys
from lab.scenario.compose.words import Files
from lab.scenario.links import LinkSpec
from lab.scenario.quantities import Flag, HostName, Name, OneOf, Text, Time, enum, number
from lab.scenario.services import HostFile, ServiceSpec
from lab.scenario.steps import AnyStep
from lab.scenario.sysctls import Sysctls
from lab.scenario.words import REQUIREMENTS
from lab.units import Duration

#: The hosts of the lab's own pair, which exist if no `topology` is given.
OWN_PAIR = ("client", "server")

#: The network of hosts that name none.
DEFAULT_NETWORK = "default"


class Ulimits(Model):
    """Limits of the host's processes."""

    nofile: Opt[Annotated[int, number(16, 1 << 20, "nofile")]] = None

    def limits(self) -> dict[str, int]:
        return {} if self.nofile is None else {"nofile": self.nofile}


class LabKeys(Model):
    """What Compose has no key for: the `x-lab` of a topology's service."""

    link: Opt[Annotated[LinkSpec, WhenMet(LinkSpec)]] = None
    sysctls: Opt[Sysctls] = None
    ulimits: Opt[Ulimits] = None
    service: Opt[Annotated[ServiceKeys, WhenMet(ServiceKeys)]] = None


class HostKeys(LabKeys):
    """More about a host of the topology, or a new host."""

    rules: ClassVar[tuple[Rule, ...]] = (AtMostOne(("service", "services"), "service is short for services"),)
    services: Opt[dict[Name, Annotated[ServiceKeys, WhenMet(ServiceKeys)]]] = None
    files: Opt[list[Files]] = None
    networks: Opt[list[Name]] = None


def _version(value: object) -> Literal[1]:
    if value == 1 and not isinstance(value, bool):
        return 1
    raise problem(f"{shown(value)} is not a version of the format that this lab knows; allowed: 1")


def _label(value: object) -> str:
    pattern = r"[^/\x00-\x1f\[\]\s][^/\x00-\x1f\[\]]*"
    if isinstance(value, str) and re.fullmatch(pattern, value) and value.isprintable() and len(value) <= 100:
        return value
    text = "text without '/', '[' and ']' that can be printed, at most 100 characters"
    raise problem(f"{shown(value)} is not a name of a scenario: {text}")


def _above_zero(value: Duration) -> Duration:
    if not value.ns:
        raise problem("0s: a scenario needs time to run")
    return value


_Requirement = Annotated[
    str, OneOf("something that a scenario can require", REQUIREMENTS), enum(REQUIREMENTS)
]


class ScenarioFile(Model):
    """The top of a scenario file; keys that begin with `x-` are removed before."""

    lab: Annotated[Literal[1], PlainValidator(_version), WithJsonSchema({"const": 1})]
    name: Opt[
        Annotated[str, PlainValidator(_label), WithJsonSchema({"type": "string", "pattern": r"^[^/\[\]]+$"})]
    ] = None
    summary: Opt[Text] = None
    tags: list[Text] = Field(default_factory=list)
    timeout: Opt[Annotated[Time, AfterValidator(_above_zero)]] = None
    requires: list[_Requirement] = Field(default_factory=list)
    topology: Opt[Text] = None
    params: dict[str, Any] = Field(default_factory=dict)
    cases: list[dict[str, Any]] = Field(default_factory=list)
    arp: Annotated[Literal["static", "dynamic"], OneOf("a way to resolve addresses")] = "static"
    alone: Flag = False
    networks: Opt[dict[Name, NetworkKeys]] = None
    hosts: dict[HostName, Annotated[HostKeys, WhenMet(HostKeys)]] = Field(default_factory=dict)
    steps: list[AnyStep] = Field(default_factory=list)
    checks: list[AnyCheck] = Field(default_factory=list)


class HostSpec(Struct, frozen=True):
    """A host to start: its link before the first step, and its container's settings."""

    name: str
    link: Link = Link()
    sysctls: Mapping[str, str] = {}
    ulimits: Mapping[str, int] = {}
    services: Mapping[str, ServiceSpec] = {}  #: in the order of the files
    files: tuple[HostFile, ...] = ()  #: of the project, for `run`
    networks: tuple[str, ...] = (DEFAULT_NETWORK,)  #: hosts that share none cannot reach each other
    names: Mapping[str, tuple[str, ...]] = {}  #: other names, by network


def apart(hosts: Mapping[str, HostSpec]) -> list[tuple[str, str]]:
    """The pairs of hosts that share no network."""
    networks = {name: frozenset(host.networks) for name, host in hosts.items()}
    return [(a, b) for a, b in combinations(hosts, 2) if networks[a].isdisjoint(networks[b])]


def names_at(hosts: Mapping[str, HostSpec], host: str) -> dict[str, str]:
    """The names that resolve at a host, including its own, each with its host. Raises `KeyError`."""
    own = hosts[host].networks
    alone = frozenset(own).isdisjoint
    names = {name: name for name, other in hosts.items() if name == host or not alone(other.networks)}
    for network in own:
        for other in hosts.values():
            for name in other.names.get(network, ()) if network in other.networks else ():
                names.setdefault(name, other.name)
    return names


class Topology(Struct, frozen=True):
    """A Compose file whose services are the hosts."""

    path: str  #: as the scenario names it, from its own folder
    hosts: tuple[str, ...]


class Scenario(Struct, frozen=True):
    """One case of a scenario, with all parameters filled in and all hosts known."""

    name: str  #: of the file, without parameters
    hosts: Mapping[str, HostSpec]  #: all that are named; `used_hosts` are started
    steps: tuple[Step, ...] = ()
    checks: tuple[Check, ...] = ()
    summary: str = ""
    tags: tuple[str, ...] = ()
    timeout: Duration | None = None  #: None: the site's default
    requires: tuple[str, ...] = ()
    topology: Topology | None = None
    arp: Literal["static", "dynamic"] = "static"
    alone: bool = False  #: sensitive to timing: no other case runs beside it
    networks: tuple[str, ...] = (DEFAULT_NETWORK,)
    start_order: tuple[tuple[str, str], ...] = ()  #: all services, (host, service), each after those it needs

    @property
    def used_hosts(self) -> tuple[str, ...]:
        """The hosts that a step or a check names or that have a service, in the order of `hosts`."""
        named = {host for part in (*self.steps, *self.checks) for host in part.hosts()}
        return tuple(name for name, host in self.hosts.items() if name in named or host.services)

    def names_at(self, host: str) -> dict[str, str]:
        """The names that resolve at a host, including its own, each with its host. Raises `KeyError`."""
        return names_at(self.hosts, host)

    def completes(self, host: str, service: str) -> bool:
        """Whether a service should end by itself: it is a job, or another waits for it to complete."""
        return self.hosts[host].services[service].is_job or any(
            one.host == host and one.service == service and one.condition == "service_completed_successfully"
            for other in self.hosts.values()
            for spec in other.services.values()
            for one in spec.depends_on
        )
