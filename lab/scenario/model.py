"""A scenario: as its file has it (`ScenarioFile`), and as the lab runs it (`Scenario`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from lab.link import Link
from lab.scenario.base import AtLeastOne, Model, Opt, Rule, problem, shown
from lab.scenario.checks import AnyCheck, Check
from lab.scenario.links import LinkSpec
from lab.scenario.quantities import Flag, HostName, Port, Text, Time, number, one_of
from lab.scenario.steps import AnyStep, Step
from lab.scenario.sysctls import Sysctls
from lab.scenario.values import Output
from lab.scenario.words import REQUIREMENTS
from lab.units import Duration

#: The hosts of the lab's own pair, which are there where no `topology` is given.
OWN_PAIR = ("client", "server")


class Ulimits(Model):
    """Limits of the host's processes."""

    nofile: Opt[
        Annotated[
            int,
            number(16, 1 << 20, "nofile"),
            WithJsonSchema({"type": "integer", "minimum": 16, "maximum": 1 << 20}),
        ]
    ] = None

    def limits(self) -> dict[str, int]:
        return {} if self.nofile is None else {"nofile": self.nofile}


class Ready(Model):
    """When a service counts as started."""

    rules: ClassVar[tuple[Rule, ...]] = (AtLeastOne(("listening", "log")),)
    listening: Opt[Port] = None
    log: Opt[Output] = None
    timeout: Opt[Time] = None


class ServiceSpec(Model):
    """A program of the user's own in the host's network: keys as Compose has them, and `ready`."""

    rules: ClassVar[tuple[Rule, ...]] = (AtLeastOne(("image", "build")),)
    image: Opt[Text] = None
    build: Any = None
    command: Any = None
    entrypoint: Any = None
    environment: Any = None
    env_file: Any = None
    volumes: Any = None
    tmpfs: Any = None
    working_dir: Opt[Text] = None
    user: Opt[Text] = None
    ulimits: Any = None
    stop_signal: Opt[Text] = None
    ready: Opt[Ready] = None


class HostKeys(Model):
    """More about a host of the topology, or a new host."""

    link: Opt[LinkSpec] = None
    sysctls: Opt[Sysctls] = None
    ulimits: Opt[Ulimits] = None
    service: Opt[ServiceSpec] = None


def _version(value: object) -> Literal[1]:
    if value == 1 and not isinstance(value, bool):
        return 1
    raise problem(f"{shown(value)} is not a version of the format that this lab knows; allowed: 1")


def _label(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[^/\x00-\x1f\[\]\s][^/\x00-\x1f\[\]]*", value):
        return value
    raise problem(f"{shown(value)} is not a name of a scenario: text without '/', '[' and ']'")


def _above_zero(value: Duration) -> Duration:
    if not value.ns:
        raise problem("0s: a scenario needs time to run")
    return value


_Requirement = Annotated[
    str,
    one_of(REQUIREMENTS, "something that a scenario can require"),
    WithJsonSchema({"type": "string", "enum": list(REQUIREMENTS)}),
]


class ScenarioFile(Model):
    """The top of a scenario file; keys that begin with `x-` are taken away before."""

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
    arp: Annotated[
        Literal["static", "dynamic"], one_of(("static", "dynamic"), "a way to resolve addresses")
    ] = "static"
    alone: Flag = False
    hosts: dict[HostName, HostKeys] = Field(default_factory=dict)
    steps: list[AnyStep] = Field(default_factory=list)
    checks: list[AnyCheck] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A host as it is made: its link before the first step and what its container gets."""

    name: str
    link: Link = field(default_factory=Link)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    ulimits: Mapping[str, int] = field(default_factory=dict)
    service: ServiceSpec | None = None


@dataclass(frozen=True, slots=True)
class Topology:
    """A Compose file whose services are the hosts."""

    path: str  #: as the scenario names it, from its own folder
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One case of a scenario: all parameters put in, all hosts known."""

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
    alone: bool = False  #: sensitive to timing: no other case beside it

    @property
    def used_hosts(self) -> tuple[str, ...]:
        """The hosts that a step or a check names, in the order of `hosts`."""
        named = {host for part in (*self.steps, *self.checks) for host in part.hosts()}
        return tuple(name for name in self.hosts if name in named)
