"""A service as one file describes it, with its files found; parts are merged as Compose does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from lab.place import Place
from lab.policy import SERVICE_CAPABILITIES, BuildNetwork
from lab.scenario.base import present
from lab.scenario.element import NOWHERE
from lab.scenario.services import (
    Build,
    Condition,
    Dependency,
    Healthcheck,
    Mount,
    Ready,
    ServiceSpec,
    Ulimit,
)
from lab.scenario.values import TextMatch
from lab.units import Duration


class Wanted(Struct, frozen=True):
    """One entry of `depends_on`, its name not yet looked up."""

    name: str
    condition: Condition
    required: bool
    place: Place
    path: str


class BuildPart(Struct, frozen=True):
    """A build as one file describes it; None for what it leaves open. `folder` is the default context."""

    folder: Path
    context: Path | None = None
    dockerfile: str | None = None
    inline: str | None = None
    args: Mapping[str, str] | None = None
    target: str | None = None
    network: BuildNetwork | None = None
    place: Place = NOWHERE


class HealthPart(Struct, frozen=True):
    """A healthcheck as one file describes it; None for what it leaves open."""

    test: tuple[str, ...] | None = None
    interval: Duration | None = None
    timeout: Duration | None = None
    retries: int | None = None
    start_period: Duration | None = None
    start_interval: Duration | None = None
    disable: bool | None = None


class Part(Struct, frozen=True):
    """A service as one file describes it; None for what it leaves open."""

    image: str | None = None
    build: BuildPart | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env_files: Mapping[str, str] | None = (
        None  #: from the files of `env_file`, a later one over an earlier one
    )
    environment: Mapping[str, str | None] | None = None  #: None: not in the environment at all
    working_dir: str | None = None
    user: str | None = None
    groups: tuple[str, ...] | None = None
    mounts: tuple[Mount, ...] | None = None
    ulimits: Mapping[str, Ulimit] | None = None
    init: bool | None = None
    stop_signal: str | None = None
    stop_grace_period: Duration | None = None
    healthcheck: HealthPart | None = None
    depends_on: Mapping[str, Wanted] | None = None
    read_only: bool | None = None
    cap_add: tuple[str, ...] | None = None
    cap_drop: tuple[str, ...] | None = None
    ready: Ready | None = None
    autostart: bool | None = None
    trace: bool | None = None
    record: Mapping[str, TextMatch] | None = None
    place: Place = NOWHERE
    path: str = ""


#: Lists that are joined when parts are merged; `mounts` are merged by their target.
_JOINED = ("groups", "cap_add", "cap_drop")
#: Mappings that are merged key by key.
_MAPPINGS = ("env_files", "environment", "ulimits", "depends_on", "record")


def merge(base: Part, more: Part) -> Part:
    """Merge `more` over `base` as Compose merges a second file: mappings key by key, volumes by their target,
    lists joined, the rest replaced."""
    named: dict[str, Any] = {}
    for name in Part.__struct_fields__:
        old, new = getattr(base, name), getattr(more, name)
        if name in ("place", "path") or new is None:
            continue
        if old is None:
            named[name] = new
        elif name in _JOINED:
            named[name] = tuple(dict.fromkeys([*old, *new]))
        elif name in _MAPPINGS:
            named[name] = {**old, **new}
        elif name == "mounts":
            named[name] = tuple({mount.target: mount for mount in (*old, *new)}.values())
        elif name in ("build", "healthcheck"):
            named[name] = _over(old, new)
        else:
            named[name] = new
    return replace(base, **named)


def merge_over(base: Part, more: Part) -> Part:
    """`merge` a scenario's keys over a topology's: an image replaces a build, and a build replaces an
    image."""
    if more.image is not None and more.build is None:
        base = replace(base, build=None)
    elif more.build is not None and more.image is None:
        base = replace(base, image=None)
    return merge(base, more)


def _over(old: Any, new: Any) -> Any:
    named = present(new, new.__struct_fields__)
    if isinstance(old, BuildPart):
        del named["folder"]
        if old.args and new.args:
            named["args"] = {**old.args, **new.args}
        if new.inline is not None:
            named["dockerfile"] = None
        elif new.dockerfile is not None:
            named["inline"] = None
    elif new.test is not None and new.disable is None:
        named["disable"] = None
    return replace(old, **named)


def finished(
    name: str, part: Part, build_network: BuildNetwork, depends_on: tuple[Dependency, ...] = ()
) -> ServiceSpec:
    """A part with every default filled in. `build_network` is the default network of a build."""
    environment = {**(part.env_files or {}), **(part.environment or {})}
    as_it_is = (
        *("image", "command", "entrypoint", "working_dir", "user", "groups", "mounts", "ulimits", "init"),
        *("stop_signal", "stop_grace_period", "read_only", "ready", "autostart", "trace", "record"),
    )
    return ServiceSpec(
        name,
        **present(part, as_it_is),
        build=None if part.build is None else _build(part.build, build_network),
        environment={key: value for key, value in environment.items() if value is not None},
        healthcheck=None if part.healthcheck is None else _healthcheck(part.healthcheck),
        depends_on=depends_on,
        capabilities=capabilities(part.cap_add or (), part.cap_drop or ()),
        place=part.place,
        path=part.path,
    )


def _build(part: BuildPart, network: BuildNetwork) -> Build:
    context = part.context or part.folder
    return Build(
        context=context,
        dockerfile=context / (part.dockerfile or "Dockerfile"),
        inline=part.inline,
        args=part.args or {},
        target=part.target,
        network=part.network or network,
        place=part.place,
    )


def _healthcheck(part: HealthPart) -> Healthcheck:
    disabled = bool(part.disable) or part.test == ("NONE",)
    given = present(replace(part, test=None if disabled else part.test, disable=None), part.__struct_fields__)
    return Healthcheck(**given, disabled=disabled)


def capabilities(add: tuple[str, ...], drop: tuple[str, ...]) -> tuple[str, ...]:
    """The resulting capabilities, in Docker's order: first `ALL` is dropped, then others are added."""
    kept = set() if "ALL" in drop else set(SERVICE_CAPABILITIES) - set(drop)
    kept |= set(SERVICE_CAPABILITIES if "ALL" in add else ()) | (set(add) - {"ALL"})
    if "ALL" not in drop:
        kept -= set(drop)
    return tuple(sorted(kept))
