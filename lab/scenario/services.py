"""The programs of a host, as the runner takes them: every default resolved, independent of YAML.

`lab.scenario.compose` makes them from a scenario and a Compose file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from msgspec import Struct

from lab.place import Place
from lab.policy import SERVICE_CAPABILITIES, BuildNetwork
from lab.scenario.element import NOWHERE
from lab.scenario.values import TextMatch
from lab.units import Duration

Condition = Literal["service_started", "service_healthy", "service_completed_successfully"]
MountKind = Literal["bind", "volume", "tmpfs", "content"]
ReadyKind = Literal["listening", "log", "healthcheck", "command", "exit", "running"]

_0S, _5S, _10S, _30S = (Duration.parse(text) for text in ("0s", "5s", "10s", "30s"))


@dataclass(frozen=True, slots=True)
class Build:
    """How an image is built. Without `inline` the file is `dockerfile`."""

    context: Path
    dockerfile: Path
    inline: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    network: BuildNetwork = "bridge"
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Mount:
    """One thing in the container's file system.

    `bind`: a copy of the project's file or folder `source`; `volume`: a volume of the case, `source` its
    name, None for one of the service's own; `tmpfs`; `content`: a file that holds `content`.
    """

    kind: MountKind
    target: str
    source: Path | str | None = None
    read_only: bool = False
    content: str | None = field(default=None, repr=False)
    subpath: str | None = None  #: of a volume: the folder in it that is mounted
    nocopy: bool = False  #: of a volume: do not copy the image's content at the target into it
    size: int | None = None  #: of a tmpfs: bytes
    options: str = ""  #: of a tmpfs: mount options as written, `mode=1777,uid=5`
    mode: int | None = None  #: of a file: its permissions
    uid: int | None = None
    gid: int | None = None
    place: Place = field(default=NOWHERE, compare=False)


class Ulimit(Struct, frozen=True):
    """A limit of a service's processes."""

    soft: int
    hard: int


class Healthcheck(Struct, frozen=True):
    """Compose's healthcheck. `test` is ("CMD", …) or ("CMD-SHELL", text); None is the image's own."""

    test: tuple[str, ...] | None = None
    interval: Duration = _30S
    timeout: Duration = _30S
    retries: int = 3
    start_period: Duration = _0S
    start_interval: Duration = _5S
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """When a service counts as started: the field that `kind` names has the condition.

    `running` is the default without a `ready` and without a healthcheck.
    """

    kind: ReadyKind
    listening: int | None = None
    log: TextMatch | None = None
    command: tuple[str, ...] = ()
    exit: int | None = None
    timeout: Duration = _30S
    place: Place = field(default=NOWHERE, compare=False)
    path: str = field(default="", compare=False)


class Dependency(Struct, frozen=True):
    """A service that must reach a state before this one starts."""

    host: str
    service: str
    condition: Condition = "service_started"
    required: bool = True


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One program beside the agent in a host's network."""

    name: str
    image: str | None = None  #: None, and no `build`: the host image
    build: Build | None = None  #: takes precedence over `image`, which is then the built image's second name
    command: tuple[str, ...] | None = None  #: None: the image's; (): none, even if the image has one
    entrypoint: tuple[str, ...] | None = None  #: the same
    environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    ulimits: Mapping[str, Ulimit] = field(default_factory=dict)
    init: bool = False
    stop_signal: str | None = None  #: None: the image's, otherwise TERM
    stop_grace_period: Duration = _10S
    healthcheck: Healthcheck | None = None  #: None: the image's, if it has one
    depends_on: tuple[Dependency, ...] = ()
    read_only: bool = False
    capabilities: tuple[str, ...] = SERVICE_CAPABILITIES
    ready: Ready | None = None  #: None: healthy if it has a healthcheck, otherwise running
    autostart: bool = True
    trace: bool = False
    record: Mapping[str, TextMatch] = field(default_factory=dict)
    place: Place = field(default=NOWHERE, compare=False)
    path: str = field(default="", compare=False)  #: `hosts.web.service`, `services.web`

    @property
    def is_job(self) -> bool:
        """Whether it should end by itself: `ready: {exit: 0}`. See also the scenario's `completes`."""
        return self.ready is not None and self.ready.kind == "exit"


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file or folder of the project that a host's `run` steps see, read-only."""

    source: Path
    target: str
    place: Place = field(default=NOWHERE, compare=False)
