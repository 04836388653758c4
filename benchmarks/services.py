"""What nginx as a service adds to a lab's bring-up: client + nginx against client + server without it.

    .venv/bin/python benchmarks/services.py [--rounds 10]

The two take turns in one run, through the same kind of wire, and each pair gives one difference, so that a
busy machine slows both equally. Bring-up is everything before the first step. The program's own start, from
the moment at which the engine has started it until the kernel shows its listening socket, is subtracted: it
is nginx's. The target: at most 0.6 s more (median of the pairs).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import lab

ROOT = Path(__file__).resolve().parent.parent
ASKED = 0.6  #: seconds
PORT = 80

WITHOUT = """\
lab: 1
name: without
hosts:
  client: {link: {delay: 5ms}}
  server: {}
steps:
  - {do: listen, at: server, port: 80, as: srv}
  - {do: connect, at: client, to: "server:80", as: c}
"""
WITH = """\
lab: 1
name: with-nginx
hosts:
  client: {link: {delay: 5ms}}
  web:
    service:
      build:
        dockerfile_inline: |
          FROM lab-base
          RUN apt-get update -q && apt-get install -qy --no-install-recommends nginx-light
      command: [nginx, -g, "daemon off;"]
      ready: {listening: 80}
steps:
  - {do: connect, at: client, to: "web:80", as: c}
"""


@dataclass(frozen=True)
class BringUp:
    """The bring-up of one run, in seconds."""

    whole: float  #: from the start of the run to its first step, with the images built
    own: float  #: the part that is the program's own start
    services: float  #: the part that is the phase in which services start

    @property
    def labs(self) -> float:
        """The bring-up without the program's own start."""
        return self.whole - self.own


def measure(scenario: Path, out: Path) -> BringUp:
    """One `lab run` as a user types it. Raises `SystemExit` if it does not pass."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", "run", str(scenario), "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,  # the first run builds the image
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{scenario.name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    run = lab.open(out / "latest")
    phases = {phase.name: phase for phase in run.result.phases}
    steps = phases["steps"].start
    services = phases["services"].seconds if "services" in phases else 0.0
    return BringUp(steps - phases["network"].start, own_start(run), services)


def own_start(run: lab.StoredRun) -> float:
    """Seconds from the engine's start of a service to its listening socket; 0 without a service."""
    records = run.evidence.records
    starts = [service.started_wall_ns for service in records.services if service.started_wall_ns is not None]
    if not starts:
        return 0.0
    seen = [s.wall_ns for s in records.states if s.state == "LISTEN" and s.local.port == PORT]
    return max(0.0, (min(seen) - min(starts)) / 1e9)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):5.2f} s ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds: int = parser.parse_args().rounds
    bare: list[BringUp] = []
    nginx: list[BringUp] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        files = {"without": out / "without.yml", "with": out / "with.yml"}
        files["without"].write_text(WITHOUT)
        files["with"].write_text(WITH)
        for file in files.values():  # once, to warm the caches and build the image
            measure(file, out / "runs")
        for number in range(rounds):
            # The first of a pair meets an engine that has just taken something down, so they swap places.
            for name in ("without", "with") if number % 2 == 0 else ("with", "without"):
                (bare if name == "without" else nginx).append(measure(files[name], out / "runs"))
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    more = [one.labs - other.whole for one, other in zip(nginx, bare, strict=True)]
    print(f"client + server, no program  {spread([one.whole for one in bare])}")
    print(f"client + nginx               {spread([one.whole for one in nginx])}")
    print(f"  its phase `services`       {spread([one.services for one in nginx])}")
    print(f"  nginx's own start          {spread([one.own for one in nginx])}")
    print(f"more, without that           {spread(more)}   target: at most {ASKED} s")
    if statistics.median(more) > ASKED:
        raise SystemExit(f"more than {ASKED} s")


if __name__ == "__main__":
    main()
