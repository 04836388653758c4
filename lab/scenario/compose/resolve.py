"""The keys of a service to a `Part`: files of the project, variables of the caller, the site's policy."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from lab.place import Place
from lab.policy import BUILD_NETWORKS, SERVICE_CAPABILITIES, BuildNetwork
from lab.scenario import tree
from lab.scenario.base import present
from lab.scenario.compose import dotenv
from lab.scenario.compose.interpolate import BadTemplate, Variables
from lab.scenario.compose.models import (
    BuildKeys,
    DependencyKeys,
    EnvFileKeys,
    MountKeys,
    ReadyKeys,
    ServiceKeys,
)
from lab.scenario.compose.outside import Outside, Refused
from lab.scenario.compose.parts import BuildPart, HealthPart, Part, Wanted
from lab.scenario.compose.words import parse_bytes
from lab.scenario.locate import Locator
from lab.scenario.locate import Path as Keys
from lab.scenario.problems import Problem, did_you_mean, path_text
from lab.scenario.services import Mount, Ready, ReadyKind

_URL = re.compile(r"[a-z][a-z0-9+.-]*://|git@|github\.com/", re.IGNORECASE)
#: The kinds of `ready` that have a value.
_CONDITIONS: tuple[ReadyKind, ...] = ("listening", "log", "command", "exit")
_TMPFS_OPTIONS = ("mode", "uid", "gid", "noexec", "exec", "nosuid", "nodev", "ro", "rw", "noatime")
_NO_NEW = ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true")


class Where(Struct):
    """Where the keys of a service are: in which file, under which key, relative to which folder."""

    locator: Locator
    path: Keys
    folder: Path  #: the base of relative paths
    outside: Outside
    variables: Variables
    volumes: Collection[str] | None = None  #: of a Compose file; None: any
    problems: list[Problem] = []
    notes: list[Problem] = []

    def place(self, *keys: str | int) -> Place:
        return self.locator.at((*self.path, *keys), "").place

    def say(self, keys: Keys, text: str) -> None:
        self.problems.append(self.locator.at((*self.path, *keys), text))

    def say_key(self, keys: Keys, text: str) -> None:
        self.problems.append(self.locator.at_key((*self.path, *keys), text))

    def note(self, keys: Keys, text: str) -> None:
        self.notes.append(self.locator.at_key((*self.path, *keys), text))

    def find(self, keys: Keys, name: str, must: str) -> Path | None:
        """A file or folder of the project; a problem with it is reported."""
        try:
            return self.outside.find(self.folder, name, must=must)
        except Refused as error:
            self.say(keys, str(error))
            return None


def resolve(keys: ServiceKeys, where: Where) -> Part:
    """The part that these keys describe. Problems are added to `where.problems`."""
    mounts = (*_mounts(keys, where), *_tmpfs(keys, where)) if keys.volumes or keys.tmpfs else None
    if mounts is not None:
        _targets(mounts, where)
    _capabilities(keys, where)
    for index, option in enumerate(keys.security_opt or ()):
        if option not in _NO_NEW:
            text = f"{option} is refused by the policy; allowed: no-new-privileges"
            where.say(("security_opt", index), text)
    health = keys.healthcheck
    return Part(
        image=keys.image,
        build=None if keys.build is None else _build(keys.build, where),
        command=keys.command,
        entrypoint=keys.entrypoint,
        env_files=None if keys.env_file is None else _env_files(keys.env_file, where),
        environment=None
        if keys.environment is None
        else environment(keys.environment, ("environment",), where),
        working_dir=keys.working_dir,
        user=keys.user,
        groups=keys.group_add,
        mounts=mounts,
        ulimits=keys.ulimits,
        init=keys.init,
        stop_signal=keys.stop_signal,
        stop_grace_period=keys.stop_grace_period,
        healthcheck=None if health is None else HealthPart(**present(health, HealthPart.__struct_fields__)),
        depends_on=None if keys.depends_on is None else _depends_on(keys, where),
        read_only=keys.read_only,
        cap_add=None if keys.cap_add is None else tuple(keys.cap_add),
        cap_drop=None if keys.cap_drop is None else tuple(keys.cap_drop),
        ready=None if keys.ready is None else _ready(keys.ready, where),
        autostart=keys.autostart,
        trace=keys.trace,
        record=keys.record,
        place=where.locator.at_key(where.path, "").place,
        path=path_text(where.path),
    )


# --- variables --------------------------------------------------------------------------------------------


def environment(given: Mapping[str, str | None], at: Keys, where: Where) -> dict[str, str | None]:
    """The environment, with the caller's value for each name without one."""
    result: dict[str, str | None] = {}
    for name, value in given.items():
        known = value if value is not None else where.variables.lookup(name)
        if known is None and name not in where.variables.noted:
            where.variables.noted.add(name)
            where.note((*at, name), where.variables.why_unset(name))
        result[name] = known
    return result


def _env_files(given: str | list[EnvFileKeys | str], where: Where) -> dict[str, str]:
    result: dict[str, str] = {}
    if where.outside.stored:
        return result
    for index, one in enumerate(given if isinstance(given, list) else [given]):
        keys: Keys = ("env_file", index) if isinstance(given, list) else ("env_file",)
        entry = one if isinstance(one, EnvFileKeys) else EnvFileKeys(path=one)
        try:
            path = where.outside.inside(where.folder, entry.path)
        except Refused as error:
            where.say(keys, str(error))
            continue
        if entry.required is False and not os.path.exists(path):
            continue
        result |= read_variables(entry.path, keys, where, raw=entry.format == "raw") or {}
    return result


def read_variables(name: str, keys: Keys, where: Where, *, raw: bool = False) -> dict[str, str] | None:
    """Read a file of variables; its problems are reported at `keys`."""
    shown = str(where.folder / name)
    try:
        text = where.outside.read(where.folder, name, shown)
        return dotenv.parse(text, where.variables.lookup, raw=raw)
    except Refused as error:
        where.say(keys, str(error))
    except tree.Unreadable as error:
        where.say(keys, f"{name}: {error.problem.text}")
    except dotenv.BadLine as error:
        where.problems.append(Problem(Place(shown, error.line, 1), "", str(error)))
    except BadTemplate as error:
        where.say(keys, f"{name}: {error}")
    return None


# --- building ---------------------------------------------------------------------------------------------


def _build(given: BuildKeys | str, where: Where) -> BuildPart:
    keys = BuildKeys(context=given) if isinstance(given, str) else given
    at: Keys = ("build",) if isinstance(given, str) else ("build", "context")
    network: BuildNetwork | None = "bridge" if keys.network == "default" else keys.network
    most = where.outside.policy.build
    if network is not None and BUILD_NETWORKS.index(network) > BUILD_NETWORKS.index(most):
        where.say(("build", "network"), f"{network} is refused by the policy: policy.build is {most}")
    context: Path | None = None
    if keys.context is not None and _URL.match(keys.context):
        where.say(at, f"{keys.context}: a URL as a context is refused; a build uses what the project has")
    elif keys.context is not None:
        context = where.find(at, keys.context, "folder")
    folder = context or where.folder
    if keys.dockerfile is not None and (context is not None or keys.context is None):
        try:
            where.outside.find(folder, keys.dockerfile, must="file")
        except Refused as error:
            where.say(("build", "dockerfile"), str(error))
    elif (
        keys.dockerfile_inline is None
        and context is not None
        and not where.outside.has_file(folder / "Dockerfile")
    ):
        where.say(
            at, f"{keys.context}: no Dockerfile in it; name one with dockerfile, or give dockerfile_inline"
        )
    args = None if keys.args is None else environment(keys.args, ("build", "args"), where)
    return BuildPart(
        folder=where.folder,
        context=context,
        dockerfile=keys.dockerfile,
        inline=keys.dockerfile_inline,
        args=None if args is None else {name: value for name, value in args.items() if value is not None},
        target=keys.target,
        network=network,
        place=where.place("build"),
    )


# --- files ------------------------------------------------------------------------------------------------


def _mounts(keys: ServiceKeys, where: Where) -> Iterator[Mount]:
    for index, one in enumerate(keys.volumes or ()):
        at: Keys = ("volumes", index)
        place = where.place(*at)
        if not isinstance(one, MountKeys):
            if one.is_bind:
                assert one.source is not None
                yield _bind(one.source, one.target, one.read_only, at, where)
            else:
                _named(one.source, at, where)
                yield Mount("volume", one.target, one.source, one.read_only, nocopy=one.nocopy, place=place)
            continue
        yield _long(one, at, where)


def _long(one: MountKeys, at: Keys, where: Where) -> Mount:
    place, read_only = where.place(*at), bool(one.read_only)
    for kind in ("bind", "volume", "tmpfs"):
        if kind != one.type and getattr(one, kind) is not None:
            where.say_key((*at, kind), f"{kind} makes no sense for a volume of type {one.type}")
    if one.type == "bind":
        if one.source is None:
            where.say(at, "source is missing: the file or folder of the project")
            return Mount("bind", one.target, None, read_only, place=place)
        return _bind(one.source, one.target, read_only, (*at, "source"), where)
    if one.type == "tmpfs":
        if one.source is not None:
            where.say_key((*at, "source"), "a tmpfs has no source")
        size, mode = (one.tmpfs.size, one.tmpfs.mode) if one.tmpfs is not None else (None, None)
        return Mount("tmpfs", one.target, None, read_only, size=size, mode=mode, place=place)
    _named(one.source, (*at, "source"), where)
    options = one.volume
    return Mount(
        "volume",
        one.target,
        one.source,
        read_only,
        nocopy=options is not None and bool(options.nocopy),
        subpath=None if options is None else options.subpath,
        place=place,
    )


def _bind(name: str, target: str, read_only: bool, at: Keys, where: Where) -> Mount:
    """A bind of a file or folder of the project. In a Compose file a missing source is an empty folder, as
    Compose makes one; in a scenario it is a mistake."""
    place = where.place(*at)
    if where.volumes is not None:
        try:
            path = where.outside.inside(where.folder, name)
        except Refused as error:
            where.say(at, str(error))
            return Mount("bind", target, None, read_only, place=place)
        if where.outside.is_missing(path):
            where.notes.append(
                Problem(place, path_text((*where.path, *at)), f"{name} is not there: it is an empty folder")
            )
            shared = re.sub(r"[^A-Za-z0-9]+", "-", str(path)).strip("-")
            return Mount("volume", target, shared, read_only, nocopy=True, place=place)
    return Mount("bind", target, where.find(at, name, "any"), read_only, place=place)


def _named(name: str | None, at: Keys, where: Where) -> None:
    """Judge a named volume."""
    if name is None:
        return
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        where.say(at, f"{name!r} is not the name of a volume; a file or folder begins with ./ or /")
    elif where.volumes is not None and name not in where.volumes:
        known = ", ".join(where.volumes) or "none"
        hint = did_you_mean(name, where.volumes)
        where.say(at, f"{name!r} is not one of the file's volumes: {known}{hint}; a folder begins with ./")


def _tmpfs(keys: ServiceKeys, where: Where) -> Iterator[Mount]:
    for index, text in enumerate(keys.tmpfs or ()):
        at: Keys = ("tmpfs", index)
        target, _, options = text.partition(":")
        size: int | None = None
        kept = []
        for option in options.split(",") if options else ():
            name, _, value = option.partition("=")
            if name == "size" and not value.endswith("%"):
                try:
                    size = parse_bytes(value)
                except ValueError:
                    where.say(at, f"{value!r} is not a size: bytes, or like 64k, 64m, 1g")
            elif name not in _TMPFS_OPTIONS:
                where.say(
                    at, f"{option!r} is not an option of a tmpfs here; allowed: size, mode, uid, gid, noexec"
                )
            else:
                kept.append(option)
        yield Mount("tmpfs", target, size=size, options=",".join(kept), place=where.place(*at))


def _targets(mounts: tuple[Mount, ...], where: Where) -> None:
    for mount in mounts:
        if not mount.target.startswith("/") or mount.target.strip("/.") == "":
            where.problems.append(
                Problem(
                    mount.place,
                    path_text((*where.path, "volumes")),
                    f"{mount.target!r} is not a place in the container for a volume: a path below /",
                )
            )


# --- the rest ---------------------------------------------------------------------------------------------


def _capabilities(keys: ServiceKeys, where: Where) -> None:
    allowed = (*SERVICE_CAPABILITIES, *where.outside.policy.capabilities)
    for index, name in enumerate(keys.cap_add or ()):
        if name not in allowed:
            text = f"{name} is refused by the policy; allowed: {', '.join(sorted(allowed))}"
            where.say(("cap_add", index), text)


def _depends_on(keys: ServiceKeys, where: Where) -> dict[str, Wanted]:
    given = keys.depends_on or []
    result: dict[str, Wanted] = {}
    for index, name in enumerate(given):
        entry = given[name] if isinstance(given, dict) else DependencyKeys(condition="service_started")
        problem = where.locator.at_key(
            (*where.path, "depends_on", name if isinstance(given, dict) else index), ""
        )
        required = entry.required is not False
        result[name] = Wanted(name, entry.condition, required, problem.place, problem.path)
    return result


def _ready(keys: ReadyKeys, where: Where) -> Ready:
    if keys.command == ():
        where.say(("ready", "command"), "the list is empty")
    given = present(keys, (*_CONDITIONS, "timeout"))
    kind: ReadyKind = next((kind for kind in _CONDITIONS if kind in given), "healthcheck")
    return Ready(kind, **given, place=where.place("ready"), path=path_text((*where.path, "ready")))
