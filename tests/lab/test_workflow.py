"""The workflow's shell lines that need Docker: the images packed and loaded, one scenario run."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from tests.conftest import without_docker
from tests.lab.commands import lab
from tests.process.workflow_steps import ROOT, Runner, the_step

pytestmark = pytest.mark.docker

ARGS = "toJSON(matrix.args)"


@pytest.fixture
def runner(tmp_path: Path, engine: DockerEngine, images: Images) -> Runner:
    made = Runner.make(tmp_path)
    # As on GitHub's runner, where Docker's own command finds the engine that the lab finds.
    return Runner(made.folder, {**made.environ, "DOCKER_HOST": engine.info().address})


def test_images_are_built_packed_and_loaded(runner: Runner) -> None:
    if shutil.which("docker") is None:
        without_docker("no command `docker` on this machine: apt-get install docker.io")
    for job, name in (("images", "Build"), ("images", "Pack"), ("run", "Set up")):
        done = runner.run(the_step(job, name), timeout=300)
        assert done.returncode == 0, f"{job}: {name}: {done.stdout}{done.stderr}"
    assert (runner.folder / "images.tar.gz").stat().st_size > 10_000_000
    assert "Loaded image: lab-host:" in done.stdout
    assert "Loaded image: lab-wire:" in done.stdout


def test_an_entry_of_the_plan_is_run(runner: Runner) -> None:
    planned = lab("matrix", "scenarios/handshake.yml")
    (entry,) = json.loads(planned.stdout)["include"]
    done = runner.run(the_step("run", "Run"), {ARGS: json.dumps(entry["args"])}, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in (runner.folder / "report.txt").read_text(encoding="utf-8")
    (folder,) = (runner.folder / "runs").glob("2*-handshake-*")
    for name in ("junit.xml", "report.html", "result.json", "pcap/client.pcapng", "pcap/server.pcapng"):
        assert (folder / name).stat().st_size > 0
    assert runner.run(the_step("run", "Summary")).returncode == 0
    assert "PASS" in runner.summary()


def test_a_scenario_that_fails_ends_the_job_and_leaves_its_evidence(runner: Runner) -> None:
    """`tee` must not swallow the exit status."""
    topology = runner.folder / "compose"
    topology.unlink()  # a link out of the project, which a scenario must not follow
    shutil.copytree(ROOT / "compose", topology)
    text = (ROOT / "scenarios" / "handshake.yml").read_text(encoding="utf-8")
    wrong = runner.folder / "it is wrong.yml"
    changed = text.replace("elapsed: 1rtt", "elapsed: 2rtt").replace("../compose", "compose")
    wrong.write_text(changed, encoding="utf-8")
    done = runner.run(the_step("run", "Run"), {ARGS: json.dumps([wrong.name])}, timeout=120)
    assert done.returncode == 1, done.stdout + done.stderr
    (junit,) = (runner.folder / "runs").glob("2*/junit.xml")
    assert ET.parse(junit).getroot().get("failures") not in (None, "0")
