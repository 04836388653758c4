"""Images of users: what of a Dockerfile is replaced, what is packed, what is built when, what errors say."""

from __future__ import annotations

import os
import tarfile
import threading
from pathlib import Path

import pytest

from lab.engine.base import ContainerSpec
from lab.engine.build import (
    Build,
    BuildPolicy,
    build_images,
    ensure_image,
    explained,
    prune_builds,
)
from lab.engine.context import Bounds, Ignore, Packed, ignore_of, pack
from lab.engine.dockerfile import Dockerfile, prepared
from lab.engine.images import BuildFailed, BuildRequest, Progress
from lab.errors import EngineError, UsageError
from tests.fake_engine import FakeEngine

BASES = {"lab-base": "lab-base:b0", "lab-host": "lab-host:h0"}
POLICY = BuildPolicy()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine({"debian:12": lambda process: 0})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "web"
    for name in ("Dockerfile", "app/main.py", "app/data/big.bin", ".git/config"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("FROM lab-base\n" if name == "Dockerfile" else name)
    return top


def file_of(text: str, **arguments: str) -> Dockerfile:
    return prepared(text, where="Dockerfile", bases=BASES, arguments=arguments)


def names(packed: Packed) -> list[str]:
    with packed, tarfile.open(fileobj=packed.archive) as archive:
        return [entry.name for entry in archive]


def images(engine: FakeEngine, *builds: Build, progress: Progress = lambda line: None) -> list[str]:
    built = build_images(engine, builds, bases=BASES, policy=POLICY, progress=progress)
    return [built[build.name].tag for build in builds]


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("FROM lab-base", "FROM lab-base:b0"),
        ("from lab-base:latest as x", "FROM lab-base:b0 as x"),
        ("FROM --platform=linux/amd64 lab-base AS x", "FROM --platform=linux/amd64 lab-base:b0 AS x"),
        ("FROM --platform=$BUILDPLATFORM lab-base", "FROM lab-base:b0"),
        ("FROM --platform=${TARGETPLATFORM} lab-base", "FROM lab-base:b0"),
        ("FROM scratch", "FROM scratch"),
        ("FROM debian:12", "FROM debian:12"),
        ("FROM registry.example/lab-base", "FROM registry.example/lab-base"),
    ],
)
def test_a_from_line(line: str, becomes: str) -> None:
    assert file_of(line).text == becomes + "\n"


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({}, "FROM lab-base:b0"),
        ({"BASE": "lab-base:latest"}, "FROM lab-base:b0"),
        ({"BASE": "debian:12"}, "FROM debian:12"),
        ({"OTHER": "debian:12"}, "FROM lab-base:b0"),
    ],
)
def test_a_from_by_an_argument(given: dict[str, str], becomes: str) -> None:
    for use in ("$BASE", "${BASE}", "${BASE:-debian:11}", '"${BASE}"'):
        text = file_of(f"ARG BASE='lab-base'\nFROM {use}\n", **given).text
        assert text.splitlines() == ["ARG BASE='lab-base'", becomes]


def test_an_argument_without_a_value_has_its_default() -> None:
    assert file_of("ARG V\nFROM debian:${V:-12}\n").images == (("debian:12", 2),)
    assert file_of("ARG V\nARG W=1$V\nFROM debian:$W\n", V="3").images == (("debian:13", 3),)


def test_the_agent_is_not_the_entrypoint_of_the_host_image() -> None:
    done = file_of('# mine\nFROM lab-host\nCMD ["x"]\n')
    assert done.text == '# mine\nFROM lab-host:h0\nENTRYPOINT []\nCMD ["x"]\n'
    assert done.lines == (1, 2, 2, 3)
    assert done.steps == (2, 2, 3)


def test_every_stage_carries_the_label() -> None:
    text = "FROM lab-host AS a\nRUN a\nFROM scratch\nCOPY --from=a /x /x\n"
    done = prepared(text, where="Dockerfile", bases=BASES, arguments={}, label="lab.image=stage")
    assert done.text.splitlines() == [
        "FROM lab-host:h0 AS a",
        "ENTRYPOINT []",
        "LABEL lab.image=stage",
        "RUN a",
        "FROM scratch",
        "LABEL lab.image=stage",
        "COPY --from=a /x /x",
    ]
    assert done.steps == done.lines == (1, 1, 1, 2, 3, 3, 4)


def test_stages_are_stages_whatever_they_are_called() -> None:
    text = (
        "FROM lab-base AS lab-host\nRUN true\n"
        "FROM scratch\n"
        "COPY --from=lab-host /a /a\nCOPY --from=0 /b /b\nCOPY --chown=1 --from=lab-base \\\n  /c /c\n"
        "ADD x /x\nCOPY --from=busybox:1 /d /d\n"
    )
    done = file_of(text)
    assert done.text == text.replace("FROM lab-base", "FROM lab-base:b0").replace(
        "--from=lab-base", "--from=lab-base:b0"
    )
    assert done.images == (("busybox:1", 9),)
    assert done.steps == (1, 2, 3, 4, 5, 6, 8, 9)


def test_lines_hold_through_continuations_and_comments() -> None:
    text = "# syntax=x\n\nFROM \\\n  # why\n  lab-base \\\n  AS x\nRUN a && \\\n\n# no\n  b\nRUN false\n"
    done = file_of(text)
    assert done.text.splitlines()[2:6] == ["FROM lab-base:b0 AS x", "", "", ""]
    assert done.lines == tuple(range(1, 12))
    assert done.steps == (3, 7, 11)


def test_the_escape_character_may_be_another() -> None:
    done = file_of("# escape=`\nFROM `\n lab-base\nRUN dir C:\\\nRUN false\n")
    assert done.text.splitlines()[1:3] == ["FROM lab-base:b0", ""]
    assert done.steps == (2, 4, 5)


@pytest.mark.parametrize(
    "line",
    [
        "RUN --mount=type=cache,target=/x make",
        "RUN --network=none make",
        "COPY --chmod=755 a b",
        "COPY --link a b",
        "ADD --checksum=sha256:0 a b",
        "RUN <<EOF",
        'COPY <<-"EOF" /x',
    ],
)
def test_what_only_buildkit_can_build_is_said_with_its_line(line: str) -> None:
    with pytest.raises(UsageError, match=r"^Dockerfile:3: .*: only BuildKit can build this") as caught:
        file_of(f"FROM lab-base\n\n{line}\n")
    assert "docker build -t NAME" in caught.value.hint


def test_a_file_without_from_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^Dockerfile: it has no FROM"):
        file_of("RUN true\n")


@pytest.mark.parametrize(
    ("patterns", "ignored", "kept"),
    [
        (["*.pyc"], ["a.pyc"], ["sub/a.pyc", "a.py"]),
        (["**/*.pyc"], ["a.pyc", "sub/sub/a.pyc"], ["a.py"]),
        (["node_modules"], ["node_modules", "node_modules/x/y"], ["sub/node_modules/x"]),
        (["/build/", "./out"], ["build/x", "out/x"], ["a/build"]),
        (["a/../b"], ["b/c"], ["a/b"]),
        (["*", "!src", "src/*.log"], ["x", "src/a.log"], ["src", "src/a.c", "src/sub/a.log"]),
        (
            ["# no", "", "?.txt", "[^a].md", "a\\*b"],
            ["x.txt", "b.md", "a*b"],
            ["xx.txt", "a.md", "axb", "# no"],
        ),
        (["docs/**", "!docs/**/README"], ["docs/a", "docs/a/b"], ["docs/README", "docs/x/y/README"]),
    ],
)
def test_dockerignore(patterns: list[str], ignored: list[str], kept: list[str]) -> None:
    ignore = Ignore(patterns)
    assert [path for path in [*ignored, *kept] if ignore(path)] == ignored


def test_no_pattern_takes_long() -> None:
    ignore = Ignore(["/".join(["**", "a*a*a*a*a*b"] * 30)])
    assert not ignore("/".join(["a" * 60] * 60))


def test_a_context_is_packed_without_what_is_ignored(folder: Path) -> None:
    (folder / ".dockerignore").write_text(".git\napp/data\n!app/data/big.bin\n")
    packed = pack(folder, what="context", ignore=ignore_of(folder, "Dockerfile", "context"))
    assert names(packed) == ["app", ".dockerignore", "Dockerfile", "app/main.py", "app/data/big.bin"]
    (folder / "Dockerfile.dockerignore").write_text("app\n.git\n")
    packed = pack(folder, what="context", ignore=ignore_of(folder, "Dockerfile", "context"))
    assert names(packed) == [".dockerignore", "Dockerfile", "Dockerfile.dockerignore"]


def test_links_are_packed_as_links(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the machine")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to("..")
    packed = pack(folder, what="context")
    with packed, tarfile.open(fileobj=packed.archive) as archive:
        links = {entry.name: entry.linkname for entry in archive if entry.issym()}
        assert "of the machine" not in "".join(entry.name for entry in archive)
    assert links == {"out": str(tmp_path / "secret"), "up": ".."}


@pytest.mark.parametrize("kind", ["fifo", "many", "large"])
def test_what_cannot_be_packed(folder: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(folder / "pipe")
        match = "context: pipe: it is no regular file, folder or link"
    else:
        match = r"context: more than 0 MiB or 5 files \(at "
    with pytest.raises(UsageError, match=match):
        pack(
            folder,
            what="context",
            bounds=Bounds(10 if kind == "large" else 1000, 5 if kind != "fifo" else 99),
        )


def test_the_hash_of_a_context_is_its_content_alone(folder: Path) -> None:
    def digest() -> str:
        with pack(folder, what="context") as packed:
            return packed.digest

    first = digest()
    os.utime(folder / "app/main.py", (1, 1))
    assert digest() == first
    seen = {first}
    (folder / "app/main.py").chmod(0o755)
    seen.add(digest())
    (folder / "app/main.py").write_text("APP/main.py")
    seen.add(digest())
    (folder / "app/main.py").rename(folder / "app/Main.py")
    seen.add(digest())
    (folder / "link").symlink_to("a")
    seen.add(digest())
    assert len(seen) == 5


@pytest.mark.parametrize("name", ["../secret", "link", "/etc/passwd"])
def test_a_dockerfile_is_in_its_context(engine: FakeEngine, folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("FROM scratch\n")
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(UsageError, match="it is outside the folder"):
        images(engine, Build("web", folder, name))


def test_a_dockerfile_that_is_not_there(engine: FakeEngine, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"build of web: .*/web/Other: it is not there"):
        images(engine, Build("web", folder, "Other"))


def test_what_has_the_same_content_is_built_once(engine: FakeEngine, folder: Path) -> None:
    said: list[str] = []
    web, worker = Build("web", folder), Build("worker", None, inline="FROM debian:12\n")
    first = images(engine, web, worker, progress=said.append)
    assert sorted(engine.built) == sorted(first)
    assert f"build of web: building image {first[0]}" in said
    assert "build of worker: Step 1/2 : FROM debian:12" in said
    said.clear()
    assert images(engine, web, worker, progress=said.append) == first
    assert said == []
    changed = [
        Build("web", folder, arguments={"A": "1"}),
        Build("web", folder, target="x"),
        Build("web", folder, inline="FROM lab-host\n"),
    ]
    (folder / "app/main.py").write_text("other")
    tags = {images(engine, build)[0] for build in [web, *changed]}
    assert len(tags | set(first)) == 6
    assert (
        build_images(engine, [web], bases={"lab-base": "lab-base:b1"}, policy=POLICY, progress=print)[
            "web"
        ].tag
        not in tags
    ), "another base is another image"


def test_two_runs_build_one_image_once(engine: FakeEngine, folder: Path) -> None:
    runs = [threading.Thread(target=images, args=(engine, Build("web", folder))) for _ in "1234"]
    for run in runs:
        run.start()
    for run in runs:
        run.join(10)
    assert len(engine.built) == 1


def test_a_failed_build_shows_the_line_of_the_dockerfile(engine: FakeEngine) -> None:
    inline = "# mine\nFROM lab-host\n\nRUN false\n"
    with pytest.raises(BuildFailed) as caught:
        images(engine, Build("web", None, inline=inline))
    assert str(caught.value).splitlines() == [
        "build of web: dockerfile_inline:4: The command 'false' returned a non-zero code: 1",
        "Step 4/4 : RUN false",
    ]


def test_a_build_that_had_no_network_names_the_setting() -> None:
    dockerfile = file_of("FROM lab-base\nRUN apt-get update\n")
    output = [
        "Step 1/2 : FROM lab-base:b0",
        "Step 2/2 : RUN apt-get update",
        "Temporary failure resolving 'deb'",
    ]
    failed = explained(BuildFailed("build x", "code: 100", output), dockerfile, "Dockerfile")
    assert str(failed).startswith("Dockerfile:2: code: 100\nStep 2/2")
    assert "policy.build" in failed.hint
    wrong = explained(
        BuildFailed("b", "dockerfile parse error line 2: unknown instruction: RUNN"), dockerfile, "D"
    )
    assert str(wrong) == "D:2: dockerfile parse error line 2: unknown instruction: RUNN"


def test_one_that_fails_stops_the_others(engine: FakeEngine, folder: Path) -> None:
    begun, stopped = threading.Event(), threading.Event()

    class Slow(FakeEngine):
        def build(
            self, request: BuildRequest, progress: Progress = print, *, stop: threading.Event | None = None
        ) -> None:
            if request.target == "slow":
                begun.set()
                assert stop is not None
                if stop.wait(10):
                    stopped.set()
                raise EngineError("it was stopped")
            assert begun.wait(10)
            super().build(request, progress)

    builds = [Build("slow", folder, target="slow"), Build("bad", None, inline="FROM lab-base\nRUN false\n")]
    with pytest.raises(BuildFailed, match="dockerfile_inline:2"):
        images(Slow(), *builds)
    assert stopped.is_set()


def test_an_image_that_no_registry_gives(engine: FakeEngine, folder: Path) -> None:
    engine.registry.add("redis:7")
    assert ensure_image(engine, "debian:12", print) == engine.image_id("debian:12")
    said: list[str] = []
    assert ensure_image(engine, "redis:7", said.append) == engine.image_id("redis:7")
    assert said == ["image redis:7: pulling it"]
    with pytest.raises(
        EngineError, match="image nginx:1: it is not on the engine, and no registry gives it: "
    ):
        ensure_image(engine, "nginx:1", print)
    (folder / "Dockerfile").write_text("FROM lab-base\nFROM nginx:1\n")
    with pytest.raises(
        EngineError, match=r"web/Dockerfile:2: image nginx:1: it is not on the engine"
    ) as caught:
        images(engine, Build("web", folder))
    assert "docker load" in caught.value.hint


def test_images_that_nothing_needs_are_pruned(engine: FakeEngine) -> None:
    tags = images(engine, *(Build(n, None, inline=f"FROM debian:12\nENV N={n}\n") for n in "abc"))
    engine.create(ContainerSpec("x", tags[1], {}))
    assert prune_builds(engine, needed=[tags[0]]) == [tags[2]]
    assert set(engine.image_tags()) == {"debian:12", *tags[:2]}
