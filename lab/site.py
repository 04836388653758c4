"""`lab.yml`: what holds for every scenario on this site."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from lab.errors import UsageError
from lab.tolerance import Tolerance
from lab.units import Duration, Percent

ROOT = Path(__file__).resolve().parent.parent  #: where images/, compose/ and lab.yml of the lab itself are

_Duration = Annotated[Duration, BeforeValidator(lambda v: Duration.parse(v) if isinstance(v, str) else v)]
_Percent = Annotated[Percent, BeforeValidator(lambda v: Percent.parse(v) if isinstance(v, str) else v)]

WireChoice = Literal["auto", "kernel", "uml"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class _Tolerance(_Model):
    late: _Duration = Duration.parse("4ms")
    late_share: _Percent = Percent.parse("12.5%")
    early: _Duration = Duration.parse("1ms")
    machine: _Duration = Duration(0)


class _Engine(_Model):
    address: str | None = None


class _File(_Model):
    pool: IPv4Network = IPv4Network("198.18.0.0/15")
    wire: WireChoice = "auto"
    timeout: _Duration = Duration.parse("60s")
    runs: Path = Path("runs")
    snaplen: int = 262_144
    tolerance: _Tolerance = _Tolerance()
    engine: _Engine = _Engine()


@dataclass(frozen=True)
class Site:
    """The defaults of a site, from `lab.yml`."""

    pool: IPv4Network
    wire: WireChoice
    timeout: Duration
    runs: Path
    snaplen: int  #: bytes
    tolerance: Tolerance
    engine_address: str | None


def load_site(path: Path | None = None) -> Site:
    """`path`, else `lab.yml` where the command is given, else the lab's own; raises `UsageError`."""
    if path is None:
        path = next((p for p in (Path("lab.yml"), ROOT / "lab.yml") if p.is_file()), None)
    return _site(_read(path) if path else _File())


def _read(path: Path) -> _File:
    hint = "compare it with the lab's own lab.yml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read: {error}", hint=hint) from error
    try:
        return _File.model_validate(content or {})
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise UsageError("\n".join(lines), hint=hint) from error


def _site(file: _File) -> Site:
    tolerance = Tolerance(
        late_ns=file.tolerance.late.ns,
        late_share=file.tolerance.late_share.fraction,
        early_ns=file.tolerance.early.ns,
        machine_ns=file.tolerance.machine.ns,
    )
    return Site(file.pool, file.wire, file.timeout, file.runs, file.snaplen, tolerance, file.engine.address)
