"""A topology: a Compose file whose services are the hosts, each with its program.

A service of the host image without a command is a host without a program. `lab.scenario.compose` reads the
other keys of Compose; this module makes hosts of them, with networks, names and links.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from lab.scenario import tree
from lab.scenario.base import shown
from lab.scenario.compose.outside import Outside, Refused
from lab.scenario.compose.parts import Part, Wanted
from lab.scenario.compose.project import Project, Service
from lab.scenario.hosts import Hosts
from lab.scenario.model import DEFAULT_NETWORK, HostSpec, LabKeys
from lab.scenario.problems import Problem
from lab.scenario.quantities import is_host_name
from lab.scenario.services import Ulimit

#: The name of the host image in a Compose file of the lab; the site says which image it is.
HOST_IMAGE = re.compile(r"lab-host(:.+)?|\$\{LAB_HOST_IMAGE(:?[-?].*)?\}")


def read_topology(path: Path, shown_as: str, asked: Problem, outside: Outside) -> Hosts:
    """The hosts of a Compose file. If the file cannot be read at all, `asked` is reported with the reason, at
    the scenario's `topology` key."""
    if not os.path.isfile(path):  # unlike Path's, False for a name that no file can have
        what = "a folder, not a file" if os.path.isdir(path) else "no such file"
        return Hosts(None, (Problem(asked.place, asked.path, f"{shown_as}: {what}"),))
    try:
        project = Project.read(path, shown_as, outside)
    except tree.Unreadable as error:
        return Hosts(None, (error.problem,))
    except Refused as error:
        return Hosts(None, (Problem(asked.place, asked.path, str(error)),))
    if project.services is None:
        return Hosts(None, tuple(project.problems), tuple(project.notes))
    return _Reader(project).hosts(project.services)


@dataclass
class _Reader:
    project: Project

    def say(self, service: Service, text: str) -> None:
        self.project.problems.append(Problem(service.place, service.path, text))

    def note(self, service: Service, text: str) -> None:
        self.project.notes.append(Problem(service.place, service.path, text))

    def hosts(self, services: Mapping[str, Service]) -> Hosts:
        hosts: dict[str, HostSpec] = {}
        parts: dict[str, Part] = {}
        keys: dict[str, LabKeys] = {}
        for name, service in services.items():
            wanted = service.extra.profiles
            if wanted and not self.project.profiles & set(wanted):
                profiles = ", ".join(wanted)
                self.note(service, f"left out: COMPOSE_PROFILES has none of its profiles: {profiles}")
                continue
            hosts[name] = self.host(service)
            if self.has_program(service):
                parts[name] = service.part
            if service.extra.host is not None:
                keys[name] = service.extra.host
        self.aliases(hosts, services)
        parts = {name: self.with_links(services[name], part) for name, part in parts.items()}
        used = {network for host in hosts.values() for network in host.networks}
        networks = [name for name in (*self.project.networks, DEFAULT_NETWORK) if name in used]
        return Hosts(
            hosts,
            tuple(self.project.problems),
            tuple(self.project.notes),
            parts,
            keys,
            tuple(dict.fromkeys(networks)) or (DEFAULT_NETWORK,),
        )

    def has_program(self, service: Service) -> bool:
        part = service.part
        plain = part.build is None and (part.image is None or HOST_IMAGE.fullmatch(part.image))
        return not plain or bool(part.command or part.entrypoint)

    def host(self, service: Service) -> HostSpec:
        name, extra = service.name, service.extra
        if not is_host_name(name):
            self.say(
                service, f"{shown(name)} is not a host's name: at most 63 letters, digits, '-', '_' and '.'"
            )
        networks = {DEFAULT_NETWORK: ()} if extra.networks is None else extra.networks
        known = [one for one in (extra.hostname, extra.container_name) if one and one != name]
        names = {network: tuple(dict.fromkeys([*known, *aliases])) for network, aliases in networks.items()}
        return HostSpec(
            name,
            sysctls=dict(extra.sysctls or {}),
            ulimits={} if self.has_program(service) else self.ulimits(service),
            networks=tuple(networks),
            names={network: some for network, some in names.items() if some},
        )

    def ulimits(self, service: Service) -> dict[str, int]:
        """The limits of a host without a program: only `nofile`, with one value for soft and hard."""
        result: dict[str, int] = {}
        for name, one in (service.extra.ulimits or {}).items():
            text = _wrong_limit(name, one.limit)
            if text:
                self.project.problems.append(Problem(one.place, one.path, text))
            result[name] = one.limit.soft
        return result

    def aliases(self, hosts: Mapping[str, HostSpec], services: Mapping[str, Service]) -> None:
        """A name belongs to one host: Compose takes turns among several, a lab could not choose."""
        owners: dict[tuple[str, str], str] = {}
        for host in hosts.values():
            for network in host.networks:
                owners[network, host.name] = host.name
        for host in hosts.values():
            for network, names in host.names.items():
                for name in names:
                    owner = owners.setdefault((network, name), host.name)
                    if owner != host.name:
                        text = f"{shown(name)} is a name of {owner} too, on {network}; a name is one host's"
                        self.say(services[host.name], text)

    def with_links(self, service: Service, part: Part) -> Part:
        links = {
            name: Wanted(name, "service_started", True, service.place, service.path)
            for name in service.extra.links or ()
        }
        return replace(part, depends_on={**links, **(part.depends_on or {})}) if links else part


def _wrong_limit(name: str, limit: Ulimit) -> str:
    if name != "nofile":
        return f"{name} cannot be honoured for a host without a program; allowed: nofile"
    if limit.soft != limit.hard:
        return "soft and hard differ; the lab sets one for both"
    if not 16 <= limit.soft <= 1 << 20:
        return f"{limit.soft} is out of range: nofile is a whole number from 16 to {1 << 20}"
    return ""
