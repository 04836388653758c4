"""A topology: a Compose file whose services are the hosts.

Read for what the lab makes of it: names, `sysctls`, `ulimits`, and the link under `x-lab`. Keys of Compose
that have no meaning for a host of the lab (ports, restart …) are allowed and change nothing; a service with
an image or a command of its own would be a program beside the lab's agent, see `lab.scenario.support`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.link import Link
from lab.place import Place
from lab.scenario import tree
from lab.scenario.base import shown
from lab.scenario.locate import Locator
from lab.scenario.locate import Path as Keys
from lab.scenario.model import HostKeys, HostSpec
from lab.scenario.params import Filled, fill
from lab.scenario.problems import Problem, did_you_mean
from lab.scenario.quantities import HOST_PATTERN
from lab.scenario.support import NOT_YET, SERVICES
from lab.scenario.validate import validate

#: What a Compose file of the lab calls the host image; which image that is, the site says.
HOST_IMAGE = re.compile(r"lab-host(:.+)?|\$\{LAB_HOST_IMAGE(:?[-?].*)?\}")

_TOP = ("name", "version", "services", "networks", "volumes", "configs", "secrets", "include", "models")
_SERVICE = tuple(
    """
    annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs container_name
    cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset
    credential_spec depends_on deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname
    entrypoint env_file environment expose extends external_links extra_hosts gpus group_add healthcheck
    hostname image init ipc isolation label_file labels links logging mac_address mem_limit mem_reservation
    mem_swappiness memswap_limit models network_mode networks oom_kill_disable oom_score_adj pid pids_limit
    platform ports post_start pre_stop privileged profiles provider pull_policy pull_refresh_after read_only
    restart runtime scale secrets security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt
    sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volumes volumes_from working_dir
    """.split()  # noqa: SIM905 (a literal list of these is unreadable)
)


@dataclass(frozen=True, slots=True)
class Hosts:
    """What a topology gives: its hosts (None where it cannot be read) and what is wrong with it."""

    hosts: dict[str, HostSpec] | None
    problems: tuple[Problem, ...]


def read_topology(path: Path, shown_as: str, asked: Problem) -> Hosts:
    """The hosts of a Compose file. `asked` is the problem to report, at the scenario's `topology` key, with
    the reason where the file cannot be read at all."""
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        return Hosts(None, (Problem(asked.place, asked.path, f"{shown_as}: {what}"),))
    try:
        root, problems = tree.parse(tree.read_text(path, shown_as), shown_as)
    except tree.Unreadable as error:
        return Hosts(None, (error.problem,))
    if not isinstance(root, tree.Mapping):
        place = root.place if root is not None else Place(shown_as, 1, 1)
        return Hosts(None, (*problems, Problem(place, "", "not a Compose file: a mapping with services")))
    reader = _Reader(root, Locator(root), fill(root, None), problems)
    return Hosts(reader.hosts(), tuple(reader.problems))


@dataclass
class _Reader:
    root: tree.Mapping
    locator: Locator
    filled: Filled
    problems: list[Problem]

    def key(self, path: Keys, text: str) -> None:
        self.problems.append(self.locator.at_key(path, text))

    def value(self, path: Keys, text: str) -> None:
        self.problems.append(self.locator.at(path, text))

    def hosts(self) -> dict[str, HostSpec] | None:
        for key in self.root.entries:
            if key not in _TOP and not key.startswith("x-"):
                self.key((key,), f"unknown key of a Compose file {shown(key)}{did_you_mean(key, _TOP)}")
        services = self.filled.data.get("services")
        if not isinstance(services, dict) or not services:
            self.value(
                ("services",), "services is missing: the hosts, like services: {client: {}, server: {}}"
            )
            return None
        return {name: self.host(name, keys) for name, keys in services.items()}

    def host(self, name: str, keys: Any) -> HostSpec:
        path: Keys = ("services", name)
        if not re.fullmatch(HOST_PATTERN, name):
            self.key(path, f"{shown(name)} is not a host's name: letters, digits and '-', at most 63")
        if keys is None:
            return HostSpec(name)
        if not isinstance(keys, dict):
            self.value(path, f"{shown(keys)} is not a mapping of a service's keys")
            return HostSpec(name)
        for key in keys:
            if key not in _SERVICE and not key.startswith("x-"):
                self.key((*path, key), f"unknown key of a service {shown(key)}{did_you_mean(key, _SERVICE)}")
        self.own_program(path, keys)
        wanted = {
            **({"sysctls": _pairs(keys["sysctls"])} if "sysctls" in keys else {}),
            **({"ulimits": self.ulimits(path, keys["ulimits"])} if "ulimits" in keys else {}),
        }
        spec = self.judged(path, wanted, {})
        more = self.judged((*path, "x-lab"), keys.get("x-lab", {}), self.filled.paths)
        return merged(name, spec, more)

    def own_program(self, path: Keys, keys: dict[str, Any]) -> None:
        if SERVICES not in NOT_YET:
            return
        image = keys.get("image")
        if image is not None and not (isinstance(image, str) and HOST_IMAGE.fullmatch(image)):
            text = f"image {shown(image)} is not yet supported: {SERVICES}; a host's image is lab-host"
            self.value((*path, "image"), text)
        for key in ("command", "entrypoint"):
            if key in keys:
                self.key((*path, key), f"{key} is not yet supported: {SERVICES}")

    def ulimits(self, path: Keys, value: Any) -> Any:
        """Compose's `nofile: 64` or `nofile: {soft: 64, hard: 64}`; the lab has one value for both."""
        if not isinstance(value, dict):
            return value
        limits = dict(value)
        for name, limit in value.items():
            if isinstance(limit, dict) and limit.keys() == {"soft", "hard"}:
                limits[name] = limit["soft"]
                if limit["soft"] != limit["hard"]:
                    self.value((*path, "ulimits", name), "soft and hard differ; the lab sets one for both")
        return limits

    def judged(self, path: Keys, keys: Any, paths: dict[int, Keys]) -> HostKeys | None:
        if not isinstance(keys, dict):
            self.value(path, f"{shown(keys)} is not a mapping; allowed keys: link, sysctls, ulimits")
            return None
        under = Locator(self.locator.resolve(path)[1])
        relative = {one: where[len(path) :] for one, where in paths.items() if where[: len(path)] == path}
        result, problems = validate(HostKeys, Filled(keys, {**relative, id(keys): ()}), under)
        prefix = ".".join(str(part) for part in path)
        self.problems += [
            Problem(one.place, f"{prefix}.{one.path}" if one.path else prefix, one.text) for one in problems
        ]
        return result


def _pairs(value: Any) -> Any:
    """Compose's list form `[a=b]` as a mapping."""
    if isinstance(value, list) and all(isinstance(one, str) and "=" in one for one in value):
        return dict(one.split("=", 1) for one in value)
    return value


def _more(link: Link, named: Link) -> Link:
    return Link(link.up.changed(named.up), link.down.changed(named.down))


def merged(name: str, *parts: HostKeys | HostSpec | None) -> HostSpec:
    """One host of several descriptions; what a later one names wins, key by key."""
    spec = HostSpec(name)
    for part in parts:
        if isinstance(part, HostSpec):
            spec = part
        elif part is not None:
            spec = HostSpec(
                name,
                spec.link if part.link is None else _more(spec.link, part.link.link()),
                {**spec.sysctls, **(part.sysctls or {})},
                {**spec.ulimits, **(part.ulimits.limits() if part.ulimits is not None else {})},
                spec.service if part.service is None else part.service,
            )
    return spec
