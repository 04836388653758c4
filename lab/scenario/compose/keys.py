"""The only table of Compose's keys and what the lab does with each: honour, note or refuse it.

`docs/reference/compose.md` is made from it (`tools/compose_reference.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

Fate = Literal["honoured", "noted", "refused"]


class Key(Struct, frozen=True):
    """How one key is treated. `text` says what it does here, why it does nothing, or why it is refused."""

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

_AS_IN_COMPOSE = (
    *("command", "entrypoint", "working_dir", "user", "group_add", "init", "read_only", "ulimits"),
    *("cap_drop", "tmpfs", "configs", "secrets", "stop_signal", "stop_grace_period", "profiles"),
)
_LIMITED = (
    *("cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares"),
    *("cpus", "cpuset", "mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit", "shm_size"),
    *("oom_kill_disable", "oom_score_adj", "blkio_config", "cgroup_parent", "pids_limit", "storage_opt"),
)

SERVICE: Mapping[str, Key] = {
    "image": _yes("any image; `lab-host` without `command` and `entrypoint` is a host without a program"),
    "build": _yes("`context`, `dockerfile`, `dockerfile_inline`, `args`, `target`, `network`"),
    "environment": _yes("of the caller's environment only what `policy.environment` names"),
    "env_file": _yes("inside the project"),
    "volumes": _yes("binds are bounded copies of what the project has; volumes are the case's own"),
    "healthcheck": _yes("without a `ready`, the service is ready when it is healthy"),
    "depends_on": _yes("gives the order of the start"),
    "cap_add": _yes("of Docker's default capabilities less NET_RAW and MKNOD, and what the policy allows"),
    "security_opt": _yes("`no-new-privileges`, which holds anyway; all else is refused"),
    "sysctls": _yes("`net.…`, of the host's network"),
    "networks": _yes("which hosts it reaches; `aliases` are names, addresses mean nothing"),
    "network_mode": _yes("`none`, `bridge`; `host` and `container:…` are refused"),
    "hostname": _yes("a name of the host"),
    "container_name": _yes("a name of the host"),
    "links": _yes("an order of the start; an alias is refused"),
    "extends": _yes("inside the project"),
    "annotations": _note("nothing reads them here"),
    "attach": _note("logs are kept anyway"),
    "cgroup": _note("`private` holds anyway; `host` is refused"),
    "deploy": _note("a host is one container on one machine"),
    "develop": _note("nothing is watched here"),
    "expose": _note("every port of a host can be reached"),
    "ipc": _note("`private` holds anyway; `host` and `container:…` are refused"),
    "isolation": _note("is for Windows only"),
    "label_file": _note("nothing reads labels here"),
    "labels": _note("nothing reads labels here"),
    "logging": _note("the lab keeps what a service prints"),
    "mac_address": _note("the lab gives the addresses"),
    "pid": _note("a service sees its own processes; `host` and `container:…` are refused"),
    "platform": _note("the engine's own is used"),
    "ports": _note("hosts reach each other at the container's port; nothing outside reaches a lab"),
    "pull_policy": _note("an image that the engine lacks is pulled"),
    "pull_refresh_after": _note("an image that the engine lacks is pulled"),
    "restart": _note("a scenario says when a program starts again"),
    "scale": _note("a host is one container"),
    "stdin_open": _note("nobody types into a service"),
    "tty": _note("nobody types into a service"),
    "userns_mode": _note("is the engine's; `host` is refused"),
    "uts": _note("is the host's; `host` is refused"),
    "credential_spec": _no("is for Windows only"),
    "external_links": _no("a lab reaches no container outside it"),
    "models": _no("a lab has no AI models"),
    "post_start": _no("use a `run` step with `in`"),
    "pre_stop": _no("use a `run` step with `in`"),
    "provider": _no("a lab starts containers and nothing else"),
    "use_api_socket": _no("the engine's socket is not for what runs in a lab"),
    "volumes_from": _no("name the volume at both services"),
    **dict.fromkeys(_AS_IN_COMPOSE, _yes()),
    **dict.fromkeys(_LIMITED, _note(_LIMITS)),
    **dict.fromkeys(("dns", "dns_opt", "dns_search", "domainname", "extra_hosts"), _note(_NAMES)),
    **dict.fromkeys(("privileged", "device_cgroup_rules", "devices", "gpus", "runtime"), _no(_POLICY)),
}


def refusal(name: str, key: Key) -> str:
    """The error text for a key that is not allowed in its place."""
    if key.text == _POLICY:
        return f"{name} is refused: {_POLICY}"
    if key.fate == "refused":
        return f"{name} cannot be honoured: {key.text}"
    if key.fate == "noted":
        return f"{name} means nothing in a scenario: {key.text}"
    return f"{name} belongs to a service of a Compose file: {key.text}"


#: Values that are refused, whatever the table says about their key.
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
    "isolation": _note("is for Windows only"),
    "privileged": _no(_POLICY),
    "secrets": _no("a build has no secrets here"),
    "ssh": _no("a build has no keys of the caller"),
}
