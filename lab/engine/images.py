"""The images that the containers run: found by the hash of their sources, built where they are missing."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from msgspec import Struct

from lab.engine.state import locked, state_dir
from lab.errors import EngineError, LabEnvironmentError
from lab.resources import resource

Progress = Callable[[str], None]

#: How long a registry may take to begin its answer. Where none answers the base is built instead.
PULL_PATIENCE = 10.0
#: mmdebstrap takes 27 to 60 s; a slow mirror is given ten minutes and no more.
BOOTSTRAP_PATIENCE = 600.0

_IGNORED = {"__pycache__", "README.md"}


class BuildRequest(Struct, frozen=True):
    """One build by the engine."""

    context: BinaryIO  #: a tar at its start
    size: int  #: bytes of it
    tag: str
    dockerfile: str = "Dockerfile"  #: its name in the tar
    arguments: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    target: str | None = None
    network: str = "host"  #: none, bridge, host: a bridge of the engine's has no way out on many machines
    memory: int | None = None  #: bytes for each step
    timeout: float = 600.0  #: s


class BuildFailed(EngineError):
    """The engine could not build; `output` is what it said before, `reason` its last message."""

    def __init__(self, what: str, reason: str, output: Sequence[str] = (), *, hint: str = "") -> None:
        super().__init__("\n".join([f"{what}: {reason}", *output[-12:]]), hint=hint)
        self.reason = reason
        self.output = tuple(output)


class ImageStore(Protocol):
    """The engine verbs that only image building needs."""

    def image_id(self, image: str) -> str | None: ...

    def image_tags(self) -> list[str]:
        """The tags of all images, the lab's and others'."""
        ...

    def remove_image(self, tag: str) -> bool:
        """False where it is in use. Not there any more is fine."""
        ...

    def remove_untagged(self, label: str) -> None:
        """The images with this label that have no tag and that nothing is built on."""
        ...

    def pull(self, reference: str, tag: str | None = None, *, patience: float) -> None:
        """Pulls, and tags where a tag is given. Raises `EngineError` where the registry is silent for
        `patience` s."""
        ...

    def import_image(self, archive: Path, tag: str) -> None:
        """A root file system (a tar) becomes an image."""
        ...

    def build(
        self,
        request: BuildRequest,
        progress: Progress = lambda line: None,
        *,
        stop: threading.Event | None = None,
    ) -> None:
        """Builds the tar's Dockerfile until `stop` is set; each line of output goes to `progress`.

        Raises `BuildFailed` with the output, `EngineError` where it takes longer than it may.
        """
        ...


class Image(Struct, frozen=True):
    name: str  #: "host"
    tag: str  #: "lab-host:0123456789ab", the hash of its sources
    id: str  #: "sha256:…"


class Images(Struct, frozen=True):
    base: Image
    host: Image
    wire: Image


class Source(Struct, frozen=True):
    """What an image is made from: files of the repository by their path there."""

    name: str
    files: tuple[tuple[str, Path], ...]
    folders: tuple[str, ...]
    on: str  #: tag of the image below, "" for the base

    @property
    def tag(self) -> str:
        digest = hashlib.sha256(self.on.encode())
        for path, file in self.files:
            content = file.read_bytes()
            mode = "x" if _is_program(content) else "-"
            digest.update(f"\n{path}\n{mode}{len(content)}\n".encode())
            digest.update(content)
        return f"lab-{self.name}:{digest.hexdigest()[:12]}"

    def context(self) -> bytes:
        """The build context: the same bytes for the same sources, whoever owns the checkout and whenever."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for folder in self.folders:
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            for path, file in self.files:
                name = "Dockerfile" if path.endswith("/Dockerfile") else path
                content = file.read_bytes()
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                entry.mode = 0o755 if _is_program(content) else 0o644
                archive.addfile(entry, io.BytesIO(content))
            # Without the filling behind the two empty blocks that end a tar: see lab.engine.context.
            size = archive.offset + 2 * tarfile.BLOCKSIZE
        return buffer.getvalue()[:size]


def _is_program(content: bytes) -> bool:
    """By the content: a wheel loses the modes of modules, and a checkout may have its own."""
    return content.startswith(b"#!")


def _files_of(project: Path | None, folder: str) -> Iterator[tuple[str, Path]]:
    top = resource(folder, checkout=project)
    for file in sorted(top.rglob("*")):
        inside = file.relative_to(top).parts
        if not file.is_file() or file.suffix == ".pyc":
            continue
        if any(part in _IGNORED or part.startswith(".") for part in inside):
            continue
        yield f"{folder}/{'/'.join(inside)}", file


def _source(project: Path | None, name: str, folders: Iterable[str], on: str) -> Source:
    names = tuple(folders)
    files = tuple(entry for folder in names for entry in _files_of(project, folder))
    if not files:
        raise LabEnvironmentError(
            f"{resource(names[0], checkout=project)}: the sources of the image {name!r} are not there",
            hint="install the lab again from its wheel, or run it from a checkout of its repository",
        )
    return Source(name, files, names, on)


def sources(project: Path | None = None) -> tuple[Source, Source, Source]:
    """Base, host and wire, each with the tag of the one below it in its own hash."""
    base = _source(project, "base", ["images/base"], "")
    host = _source(project, "host", ["images/host", "lab/programs"], base.tag)
    wire = _source(project, "wire", ["images/wire"], base.tag)
    return base, host, wire


def ensure_images(store: ImageStore, progress: Progress, *, project: Path | None = None) -> Images:
    """The three images of this checkout, built where they are missing.

    Safe to call from several runs at once: one builds, the others wait for it. With all images there it
    costs three look-ups.
    """
    base, host, wire = sources(project)
    found = _present(store, (base, host, wire))
    if found is None:
        with locked(state_dir() / "images.lock"):
            _ensure_base(store, base, progress, project)
            for source in (host, wire):
                if store.image_id(source.tag) is None:
                    progress(f"image {source.tag}: building (Debian packages, about half a minute)")
                    context = source.context()
                    store.build(
                        BuildRequest(
                            io.BytesIO(context), len(context), source.tag, arguments={"BASE": source.on}
                        )
                    )
            found = _present(store, (base, host, wire))
    if found is None:
        raise EngineError(
            "the images were built but the engine does not list them", hint="see `docker images`"
        )
    return found


def present_images(store: ImageStore, *, project: Path | None = None) -> list[tuple[str, str | None]]:
    """Tag and id of each image of this checkout; the id is None where it would have to be built."""
    return [(source.tag, store.image_id(source.tag)) for source in sources(project)]


def prune_images(store: ImageStore, *, project: Path | None = None) -> list[str]:
    """Removes the lab's images of other source states where nothing uses them. Returns their tags."""
    wanted = {source.tag for source in sources(project)}
    names = {f"lab-{source.name}" for source in sources(project)}
    old = [tag for tag in store.image_tags() if tag.partition(":")[0] in names and tag not in wanted]
    # Hosts and wires before the bases that they are built on.
    old.sort(key=lambda tag: (tag.startswith("lab-base:"), tag))
    with locked(state_dir() / "images.lock"):
        return [tag for tag in old if store.remove_image(tag)]


def _present(store: ImageStore, wanted: Iterable[Source]) -> Images | None:
    found: list[Image] = []
    for source in wanted:
        identity = store.image_id(source.tag)
        if identity is None:
            return None
        found.append(Image(source.name, source.tag, identity))
    return Images(*found)


def _ensure_base(store: ImageStore, base: Source, progress: Progress, project: Path | None) -> None:
    if store.image_id(base.tag) is not None:
        return
    folder = resource("images/base", checkout=project)
    reference = (folder / "reference").read_text().strip()
    progress(f"image {base.tag}: pulling {reference}")
    try:
        store.pull(reference, base.tag, patience=PULL_PATIENCE)
    except EngineError as error:
        progress(f"image {base.tag}: no registry gives {reference} ({_first_line(error)})")
    else:
        return
    progress(f"image {base.tag}: building it from Debian packages with mmdebstrap, about half a minute")
    with_bootstrap(store, folder / "bootstrap.sh", base.tag)


def with_bootstrap(store: ImageStore, script: Path, tag: str) -> None:
    """Makes the base on this machine from Debian's packages, and imports it."""
    if shutil.which("mmdebstrap") is None:
        raise LabEnvironmentError(
            "no registry gives the base image, and mmdebstrap, which would build it, is not installed",
            hint="as root: apt-get install mmdebstrap debian-archive-keyring",
        )
    folder = state_dir() / "build"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "base.tar"
    try:
        with archive.open("wb") as output:
            done = subprocess.run(
                ["/bin/sh", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                timeout=BOOTSTRAP_PATIENCE,
                check=False,
            )
        if done.returncode != 0:
            tail = done.stderr.decode(errors="replace").strip().splitlines()[-8:]
            raise LabEnvironmentError(
                "mmdebstrap failed with exit status {}:\n{}".format(done.returncode, "\n".join(tail)),
                hint="is a Debian mirror reachable from here? try `apt-get update`",
            )
        store.import_image(archive, tag)
    except subprocess.TimeoutExpired as error:
        raise LabEnvironmentError(
            f"mmdebstrap did not end within {BOOTSTRAP_PATIENCE:.0f} s",
            hint="is a Debian mirror reachable from here? try `apt-get update`",
        ) from error
    finally:
        archive.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
