"""The keys of a Compose service beyond its program: its networks and names, its host's settings."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from pydantic import TypeAdapter, ValidationError

from lab.place import Place
from lab.scenario.base import shown
from lab.scenario.compose import keys as table
from lab.scenario.compose.file_models import ComposeServiceKeys, FileKeys
from lab.scenario.compose.models import GrantKeys
from lab.scenario.compose.resolve import Where
from lab.scenario.locate import Path as Keys
from lab.scenario.model import DEFAULT_NETWORK, LabKeys
from lab.scenario.problems import did_you_mean
from lab.scenario.services import Mount, Ulimit
from lab.scenario.sysctls import Sysctls


class Limit(Struct, frozen=True):
    """One of the `ulimits`, with its place: a host without a program may not have all."""

    limit: Ulimit
    place: Place
    path: str


class Extra(Struct, frozen=True):
    """What a service describes besides its program; None for what it leaves open."""

    networks: Mapping[str, tuple[str, ...]] | None = None  #: with its aliases there; empty: it is on none
    hostname: str | None = None
    container_name: str | None = None
    links: tuple[str, ...] | None = None
    profiles: tuple[str, ...] | None = None
    sysctls: Mapping[str, str] | None = None
    host: LabKeys | None = None  #: `x-lab`
    ulimits: Mapping[str, Limit] | None = None


def merge_extra(base: Extra, more: Extra) -> Extra:
    """Merge `more` over `base`, as Compose merges services."""
    named: dict[str, Any] = {}
    for name in Extra.__struct_fields__:
        old, new = getattr(base, name), getattr(more, name)
        if new is None:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            named[name] = {**old, **new}
        elif isinstance(old, tuple):
            named[name] = tuple(dict.fromkeys([*old, *new]))
        else:
            named[name] = new
    return replace(base, **named)


# --- keys -------------------------------------------------------------------------------------------------


def check_keys(data: dict[str, Any], where: Where) -> dict[str, Any]:
    """Judge each key by the table, and remove from `data` all that is not the program's: noted, refused and
    unknown keys, and the lab's own `x-lab`, which is returned."""
    lab: dict[str, Any] = data.get("x-lab", {})
    for key, value in list(data.items()):
        known = table.SERVICE.get(key)
        if key.startswith("x-"):
            del data[key]
        elif known is None:
            where.say_key((key,), f"unknown key of a service {shown(key)}{did_you_mean(key, table.SERVICE)}")
            del data[key]
        elif (value is None and key not in ("command", "entrypoint")) or (
            key == "privileged" and value in (False, "false")
        ):
            del data[key]
        elif _namespace(key, value, where) or known.fate == "refused":
            if known.fate == "refused":
                where.say_key((key,), table.refusal(key, known))
            del data[key]
        elif known.fate == "noted":
            where.note((key,), f"{key} means nothing here: {known.text}")
            del data[key]
    for name in ("build", "healthcheck", "depends_on", "ulimits"):
        inner: Any = data.get(name)
        for key in list(inner) if isinstance(inner, dict) else ():
            known = table.BUILD.get(key) if name == "build" else None
            if key.startswith("x-"):
                del inner[key]
            elif known is not None and known.fate == "noted":
                where.note((name, key), f"{key} means nothing here: {known.text}")
                del inner[key]
    return lab


def _namespace(key: str, value: Any, where: Where) -> bool:
    """Whether a key shares a namespace with the machine or another container, which is reported."""
    if key not in table.HOST_NAMESPACES or not isinstance(value, str):
        return False
    kind, _, name = value.partition(":")
    if kind in ("host", "container"):
        where.say(
            (key,), f"{value} is refused by the policy: a service shares nothing with the engine's machine"
        )
        return True
    if kind == "service" and name:
        text = f"{value} cannot be honoured: put both programs into `services` of one host of the scenario"
        where.say((key,), text)
        return True
    return False


def extra_of(
    keys: ComposeServiceKeys, host: LabKeys | None, networks: Collection[str], where: Where
) -> Extra:
    """The service's keys about its host. `networks` are the file's, `host` is what `x-lab` says."""
    return Extra(
        networks=_networks(keys, networks, where),
        hostname=keys.hostname,
        container_name=keys.container_name,
        links=_links(keys, where),
        profiles=keys.profiles,
        sysctls=_sysctls(keys, where),
        host=host,
        ulimits=_limits(keys, where),
    )


@functools.cache
def _adapter() -> TypeAdapter[Sysctls]:
    return TypeAdapter(Sysctls)  # to make it anew took 0.2 ms for each service


def _sysctls(keys: ComposeServiceKeys, where: Where) -> dict[str, str] | None:
    try:
        _adapter().validate_python(keys.sysctls or {})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            where.say(("sysctls", *detail["loc"][:1]), str(detail["msg"]))
    return keys.sysctls


def _limits(keys: ComposeServiceKeys, where: Where) -> dict[str, Limit] | None:
    if keys.ulimits is None:
        return None
    at = {name: where.locator.at((*where.path, "ulimits", name), "") for name in keys.ulimits}
    return {name: Limit(limit, at[name].place, at[name].path) for name, limit in keys.ulimits.items()}


def _networks(
    keys: ComposeServiceKeys, known: Collection[str], where: Where
) -> dict[str, tuple[str, ...]] | None:
    mode = keys.network_mode
    if mode is not None and keys.networks is not None:
        where.say_key(("networks",), "networks and network_mode exclude each other")
    if mode == "none":
        return {}
    if mode not in (None, "bridge", "default"):
        where.say(("network_mode",), f"{shown(mode)} cannot be honoured; allowed: none, bridge")
    if keys.networks is None:
        return None
    result: dict[str, tuple[str, ...]] = {}
    for index, name in enumerate(keys.networks):
        at: Keys = ("networks", name if isinstance(keys.networks, dict) else index)
        one = keys.networks[name] if isinstance(keys.networks, dict) else None
        if name != DEFAULT_NETWORK and name not in known:
            has = ", ".join([*known, DEFAULT_NETWORK])
            hint = did_you_mean(name, known)
            where.say_key(at, f"{name!r} is not one of the file's networks: {has}{hint}")
        if one is not None and (
            addresses := [key for key in ("ipv4_address", "ipv6_address") if getattr(one, key)]
        ):
            where.note((*at, addresses[0]), f"{addresses[0]} means nothing here: the lab gives the addresses")
        result[name] = () if one is None else one.aliases or ()
    return result


def _links(keys: ComposeServiceKeys, where: Where) -> tuple[str, ...] | None:
    for index, text in enumerate(keys.links or ()):
        name, colon, alias = text.partition(":")
        if colon and alias != name:
            text = f"{text}: an alias of a link cannot be honoured; give {name} the alias under networks"
            where.say(("links", index), text)
    return None if keys.links is None else tuple(text.partition(":")[0] for text in keys.links)


# --- configs and secrets ----------------------------------------------------------------------------------


def grants(
    keys: ComposeServiceKeys, known: Mapping[str, Mapping[str, FileKeys]], where: Where
) -> tuple[Mount, ...]:
    """The files that `configs` and `secrets` put into the container."""
    return tuple(
        mount
        for kind, given in (("configs", keys.configs), ("secrets", keys.secrets))
        for index, one in enumerate(given or ())
        if (mount := _grant(kind, index, one, known.get(kind, {}), where)) is not None
    )


def _grant(
    kind: str, index: int, one: GrantKeys | str, known: Mapping[str, FileKeys], where: Where
) -> Mount | None:
    keys = one if isinstance(one, GrantKeys) else GrantKeys(source=one)
    at: Keys = (kind, index)
    if keys.source not in known:
        has = ", ".join(known) or "none"
        where.say(
            at, f"{keys.source!r} is not one of the file's {kind}: {has}{did_you_mean(keys.source, known)}"
        )
        return None
    folder = "/run/secrets/" if kind == "secrets" else "/"
    target = keys.target or keys.source
    target = target if target.startswith("/") else folder + target
    source = known[keys.source]
    top = Where(where.locator, (kind, keys.source), where.folder, where.outside, where.variables)
    path: Path | None = None
    content = source.content
    if source.file is not None:
        path = top.find(("file",), source.file, "file")
    elif source.environment is not None:
        content = where.variables.lookup(source.environment)
        if content is None:
            content = ""
            problem = where.locator.at((kind, keys.source, "environment"), "")
            note = replace(problem, text=where.variables.why_unset(source.environment))
            where.notes += [note] if note not in where.notes else []
    where.problems += [one for one in top.problems if one not in where.problems]
    owners: dict[str, int] = {}
    for key in ("uid", "gid"):
        value = getattr(keys, key)
        if value is not None and not value.isdecimal():
            where.say((*at, key), f"{value!r} is not a number")
        elif value is not None:
            owners[key] = int(value)
    return Mount(
        "bind" if path is not None else "content",
        target,
        path,
        read_only=True,
        content=content,
        mode=keys.mode,
        uid=owners.get("uid"),
        gid=owners.get("gid"),
        place=where.place(*at),
    )
