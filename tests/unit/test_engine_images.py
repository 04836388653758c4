"""Images are found by the hash of their sources, and built once where they are missing."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from pathlib import Path

import pytest

from lab.engine.base import ContainerSpec
from lab.engine.images import (
    BuildFailed,
    BuildRequest,
    Progress,
    ensure_images,
    present_images,
    prune_images,
    sources,
)
from lab.errors import EngineError, LabEnvironmentError
from tests.fake_engine import FakeEngine

REFERENCE = "debian:test"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout's image sources, with a bootstrap script that makes no image of its own."""
    top = tmp_path / "project"
    files = {
        "images/base/reference": REFERENCE + "\n",
        "images/base/bootstrap.sh": "echo a tar\n",
        "images/host/Dockerfile": "FROM base\n",
        "images/host/lab_agent/main.py": "print()\n",
        "images/wire/Dockerfile": "FROM base\n",
        "lab/programs/server.py": "print()\n",
    }
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return top


@pytest.fixture
def mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name in PATH."""
    program = tmp_path / "bin" / "mmdebstrap"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def tags(project: Path) -> list[str]:
    return [source.tag for source in sources(project)]


def test_a_change_of_the_agent_changes_the_host_alone(project: Path) -> None:
    before = tags(project)
    assert [tag.split(":")[0] for tag in before] == ["lab-base", "lab-host", "lab-wire"]
    assert tags(project) == before
    (project / "images/host/lab_agent/main.py").write_text("print(1)\n")
    after = tags(project)
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, True]


def test_a_change_of_the_base_changes_all(project: Path) -> None:
    before = tags(project)
    (project / "images/base/reference").write_text("debian:other\n")
    assert not set(before) & set(tags(project))


@pytest.mark.parametrize("change", ["content", "name", "new file"])
def test_every_kind_of_change_counts(project: Path, change: str) -> None:
    before = tags(project)
    file = project / "lab/programs/server.py"
    if change == "content":
        file.write_text("print(2)\n")
    elif change == "name":
        file.rename(file.with_name("serve.py"))
    else:
        file.with_name("more.py").write_text("")
    assert tags(project)[1] != before[1]


def test_a_program_is_executable_by_its_first_line(project: Path) -> None:
    """A wheel does not keep the modes of files: the same sources must give the same image."""
    file = project / "lab/programs/server.py"
    for text, mode in (("print()\n", 0o644), ("#!/usr/bin/env python3\n", 0o755)):
        file.write_text(text)
        before = sources(project)[1]
        file.chmod(0o755 if mode == 0o644 else 0o644)
        host = sources(project)[1]
        assert (host.tag, host.context()) == (before.tag, before.context())
        with tarfile.open(fileobj=io.BytesIO(host.context())) as archive:
            assert archive.getmember("lab/programs/server.py").mode == mode


def test_what_python_and_editors_leave_does_not_count(project: Path) -> None:
    before = tags(project)
    for name in ("__pycache__/main.cpython-311.pyc", ".main.py.swp", "README.md"):
        file = project / "images/host/lab_agent" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    os.utime(project / "images/host/Dockerfile", (1, 1))
    assert tags(project) == before


def test_the_context_holds_the_sources_and_nothing_of_this_machine(project: Path) -> None:
    _, host, _ = sources(project)
    assert host.context() == host.context()
    with tarfile.open(fileobj=io.BytesIO(host.context())) as archive:
        entries = {entry.name: entry for entry in archive}
    files = {name for name, entry in entries.items() if entry.isfile()}
    assert files == {"Dockerfile", "images/host/lab_agent/main.py", "lab/programs/server.py"}
    assert {(e.uid, e.gid, e.uname, e.mtime) for e in entries.values()} == {(0, 0, "", 0)}


def test_a_base_that_a_registry_gives_is_pulled(project: Path) -> None:
    engine = FakeEngine()
    engine.registry.add(REFERENCE)
    said: list[str] = []
    images = ensure_images(engine, said.append, project=project)
    assert engine.built == tags(project) == [images.base.tag, images.host.tag, images.wire.tag]
    assert images.host.id == engine.image_id(images.host.tag)
    assert said[0] == f"image {images.base.tag}: pulling {REFERENCE}"


@pytest.mark.usefixtures("mmdebstrap")
def test_a_base_that_no_registry_gives_is_built(project: Path, tmp_path: Path) -> None:
    engine = FakeEngine()
    said: list[str] = []
    ensure_images(engine, said.append, project=project)
    assert engine.built == tags(project)
    assert "no registry gives debian:test (pull debian:test: no registry answers)" in said[1]
    assert not list((tmp_path / "state" / "build").iterdir()), "the tar is removed"


def test_what_is_there_is_not_built_again(project: Path) -> None:
    engine = FakeEngine()
    engine.registry.add(REFERENCE)
    ensure_images(engine, lambda line: None, project=project)
    engine.built.clear()
    said: list[str] = []
    ensure_images(engine, said.append, project=project)
    assert (engine.built, said) == ([], [])
    (project / "images/wire/Dockerfile").write_text("FROM base\nRUN true\n")
    assert [identity is None for _, identity in present_images(engine, project=project)] == [
        False,
        False,
        True,
    ]
    ensure_images(engine, said.append, project=project)
    assert engine.built == [tags(project)[2]]


def test_images_of_other_sources_are_pruned_and_those_in_use_stay(project: Path) -> None:
    engine = FakeEngine({"nginx:1": lambda process: 0})
    engine.registry.add(REFERENCE)
    used = ensure_images(engine, print, project=project)
    engine.create(ContainerSpec("x", used.wire.tag, {}))
    (project / "images/base/reference").write_text(REFERENCE + " \n")
    kept = ensure_images(engine, print, project=project)
    assert sorted(prune_images(engine, project=project)) == sorted([used.base.tag, used.host.tag])
    assert set(engine.image_tags()) == {"nginx:1", used.wire.tag, kept.base.tag, kept.host.tag, kept.wire.tag}


def test_two_runs_at_once_build_once(project: Path) -> None:
    engine = FakeEngine()
    engine.registry.add(REFERENCE)
    runs = [
        threading.Thread(target=ensure_images, args=(engine, print), kwargs={"project": project})
        for _ in "12"
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join(10)
    assert engine.built == tags(project)


def test_without_registry_and_mmdebstrap_the_line_to_run_is_given(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        LabEnvironmentError, match="mmdebstrap, which would build it, is not installed"
    ) as caught:
        ensure_images(FakeEngine(), print, project=project)
    assert caught.value.hint == "as root: apt-get install mmdebstrap debian-archive-keyring"


@pytest.mark.usefixtures("mmdebstrap")
def test_a_bootstrap_that_fails_says_why(project: Path, tmp_path: Path) -> None:
    (project / "images/base/bootstrap.sh").write_text("echo E: no mirror >&2; exit 25\n")
    with pytest.raises(LabEnvironmentError, match="exit status 25:\nE: no mirror"):
        ensure_images(FakeEngine(), print, project=project)
    assert not list((tmp_path / "state" / "build").iterdir())


def test_an_installed_package_without_sources_says_so(tmp_path: Path) -> None:
    with pytest.raises(LabEnvironmentError, match="the sources of the image 'base' are not there"):
        sources(tmp_path)


def test_a_build_that_fails_ends_it(project: Path) -> None:
    class Broken(FakeEngine):
        def build(
            self,
            request: BuildRequest,
            progress: Progress = print,
            *,
            stop: threading.Event | None = None,
        ) -> None:
            raise BuildFailed(f"build {request.tag}", "E: Unable to locate package")

    engine = Broken()
    engine.registry.add(REFERENCE)
    with pytest.raises(EngineError, match="Unable to locate package"):
        ensure_images(engine, print, project=project)


def test_the_sources_of_this_checkout() -> None:
    base, host, wire = sources()
    assert {"images/base/bootstrap.sh", "images/base/reference"} <= {path for path, _ in base.files}
    assert any(path.startswith("lab/programs/") for path, _ in host.files)
    assert host.on == wire.on == base.tag
