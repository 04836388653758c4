"""What a lab costs in pytest: a fixture against `lab run`, scenario files as tests against `lab run -j 2`.

    .venv/bin/python -m benchmarks.testing [--rounds 10] [--items FOLDER]

The two take turns in one run. For the fixture, the whole block of `lab.up` is timed in a process that already
runs, as in a suite; for `lab run`, the whole command with the same hosts, steps and wire. The target: at most
1.1 times as long (median of the pairs). With `--items`, `pytest --lab -n 2` over a folder of scenarios is
measured against `lab run -j 2`: at most 1.15 times as long, with the same verdicts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lab

ROOT = Path(__file__).resolve().parent.parent
HOSTS = {"client": {"link": {"delay": "5ms"}}, "server": {}}
SCENARIO = """\
lab: 1
hosts: {client: {link: {delay: 5ms}}, server: {}}
steps:
  - {do: listen, at: server, port: 8001, as: srv}
  - {do: connect, at: client, to: "server:8001", as: c}
checks: [{check: handshake, from: client, to: "server:8001"}]
"""


def by_fixture(out: Path) -> float:
    """Seconds of one block."""
    began = time.perf_counter()
    with lab.up(hosts=HOSTS, wire="uml", out=out) as net:
        net["server"].listen(8001)
        net["client"].connect("server:8001", timeout="2s")
        net.check("handshake", from_="client", to="server:8001")
    return time.perf_counter() - began


def by_command(scenario: Path, out: Path) -> float:
    """Seconds of one `lab run`."""
    began = time.perf_counter()
    argv = [sys.executable, "-m", "lab", "run", "-q", "--wire", "uml", "--out", str(out), str(scenario)]
    subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def fixture(rounds: int, folder: Path) -> None:
    """Prints the median and the span of the pairs' ratios."""
    scenario = folder / "pair.yml"
    scenario.write_text(SCENARIO)
    by_fixture(folder / "a"), by_command(scenario, folder / "b")  # the first of each meets cold caches
    pairs = [(by_fixture(folder / "a"), by_command(scenario, folder / "b")) for _ in range(rounds)]
    ratios = sorted(block / command for block, command in pairs)
    block, command = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"lab.up: {block:.2f} s, lab run: {command:.2f} s, medians of {rounds}")
    print(f"ratio: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}); target: 1.1")


def items(scenarios: str, folder: Path) -> None:
    """Prints both times, their ratio, and the verdicts that differ."""
    began = time.perf_counter()
    argv = [sys.executable, "-m", "pytest", "--lab", scenarios, "-n", "2", "-q", "-p", "no:cacheprovider"]
    subprocess.run([*argv, "--lab-out", str(folder / "p")], cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
    pytest_took = time.perf_counter() - began
    began = time.perf_counter()
    argv = [sys.executable, "-m", "lab", "run", "-q", "-j", "2", scenarios, "--out", str(folder / "r")]
    subprocess.run(argv, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
    run_took = time.perf_counter() - began
    ours, theirs = verdicts(folder / "p"), verdicts(folder / "r")
    print(f"pytest -n 2: {pytest_took:.0f} s, lab run -j 2: {run_took:.0f} s; {len(ours)} cases")
    print(f"ratio: {pytest_took / run_took:.2f}; target: 1.15")
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            print(f"differs: {name}: {ours.get(name)} in pytest, {theirs.get(name)} in lab run")


def verdicts(out: Path) -> dict[str, str]:
    """The verdict of each case below a folder of run folders."""
    stored = [json.loads(path.read_text()) for path in out.rglob("result.json") if "latest" not in path.parts]
    return {re.sub(r"\s", " ", one["name"]): one["verdict"] for one in stored}


def main() -> None:
    parser = argparse.ArgumentParser(description="What a lab costs in pytest.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--items", metavar="FOLDER")
    chosen = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        if chosen.items:
            items(chosen.items, Path(folder))
        else:
            fixture(chosen.rounds, Path(folder))


if __name__ == "__main__":
    main()
