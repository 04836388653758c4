"""Every key of Compose and what the lab makes of it: honoured, noted, or refused. The one table of this.

`docs/reference/compose.md` is made from it (`tools/compose_reference.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

Fate = Literal["honoured", "noted", "refused"]


class Key(Struct, frozen=True):
    """What becomes of one key. `text` says what it does here, why it does nothing, or why it cannot be."""

    fate: Fate
    text: str


def _yes(text: str = "as in Compose") -> Key:
    return Key("honoured", text)


def _note(text: str) -> Key:
    return Key("noted", text)


def _no(text: str) -> Key:
    return Key("refused", text)


_LIMITS = "the site limits what a container may use"
_POLICY = "the policy does not allow it"
_NAMES = "names are resolved by the lab: those of its hosts, and no others"

TOP: Mapping[str, Key] = {
    "services": _yes("each is a host with its program"),
    "networks": _yes("hosts that share one reach each other; drivers, addresses and `external` mean nothing"),
    "volumes": _yes("fresh for each case, kept over `power`; `external` is refused"),
    "configs": _yes("from `file`, `content` or `environment`; `external` is refused"),
    "secrets": _yes("from `file` or `environment`; `external` is refused"),
    "include": _yes("as in Compose, inside the project"),
    "name": _yes("is COMPOSE_PROJECT_NAME for what is interpolated; labs have names of their own"),
    "version": _yes("is obsolete and changes nothing"),
    "models": _no("a lab has no AI models"),
}

SERVICE: Mapping[str, Key] = {
    "image": _yes("any image; `lab-host` without `command` and `entrypoint` is a host without a program"),
    "build": _yes("`context`, `dockerfile`, `dockerfile_inline`, `args`, `target`, `network`"),
    "command": _yes(),
    "entrypoint": _yes(),
    "environment": _yes("of the caller's environment only what `policy.environment` names"),
    "env_file": _yes("inside the project"),
    "working_dir": _yes(),
    "user": _yes(),
    "group_add": _yes(),
    "volumes": _yes("binds are bounded copies of what the project has; volumes are the case's own"),
    "tmpfs": _yes(),
    "configs": _yes(),
    "secrets": _yes(),
    "ulimits": _yes(),
    "init": _yes(),
    "read_only": _yes(),
    "stop_signal": _yes(),
    "stop_grace_period": _yes(),
    "healthcheck": _yes("without a `ready`, the service is ready when it is healthy"),
    "depends_on": _yes("gives the order of the start"),
    "cap_drop": _yes(),
    "cap_add": _yes("of Docker's default capabilities less NET_RAW and MKNOD, and what the policy allows"),
    "security_opt": _yes("`no-new-privileges`, which holds anyway; all else is refused"),
    "sysctls": _yes("`net.…`, of the host's network"),
    "networks": _yes("which hosts it reaches; `aliases` are names, addresses mean nothing"),
    "network_mode": _yes("`none`, `bridge`; `host` and `container:…` are refused"),
    "hostname": _yes("a name of the host"),
    "container_name": _yes("a name of the host"),
    "links": _yes("an order of the start; an alias is refused"),
    "profiles": _yes(),
    "extends": _yes("inside the project"),
    "annotations": _note("nothing reads them here"),
    "attach": _note("logs are kept anyway"),
    "blkio_config": _note(_LIMITS),
    "cgroup": _note("`private` holds anyway; `host` is refused"),
    "cgroup_parent": _note(_LIMITS),
    "cpu_count": _note(_LIMITS),
    "cpu_percent": _note(_LIMITS),
    "cpu_period": _note(_LIMITS),
    "cpu_quota": _note(_LIMITS),
    "cpu_rt_period": _note(_LIMITS),
    "cpu_rt_runtime": _note(_LIMITS),
    "cpu_shares": _note(_LIMITS),
    "cpus": _note(_LIMITS),
    "cpuset": _note(_LIMITS),
    "deploy": _note("a host is one container on one machine"),
    "develop": _note("nothing is watched here"),
    "dns": _note(_NAMES),
    "dns_opt": _note(_NAMES),
    "dns_search": _note(_NAMES),
    "domainname": _note(_NAMES),
    "expose": _note("every port of a host can be reached"),
    "extra_hosts": _note(_NAMES),
    "ipc": _note("`private` holds anyway; `host` and `container:…` are refused"),
    "isolation": _note("is of Windows"),
    "label_file": _note("nothing reads labels here"),
    "labels": _note("nothing reads labels here"),
    "logging": _note("the lab keeps what a service prints"),
    "mac_address": _note("the lab gives the addresses"),
    "mem_limit": _note(_LIMITS),
    "mem_reservation": _note(_LIMITS),
    "mem_swappiness": _note(_LIMITS),
    "memswap_limit": _note(_LIMITS),
    "oom_kill_disable": _note(_LIMITS),
    "oom_score_adj": _note(_LIMITS),
    "pid": _note("a service sees its own processes; `host` and `container:…` are refused"),
    "pids_limit": _note(_LIMITS),
    "platform": _note("the engine's own is used"),
    "ports": _note("hosts reach each other at the container's port; nothing outside reaches a lab"),
    "privileged": _no(_POLICY),
    "pull_policy": _note("an image that the engine lacks is pulled"),
    "pull_refresh_after": _note("an image that the engine lacks is pulled"),
    "restart": _note("a scenario says when a program starts again"),
    "scale": _note("a host is one container"),
    "shm_size": _note(_LIMITS),
    "stdin_open": _note("nobody types into a service"),
    "storage_opt": _note(_LIMITS),
    "tty": _note("nobody types into a service"),
    "userns_mode": _note("is the engine's; `host` is refused"),
    "uts": _note("is the host's; `host` is refused"),
    "credential_spec": _no("is of Windows"),
    "device_cgroup_rules": _no(_POLICY),
    "devices": _no(_POLICY),
    "external_links": _no("a lab reaches no container outside it"),
    "gpus": _no(_POLICY),
    "models": _no("a lab has no AI models"),
    "post_start": _no("use a `run` step with `in`"),
    "pre_stop": _no("use a `run` step with `in`"),
    "provider": _no("a lab starts containers and nothing else"),
    "runtime": _no(_POLICY),
    "use_api_socket": _no("the engine's socket is not for what runs in a lab"),
    "volumes_from": _no("name the volume at both services"),
}


def refusal(name: str, key: Key) -> str:
    """What is said of a key that cannot stand where it does."""
    if key.text == _POLICY:
        return f"{name} is refused: {_POLICY}"
    if key.fate == "refused":
        return f"{name} cannot be honoured: {key.text}"
    if key.fate == "noted":
        return f"{name} means nothing in a scenario: {key.text}"
    return f"{name} is of a Compose file's service: {key.text}"


#: Keys whose value decides: these values are refused, whatever the table says of the key.
HOST_NAMESPACES = ("network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup")

BUILD: Mapping[str, Key] = {
    "context": _yes("a folder of the project; a URL is refused"),
    "dockerfile": _yes(),
    "dockerfile_inline": _yes("`lab-base` and `lab-host` in a FROM are the lab's own images"),
    "args": _yes("of the caller's environment only what `policy.environment` names"),
    "target": _yes(),
    "network": _yes("`none`, `bridge` (`default`), `host`: at most what `policy.build` says"),
    "cache_from": _note("the engine's cache is used"),
    "cache_to": _note("the engine's cache is used"),
    "labels": _note("nothing reads labels here"),
    "no_cache": _note("an image is built when what it is made of has changed"),
    "platforms": _note("the engine's own is used"),
    "provenance": _note("nothing is published"),
    "pull": _note("an image that the engine lacks is pulled"),
    "sbom": _note("nothing is published"),
    "shm_size": _note(_LIMITS),
    "tags": _note("an image of the lab has a tag of its own"),
    "ulimits": _note(_LIMITS),
    "additional_contexts": _no("copy what is needed into the context"),
    "entitlements": _no(_POLICY),
    "extra_hosts": _no("a build resolves what its network resolves"),
    "isolation": _note("is of Windows"),
    "privileged": _no(_POLICY),
    "secrets": _no("a build has no secrets here"),
    "ssh": _no("a build has no keys of the caller"),
}
