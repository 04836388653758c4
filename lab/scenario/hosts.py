"""The hosts of a case: those of its topology with the scenario's additions, their programs and
dependencies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from pydantic import ValidationError

from lab.link import Link
from lab.scenario.base import Seen
from lab.scenario.compose.interpolate import Variables
from lab.scenario.compose.models import ServiceKeys
from lab.scenario.compose.outside import Outside, Refused
from lab.scenario.compose.parts import Part, Wanted, finished, merge_over
from lab.scenario.compose.resolve import Where, resolve
from lab.scenario.locate import Locator
from lab.scenario.locate import Path as Keys
from lab.scenario.model import DEFAULT_NETWORK, HostKeys, HostSpec, LabKeys, ScenarioFile
from lab.scenario.params import Filled
from lab.scenario.problems import Problem, did_you_mean
from lab.scenario.services import Dependency, HostFile, ServiceSpec

Service = tuple[str, str]  #: host and name


class Hosts(Struct, frozen=True):
    """The content of a topology: its hosts (None if it cannot be read) and its problems."""

    hosts: dict[str, HostSpec] | None
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...] = ()
    parts: Mapping[str, Part] = {}  #: the program of each host that has one
    keys: Mapping[str, LabKeys] = {}  #: what is under each `x-lab`
    networks: tuple[str, ...] = (DEFAULT_NETWORK,)

    @property
    def recorded(self) -> dict[str, str]:
        """The values that its programs record, each with the path of its `record`."""
        return {
            name: f"{part.path}.record.{name}" for part in self.parts.values() for name in part.record or {}
        }


@dataclass
class Joined:
    """The hosts of one case, and their problems."""

    hosts: dict[str, HostSpec]
    networks: tuple[str, ...]
    start_order: tuple[Service, ...] = ()
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)


def judge_services(filled: Filled, folder: Path, outside: Outside, locator: Locator) -> list[Problem]:
    """The problems of a scenario's programs when it has other mistakes, as far as they can be read alone."""
    problems: list[Problem] = []
    hosts = filled.data.get("hosts") if isinstance(filled.data, dict) else None
    variables = Variables(outside.allowed_environment(), outside.withheld())
    for host, keys in hosts.items() if isinstance(hosts, dict) else ():
        if not isinstance(keys, dict):
            continue
        at: Keys = ("hosts", host)
        services = keys.get("services")
        found: dict[Keys, Any] = {}
        if isinstance(services, dict):
            found = {(*at, "services", name): one for name, one in services.items()}
        if "service" in keys:
            found[(*at, "service")] = keys["service"]
        for path, service in found.items():
            try:
                typed = ServiceKeys.model_validate(service, context=Seen(), by_alias=True, by_name=False)
            except ValidationError:
                continue  # reported already
            resolve(typed, Where(locator, path, folder, outside, variables, None, problems))
    return problems


@dataclass
class Joiner:
    """Joins a topology and a scenario's own hosts."""

    model: ScenarioFile
    topology: Hosts
    folder: Path  #: the base of the scenario's relative paths
    outside: Outside
    locator: Locator
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    def join(self) -> Joined:
        base = self.topology.hosts or {}
        networks = self.networks()
        hosts: dict[str, HostSpec] = {}
        parts: dict[str, dict[str, Part]] = {}
        self.variables = Variables(
            self.outside.allowed_environment(), self.outside.withheld(), self.problems, self.notes
        )
        for name in dict.fromkeys([*base, *self.model.hosts]):
            keys = self.model.hosts.get(name)
            spec = merged(name, base.get(name), self.topology.keys.get(name), keys)
            if name not in base and (keys is None or keys.networks is None):
                spec = replace(spec, networks=networks)
            if keys is not None:
                self.check_networks(name, keys, networks)
                spec = replace(spec, files=(*spec.files, *self.files(name, keys)))
            hosts[name] = spec
            parts[name] = self.parts(name, keys)
        resolver = _Dependencies(parts, self.problems)
        for name, spec in hosts.items():
            services = {
                service: finished(service, part, self.outside.policy.build, resolver.of(name, service, part))
                for service, part in parts[name].items()
            }
            hosts[name] = replace(spec, services=services)
        order = start_order(hosts, self.problems)
        return Joined(hosts, networks, order, self.problems, self.notes)

    def networks(self) -> tuple[str, ...]:
        own = tuple(self.model.networks or ())
        if not own and self.topology.networks == (DEFAULT_NETWORK,):
            return (DEFAULT_NETWORK,)
        used = {network for host in (self.topology.hosts or {}).values() for network in host.networks}
        return tuple(dict.fromkeys([*(n for n in self.topology.networks if n in used), *own]))

    def check_networks(self, host: str, keys: HostKeys, networks: tuple[str, ...]) -> None:
        for index, name in enumerate(keys.networks or ()):
            if name not in networks:
                text = f"no network {name!r}; allowed: {', '.join(networks)}{did_you_mean(name, networks)}"
                self.problems.append(self.locator.at(("hosts", host, "networks", index), text))

    def files(self, host: str, keys: HostKeys) -> Iterator[HostFile]:
        targets: set[str] = set()
        for index, pair in enumerate(keys.files or ()):
            at: Keys = ("hosts", host, "files", index)
            problem = self.locator.at(at, "")
            if pair.target in targets or pair.target.strip("/.") == "":
                text = (
                    f"{pair.target!r} is given twice"
                    if pair.target in targets
                    else "/ is not a place for a file"
                )
                self.problems.append(replace(problem, text=text))
            targets.add(pair.target)
            try:
                yield HostFile(self.outside.find(self.folder, pair.source), pair.target, problem.place)
            except Refused as error:
                self.problems.append(replace(problem, text=str(error)))

    def parts(self, host: str, keys: HostKeys | None) -> dict[str, Part]:
        """The programs of a host: the topology's, with the scenario's additions."""
        found = {host: self.topology.parts[host]} if host in self.topology.parts else {}
        if keys is None:
            return found
        only = keys.service
        for name, service in ((keys.services or {}) if only is None else {host: only}).items():
            at: Keys = ("hosts", host, "services", name) if only is None else ("hosts", host, "service")
            where = Where(
                self.locator, at, self.folder, self.outside, self.variables, None, self.problems, self.notes
            )
            part = resolve(service, where)
            if only is not None and len(found) == 1:
                name = next(iter(found))
            if name in found:
                part = replace(merge_over(found[name], part), place=part.place, path=part.path)
            found[name] = part
        return found


class _Dependencies:
    """Resolves the names of `depends_on` to services."""

    def __init__(self, parts: Mapping[str, Mapping[str, Part]], problems: list[Problem]) -> None:
        self.parts = parts
        self.problems = problems

    def of(self, host: str, service: str, part: Part) -> tuple[Dependency, ...]:
        found: dict[Service, Dependency] = {}
        for wanted in (part.depends_on or {}).values():
            for one in self.targets(host, service, wanted):
                found[one] = Dependency(*one, wanted.condition, wanted.required)
        return tuple(found.values())

    def targets(self, host: str, service: str, wanted: Wanted) -> list[Service]:
        own = self.parts[host]
        if wanted.name in own and wanted.name != service:
            return [(host, wanted.name)]
        if wanted.name in own and (
            (wanted.name == service and wanted.name not in self.parts) or wanted.name == host
        ):
            self.say(wanted, f"{service} waits for itself")
            return []
        if wanted.name not in self.parts:
            if wanted.required:
                known = [
                    *(name for name in own if name != service),
                    *(name for name in self.parts if name != host),
                ]
                hint = did_you_mean(wanted.name, known)
                allowed = f"allowed: {', '.join(known)}" if known else "there is no other"
                self.say(wanted, f"no service of {host} and no host {wanted.name!r}; {allowed}{hint}")
            return []
        services = self.parts[wanted.name]
        if not services and wanted.condition != "service_started":
            self.say(wanted, f"{wanted.name} is a host without a service; it cannot be {wanted.condition}")
        return [(wanted.name, name) for name in services]

    def say(self, wanted: Wanted, text: str) -> None:
        self.problems.append(Problem(wanted.place, wanted.path, text))


def start_order(hosts: Mapping[str, HostSpec], problems: list[Problem]) -> tuple[Service, ...]:
    """All services, each after those that it waits for; a cycle is reported where it begins."""
    specs: dict[Service, ServiceSpec] = {
        (host.name, name): spec for host in hosts.values() for name, spec in host.services.items()
    }
    order: dict[Service, None] = {}
    for first in specs:
        chain: dict[
            Service, Iterator[Dependency]
        ] = {}  # the services on the way, each with those that it still waits for
        following: Service | None = None if first in order else first
        while following is not None or chain:
            if following is not None and following in chain:
                problems.append(_circle([*chain], following, specs))
                following = None
            elif following is not None and following not in order:
                chain[following] = iter(specs[following].depends_on)
            one = next(reversed(chain))
            wanted = next(chain[one], None)
            following = None if wanted is None else (wanted.host, wanted.service)
            if wanted is None:
                del chain[one]
                order[one] = None
    return tuple(order)


def _circle(chain: list[Service], back: Service, specs: Mapping[Service, ServiceSpec]) -> Problem:
    circle = [*chain[chain.index(back) :], back]
    words = " → ".join(name if host == name else f"{host}/{name}" for host, name in circle)
    return Problem(specs[back].place, specs[back].path, f"depends_on is a circle: {words}")


def _more(link: Link, named: Link) -> Link:
    return Link(link.up.changed(named.up), link.down.changed(named.down))


def merged(name: str, *parts: LabKeys | HostSpec | None) -> HostSpec:
    """One host from several descriptions, without services; a later one wins, key by key."""
    spec = HostSpec(name)
    for part in parts:
        if isinstance(part, HostSpec):
            spec = part
        elif part is not None:
            spec = replace(
                spec,
                link=spec.link if part.link is None else _more(spec.link, part.link.link()),
                sysctls={**spec.sysctls, **(part.sysctls or {})},
                ulimits={**spec.ulimits, **(part.ulimits.limits() if part.ulimits is not None else {})},
            )
            if isinstance(part, HostKeys) and part.networks is not None:
                spec = replace(spec, networks=tuple(dict.fromkeys(part.networks)))
    return spec
