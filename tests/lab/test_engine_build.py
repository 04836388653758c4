"""Images of users on a real engine: from scratch, with errors, without a registry, stopped in the middle."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.engine.base import ContainerSpec
from lab.engine.build import (
    LABEL_IMAGE,
    Build,
    BuildPolicy,
    bases_of,
    build_images,
    ensure_image,
    prune_builds,
)
from lab.engine.docker import DockerEngine
from lab.engine.images import BuildFailed, Image, Images
from lab.errors import EngineError

pytestmark = pytest.mark.docker
LABELS = {"lab.test": "test_engine_build"}
POLICY = BuildPolicy("none")
STATIC = """
#include <stdio.h>
int main(void) { puts("static"); return 4; }
"""

Builder = Callable[..., list[Image]]


@pytest.fixture
def built(engine: DockerEngine, images: Images) -> Iterator[Builder]:
    """Builds, and removes the images when the test is over."""
    tags: list[str] = []

    def build(*builds: Build, policy: BuildPolicy = POLICY, said: list[str] | None = None) -> list[Image]:
        lines = said if said is not None else []
        done = build_images(engine, builds, bases=bases_of(images), policy=policy, progress=lines.append)
        tags.extend(image.tag for image in done.values())
        return list(done.values())

    yield build
    for container in engine.containers({"lab.test": LABELS["lab.test"]}):
        engine.remove(container.id)
    for tag in tags:
        engine.remove_image(tag)


def output(engine: DockerEngine, image: str) -> tuple[int, str]:
    """Exit status and stdout of the image's own program."""
    spec = ContainerSpec(f"labtest-{time.monotonic_ns()}", image, LABELS, stdin=False)
    container = engine.create(spec)
    engine.start(container)
    status = engine.wait(container, 30)
    return status, b"\n".join(line.text for line in iter(engine.logs(container).read, None)).decode()


def test_an_image_from_scratch_with_one_static_program(
    engine: DockerEngine, built: Builder, tmp_path: Path
) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here to make a static program with")
    folder = tmp_path / "web"
    folder.mkdir()
    subprocess.run(
        ["gcc", "-static", "-x", "c", "-", "-o", str(folder / "program")], input=STATIC, text=True, check=True
    )
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY program /\nCMD ["/program"]\n')
    said: list[str] = []
    (image,) = built(Build("web", folder), said=said)
    assert output(engine, image.tag) == (4, "static")
    assert said[0] == f"build of web: building image {image.tag}"
    assert any("COPY program /" in line for line in said)
    said.clear()
    assert built(Build("web", folder), said=said) == [image]
    assert said == [], "what is there is not built again"


def test_stages_arguments_and_the_labs_own_images(
    engine: DockerEngine, images: Images, built: Builder
) -> None:
    inline = (
        "ARG BELOW=lab-base\n"
        "FROM lab-host AS tools\nRUN command -v ss >/ss && echo made >/made\n"
        "FROM ${BELOW}\nARG WORD=none\n"
        "COPY --from=tools /ss /ss\nCOPY --from=lab-host /usr/local/lib/lab/lab_agent /agent\n"
        'RUN echo "$WORD" >/word\nCMD ["sh", "-c", "cat /ss /word; ls /agent | head -1"]\n'
        'FROM lab-host AS host\nCMD ["echo", "no agent"]\n'
    )
    first, host = built(
        Build("first", None, inline=inline.split("FROM lab-host AS host")[0], arguments={"WORD": "given"}),
        Build("host", None, inline=inline, target="host"),
    )
    status, text = output(engine, first.tag)
    assert (status, text.split()[:2]) == (0, ["/usr/bin/ss", "given"])
    assert output(engine, host.tag) == (0, "no agent")
    labels = engine.api.inspect_image(first.tag)["Config"]["Labels"]
    assert labels[LABEL_IMAGE].startswith(first.tag.partition(":")[2])


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("# mine\n\nFROM lab-host\nRUN echo all the \\\n  words; exit 7\n", ":4: "),
        ("FROM lab-base\n\nRUNN true\n", ":3: "),
        ("FROM lab-base\nCOPY nothing /\n", ":2: "),
        ("FROM lab-base\nFROM\n", ":2: "),
    ],
)
def test_a_dockerfile_with_an_error(built: Builder, tmp_path: Path, text: str, where: str) -> None:
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "Dockerfile").write_text(text)
    with pytest.raises(BuildFailed) as caught:
        built(Build("web", folder))
    assert str(caught.value).startswith(f"build of web: {folder}/Dockerfile{where}")
    if "exit 7" in text:
        assert "returned a non-zero code: 7" in str(caught.value)
        assert "all the words" in str(caught.value).splitlines()


def test_a_build_without_network_has_none(built: Builder) -> None:
    with pytest.raises(BuildFailed, match="returned a non-zero code"):
        built(Build("net", None, inline="FROM lab-host\nRUN ip -4 -o addr show | grep -v 127.0.0.1\n"))


def test_a_build_is_out_of_time(engine: DockerEngine, built: Builder) -> None:
    begun = time.monotonic()
    with pytest.raises(EngineError, match="out of time"):
        built(Build("slow", None, inline="FROM lab-base\nRUN sleep 100\n"), policy=BuildPolicy("none", 2.0))
    assert time.monotonic() - begun < 20
    until = time.monotonic() + 20
    while any("sleep 100" in str(c["Command"]) for c in engine.api.containers()):
        assert time.monotonic() < until, "the engine goes on building"
        time.sleep(0.1)


def test_a_build_has_a_limit_of_memory(built: Builder) -> None:
    policy = BuildPolicy("none", memory=32 << 20)
    with pytest.raises(BuildFailed, match=r"non-zero code: 137"):
        built(Build("greedy", None, inline="FROM lab-base\nRUN exec tail /dev/zero\n"), policy=policy)


def test_one_that_fails_stops_the_other(built: Builder) -> None:
    begun = time.monotonic()
    with pytest.raises(BuildFailed, match="bad: dockerfile_inline:2"):
        built(
            Build("slow", None, inline="FROM lab-base\nRUN sleep 100\n"),
            Build("bad", None, inline="FROM lab-base\nRUN sleep 1; exit 3\n"),
        )
    assert time.monotonic() - begun < 30


def test_an_image_that_nobody_has(engine: DockerEngine, built: Builder) -> None:
    name = "registry.invalid/lab-test-nothing:1"
    with pytest.raises(EngineError, match="it is not on the engine, and no registry gives it") as caught:
        ensure_image(engine, name, print)
    assert "docker load" in caught.value.hint
    with pytest.raises(EngineError, match=f"dockerfile_inline:2: image {name}"):
        built(Build("web", None, inline=f"# mine\nFROM {name}\n"))


def test_what_a_build_leaves_without_a_tag_is_pruned(engine: DockerEngine, built: Builder) -> None:
    def untagged() -> list[str]:
        filters = {"dangling": True, "label": LABEL_IMAGE}
        return [str(image["Id"]) for image in engine.api.images(filters=filters)]

    stages = 'FROM lab-base AS one\nRUN echo 1 > /one\nFROM scratch\nCOPY --from=one /one /\nCMD ["x"]\n'
    (image,) = built(Build("stages", None, inline=stages))
    with pytest.raises(BuildFailed):
        built(Build("bad", None, inline="FROM lab-base\nRUN echo 2 > /two\nRUN exit 3\n"))
    assert len(untagged()) >= 2
    kept = [tag for tag in engine.image_tags() if tag.startswith("lab-user:")]
    assert prune_builds(engine, kept) == []
    assert untagged() == []
    assert engine.image_id(image.tag) == image.id


def test_side_by_side_and_pruned(engine: DockerEngine, built: Builder) -> None:
    mine = [Build(name, None, inline=f"FROM lab-base\nENV NAME={name}-prune\n") for name in "ab"]
    threads = [threading.Thread(target=built, args=mine) for _ in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    one, two = built(*mine)
    others = [tag for tag in engine.image_tags() if tag.startswith("lab-user:")]
    assert prune_builds(engine, [tag for tag in others if tag != two.tag]) == [two.tag]
    assert engine.image_id(one.tag) == one.id
    assert engine.image_id(two.tag) is None
