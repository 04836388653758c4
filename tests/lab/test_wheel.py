"""The wheel on a machine that never saw the repository: a fresh virtual environment, an empty folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lab import __version__
from lab.engine.docker import DockerEngine
from lab.engine.images import Images, sources
from lab.project import SCHEMA
from lab.result import read_result
from lab.verdict import Verdict
from tests.conftest import without_docker
from tests.lab.commands import ROOT
from tests.process.workflow_steps import Runner, the_step

pytestmark = pytest.mark.docker

#: What the wheel is built from. A copy, so that building leaves nothing in the checkout.
BUILT_FROM = ("lab", "images", "compose", "schema", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md")
#: What running leaves beside the sources.
GENERATED = shutil.ignore_patterns("__pycache__", "runs")
GITHUB = Path(".github/workflows/lab.yml")

MINE = """\
lab: 1
steps:
  - {do: listen, at: server, port: 8001, as: listener}
  - {do: connect, at: client, to: "server:8001", as: c}
checks:
  - {check: handshake, from: client, to: "server:8001", syn: 1}
"""
#: The tag of each image and what would be built, told by the lab that is installed.
CONTEXTS = """
import hashlib, json, lab
from lab.engine.images import sources
built = {source.tag: hashlib.sha256(source.context()).hexdigest() for source in sources()}
print(json.dumps({"from": lab.__file__, "built": built}))
"""


@dataclass(frozen=True)
class Installed:
    """The lab from its wheel, in a virtual environment of its own."""

    wheel: Path
    venv: Path
    environ: Mapping[str, str]  #: nothing in it leads to the repository

    def run(self, folder: Path, *argv: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Runs a command in a folder, as from a shell where the virtual environment is active."""
        program = shutil.which(argv[0], path=self.environ["PATH"])
        assert program is not None, argv[0]
        return subprocess.run(
            [program, *argv[1:]],
            cwd=folder,
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `python -m build` makes it: the source distribution, and the wheel from that."""
    source = tmp_path_factory.mktemp("source")
    for name in (*BUILT_FROM, "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=GENERATED)
        else:
            shutil.copy2(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("dist")
    argv = [sys.executable, "-m", "build", "--outdir", str(out), str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(
    wheel: Path, engine: DockerEngine, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120)
    environ = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    environ["PATH"] = f"{venv / 'bin'}:{environ['PATH']}"
    environ["DOCKER_HOST"] = engine.info().address
    # Where the index does not have this version yet, the wheel that was just built is the one.
    environ["PIP_FIND_LINKS"] = f"{wheel.parent} {environ.get('PIP_FIND_LINKS', '')}".strip()
    made = Installed(wheel, venv, environ)
    versions = str(ROOT / "requirements" / "dev.txt")
    wanted = f"{wheel}[pytest]"
    done = made.run(venv, "python", "-m", "pip", "install", "-q", "-c", versions, wanted, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_what_the_wheel_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"socklab-{__version__}.dist-info/METADATA").decode()
    assert re.findall(r"^(?:Name|Version): (.+)", metadata, re.MULTILINE) == ["socklab", __version__]
    for folder in ("images", "compose", "schema"):
        files = [p.relative_to(ROOT).as_posix() for p in (ROOT / folder).rglob("*") if p.is_file()]
        wanted = {f"lab/shipped/{file}" for file in files if "__pycache__" not in file}
        assert wanted <= names
    assert not [name for name in names if name.endswith(".pyc") or not name.startswith(("lab/", "socklab-"))]


def test_its_images_are_the_checkouts(installed: Installed, tmp_path: Path) -> None:
    """The same tags from the same bytes: so what a build makes of them is the same too."""
    done = installed.run(tmp_path, "python", "-c", CONTEXTS)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert Path(told["from"]).is_relative_to(installed.venv)
    ours = subprocess.run([sys.executable, "-c", CONTEXTS], cwd=ROOT, capture_output=True, check=True)
    assert told["built"] == json.loads(ours.stdout)["built"]
    assert list(told["built"]) == [source.tag for source in sources()]


def test_a_scenario_passes_in_an_empty_folder(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(MINE)
    done = installed.run(tmp_path, "lab", "run", "mine.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    result = read_result(tmp_path / "runs" / "latest")
    assert (result.name, result.verdict) == ("mine", Verdict.PASS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yml", "runs"]


def test_the_example_project_of_pytest_passes_in_an_empty_folder(
    installed: Installed, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "examples" / "pytest", tmp_path, dirs_exist_ok=True, ignore=GENERATED)
    done = installed.run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^7 passed", done.stdout, re.MULTILINE), done.stdout


def test_the_doctor_is_content(installed: Installed, tmp_path: Path) -> None:
    done = installed.run(tmp_path, "python", "-m", "lab", "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("the lab can run here")
    assert done.stdout.endswith("\n")
    assert any(re.match(r"ok +images +lab-base:", line) for line in lines)
    assert any(re.match(r"ok +wire ", line) for line in lines)


def test_a_projects_ci_runs_as_it_is_written(installed: Installed, tmp_path: Path) -> None:
    """Every shell line of both systems that `lab init` writes, in order, up to a report."""
    if shutil.which("docker") is None:
        without_docker("no command `docker` on this machine: apt-get install docker.io")
    done = installed.run(tmp_path, "lab", "init")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / SCHEMA).read_text() == installed.run(tmp_path, "lab", "schema").stdout

    runner = Runner.of(tmp_path, {**installed.environ, "LAB_VERSION": __version__})
    for name in ("Install", "Check", "Tags", "Build", "Save", "Load", "Run", "Summary"):
        ended = runner.run(the_step("lab", name, tmp_path / GITHUB), timeout=300)
        assert ended.returncode == 0, f"{name}: {ended.stdout}{ended.stderr}"
    assert "PASS" in runner.summary()
    (folder,) = (tmp_path / "runs").glob("2*")
    assert (folder / "junit.xml").stat().st_size > 0

    shutil.rmtree(tmp_path / "runs")
    job = yaml.safe_load((tmp_path / ".gitlab-ci.yml").read_text(encoding="utf-8"))["lab"]
    assert job["before_script"][0].startswith("apt-get ")  # for Debian's image; here `docker` is there
    assert the_step("lab", "Save", tmp_path / GITHUB).run in job["script"][3]  # run above
    script = "\n".join((*job["before_script"][1:], *job["script"]))
    ended = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=dict(runner.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Loaded image: lab-host:" in ended.stdout
    assert len(list(tmp_path.glob(job["artifacts"]["reports"]["junit"]))) == 1
