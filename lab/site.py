"""`lab.yml`: what holds for every scenario on this site."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from msgspec import Struct
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from lab.errors import UsageError
from lab.files import read_bytes
from lab.limits import DEFAULT, Limits
from lab.policy import BuildNetwork, Policy
from lab.resources import site_file
from lab.tolerance import Tolerance
from lab.units import Duration, Percent, Size

_Duration = Annotated[Duration, BeforeValidator(lambda v: Duration.parse(v) if isinstance(v, str) else v)]
_Percent = Annotated[Percent, BeforeValidator(lambda v: Percent.parse(v) if isinstance(v, str) else v)]

_Size = Annotated[Size, BeforeValidator(lambda v: Size.parse(v) if isinstance(v, str | int) else v)]

_MOST_BYTES = 64 << 10  #: of a `lab.yml`
_MOST_ALIASES = 16
#: libyaml's where PyYAML was built with it: a tenth of the time, at each start of a command.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

WireChoice = Literal["auto", "kernel", "uml"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, defer_build=True)


class _Tolerance(_Model):
    late: _Duration = Duration.parse("4ms")
    late_share: _Percent = Percent.parse("12.5%")
    early: _Duration = Duration.parse("1ms")
    machine: _Duration = Duration(0)


class _Engine(_Model):
    address: str | None = None


class _Policy(_Model):
    build: BuildNetwork = "bridge"
    environment: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = ()
    capabilities: tuple[Literal["NET_RAW", "NET_ADMIN"], ...] = ()


def _enough(low: int, what: str) -> AfterValidator:
    def check(value: Size | int) -> Size | int:
        if (value.bytes if isinstance(value, Size) else value) < low:
            raise ValueError(f"{value} is too little: {what}")
        return value

    return AfterValidator(check)


class _Limits(_Model):
    memory: Annotated[_Size, _enough(32_000_000, "the agent of the programs takes 20MB")] = DEFAULT.memory
    pids: Annotated[int, _enough(8, "a shell and what it starts need 8")] = DEFAULT.pids
    file_size: Annotated[_Size, _enough(1, "at least 1B")] = DEFAULT.file_size
    disk: Annotated[_Size, _enough(1_000_000, "at least 1MB")] = DEFAULT.disk
    logs: Annotated[_Size, _enough(1, "at least 1B")] = DEFAULT.logs


class _File(_Model):
    pool: IPv4Network = IPv4Network("198.18.0.0/15")
    wire: WireChoice = "auto"
    timeout: _Duration = Duration.parse("60s")
    runs: Path = Path("runs")
    snaplen: int = 262_144
    tolerance: _Tolerance = Field(default_factory=_Tolerance)
    engine: _Engine = Field(default_factory=_Engine)
    policy: _Policy = Field(default_factory=_Policy)
    limits: _Limits = Field(default_factory=_Limits)


class Site(Struct, frozen=True):
    """The defaults of a site, from `lab.yml`."""

    pool: IPv4Network
    wire: WireChoice
    timeout: Duration
    runs: Path
    snaplen: int  #: bytes
    tolerance: Tolerance
    engine_address: str | None
    policy: Policy
    limits: Limits


def load_site(path: Path | None = None) -> Site:
    """`path`, else `lab.yml` where the command is given, else the checkout's; raises `UsageError`."""
    if path is None:
        path = here if (here := Path("lab.yml")).is_file() else site_file()
    return _site(_read(path) if path else _File())


def _read(path: Path) -> _File:
    hint = "compare it with the one that `lab init` writes into an empty folder"
    try:
        content = _safe_load(read_bytes(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path}: cannot be read: {why}", hint=hint) from error
    try:
        return _File.model_validate(content or {})
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise UsageError("\n".join(lines), hint=hint) from error


def _safe_load(raw: bytes) -> Any:
    """YAML whose aliases cannot multiply: two a level is what doubles, so few of them are bounded."""
    text = raw.decode("utf-8")
    aliases = sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_LOADER))
    if aliases > _MOST_ALIASES:
        raise ValueError(f"{aliases} aliases; at most {_MOST_ALIASES} are allowed")
    return yaml.load(text, Loader=_LOADER)


def _site(file: _File) -> Site:
    tolerance = Tolerance(
        late_ns=file.tolerance.late.ns,
        late_share=file.tolerance.late_share.fraction,
        early_ns=file.tolerance.early.ns,
        machine_ns=file.tolerance.machine.ns,
    )
    policy = Policy(file.policy.build, file.policy.environment, file.policy.capabilities)
    limits = Limits(
        file.limits.memory, file.limits.pids, file.limits.file_size, file.limits.disk, file.limits.logs
    )
    address = file.engine.address
    return Site(
        file.pool, file.wire, file.timeout, file.runs, file.snaplen, tolerance, address, policy, limits
    )
