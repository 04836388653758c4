"""Images of users' programs: built where their content is new, pulled where a registry has them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from msgspec import Struct

from lab.engine.context import BOUNDS, Bounds, Packed, ignore_of, pack, packed_files, read_bounded
from lab.engine.dockerfile import Dockerfile, prepared
from lab.engine.images import (
    PULL_PATIENCE,
    BuildFailed,
    BuildRequest,
    Image,
    Images,
    ImageStore,
    Progress,
)
from lab.engine.state import lock_file, locked, state_dir
from lab.errors import EngineError, UsageError

LABEL_IMAGE = "lab.image"  #: the hash of all that went into an image that the lab built for a user
REPOSITORY = "lab-user"  #: of their tags

Network = Literal["none", "bridge", "host"]

_DOCKERFILE = ".lab.Dockerfile"  # its name in the context, beside whatever the author's own is called
_DOCKERFILE_LIMIT = 256 * 1024
_DIGITS = "0123456789abcdef"
_SHOWN = 12  # lines of a failed build
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # the engine paints what a step writes to stderr
_STEP = re.compile(r"Step (\d+)/\d+ : ")
_PARSE_ERROR = re.compile(r"parse error (?:on )?line (\d+)", re.IGNORECASE)
_NO_NETWORK = (
    "Temporary failure resolving",
    "Could not resolve",
    "Network is unreachable",
    "Name or service not known",
)


class Build(Struct, frozen=True):
    """What a user wants built: Compose's `build`."""

    name: str  #: for messages: "web", "web/worker"
    context: Path | None = None  #: a folder; None: an empty one
    dockerfile: str = "Dockerfile"  #: in the context
    inline: str | None = None  #: the text of a Dockerfile, in place of `dockerfile`
    arguments: Mapping[str, str] = {}
    target: str | None = None


class BuildPolicy(Struct, frozen=True):
    """What a build may take."""

    network: Network = "bridge"
    timeout: float = 600.0  #: s
    memory: int | None = 2 << 30  #: bytes
    bounds: Bounds = BOUNDS  #: of its context
    parallel: int = 2


def bases_of(images: Images) -> dict[str, str]:
    """What `lab-base` and `lab-host` mean in a FROM."""
    return {"lab-base": images.base.tag, "lab-host": images.host.tag}


def build_images(
    store: ImageStore,
    builds: Sequence[Build],
    *,
    bases: Mapping[str, str],
    policy: BuildPolicy,
    progress: Progress,
) -> dict[str, Image]:
    """The image of each build by its name, built where nothing on the engine has the same content.

    Side by side; two runs that want the same image build it once. Raises the error of the first that fails
    (`BuildFailed` with the line of the Dockerfile, `UsageError` for a context that is too large or a file
    that is not there), after the others have been stopped. So does an interrupt.
    """
    if not builds:
        return {}
    stop = threading.Event()
    pool = ThreadPoolExecutor(max(1, policy.parallel), thread_name_prefix="lab-build")
    try:
        jobs: dict[str, Future[Image]] = {
            build.name: pool.submit(_Job(store, build, bases, policy, progress, stop).run) for build in builds
        }
        wait(jobs.values(), return_when=FIRST_EXCEPTION)
        failed = [job for job in jobs.values() if job.done() and job.exception() is not None]
        for job in failed:
            job.result()
        return {name: job.result() for name, job in jobs.items()}
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def ensure_image(store: ImageStore, reference: str, progress: Progress) -> str:
    """The id of an image that is on the engine, or that a registry gives. Raises `EngineError`."""
    identity = store.image_id(reference)
    if identity is not None:
        return identity
    progress(f"image {reference}: pulling it")
    try:
        store.pull(reference, patience=PULL_PATIENCE)
        identity = store.image_id(reference)
    except EngineError as error:
        raise EngineError(
            f"image {reference}: it is not on the engine, and no registry gives it: {_last_line(error)}",
            hint="bring it there (`docker load -i FILE`, or `docker pull` from a mirror and `docker tag`), "
            'or build it: `build: {dockerfile_inline: "FROM lab-base\\nRUN apt-get …"}`',
        ) from error
    if identity is None:
        raise EngineError(f"image {reference}: it was pulled, but the engine does not list it")
    return identity


def prune_builds(store: ImageStore, needed: Collection[str] = ()) -> list[str]:
    """Removes the images built for users, except the tags of `needed` and those in use. Returns their tags.

    What builds have left without a tag (stages, steps of failed builds) goes too, while no build is running.
    """
    old = sorted(tag for tag in store.image_tags() if tag.startswith(f"{REPOSITORY}:") and tag not in needed)
    with ExitStack() as held:
        for digit in _DIGITS:
            held.enter_context(locked(_lock(digit)))
        gone = [tag for tag in old if store.remove_image(tag)]
        store.remove_untagged(LABEL_IMAGE)
    return gone


def _lock(digest: str) -> Path:
    """Sixteen locks for all images: two that share one are built one after the other."""
    return state_dir() / f"build-{digest[0]}.lock"


class _Job(Struct, frozen=True):
    """One build, from the folder to the image."""

    store: ImageStore
    build: Build
    bases: Mapping[str, str]
    policy: BuildPolicy
    progress: Progress
    stop: threading.Event

    @property
    def what(self) -> str:
        return f"build of {self.build.name}"

    @property
    def where(self) -> str:
        if self.build.inline is not None:
            return f"{self.what}: dockerfile_inline"
        return f"{self.what}: {(self.build.context or Path()) / self.build.dockerfile}"

    def run(self) -> Image:
        dockerfile = self.dockerfile()
        for image, line in dockerfile.images:
            try:
                ensure_image(self.store, image, self.progress)
            except EngineError as error:
                raise EngineError(f"{self.where}:{line}: {error}", hint=error.hint) from error
        with self.packed(dockerfile) as packed:
            tag, digest = self.tag(dockerfile, packed)
            identity = self.store.image_id(tag)
            if identity is None:
                with _held(_lock(digest), self.stop):
                    identity = self.store.image_id(tag)  # another run may just have built it
                    if identity is None:
                        identity = self._build_it(dockerfile, packed, tag, digest)
        return Image(self.build.name, tag, identity)

    def dockerfile(self) -> Dockerfile:
        text = self.build.inline
        if text is None:
            content = self._read(self.build.dockerfile)
            text = content.decode("utf-8", "replace")
        return prepared(
            text,
            where=self.where,
            bases=self.bases,
            arguments=self.build.arguments,
            label=f"{LABEL_IMAGE}=stage",
        )

    def packed(self, dockerfile: Dockerfile) -> Packed:
        more = [(_DOCKERFILE, dockerfile.text.encode())]
        folder = self.build.context
        if folder is None:
            return packed_files(more)
        what = f"{self.what}: context {folder}"
        ignore = ignore_of(folder, self.build.dockerfile, what)
        return pack(folder, what=what, bounds=self.policy.bounds, ignore=ignore, more=more)

    def tag(self, dockerfile: Dockerfile, packed: Packed) -> tuple[str, str]:
        """The tag and the hash of all that goes in. Images below count by their id: they may be renewed."""
        below = [self.store.image_id(image) for image, _ in dockerfile.images]
        parts = [dockerfile.text, dict(self.build.arguments), self.build.target, packed.digest, below]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return f"{REPOSITORY}:{digest[:16]}", digest

    def _read(self, name: str) -> bytes:
        folder = self.build.context
        if folder is None:
            raise UsageError(f"{self.what}: neither a context nor dockerfile_inline is given")
        content = read_bounded(folder, name, _DOCKERFILE_LIMIT, self.what)
        if content is None:
            raise UsageError(
                f"{self.where}: it is not there", hint="`context` is a folder, `dockerfile` a file in it"
            )
        return content

    def _build_it(self, dockerfile: Dockerfile, packed: Packed, tag: str, digest: str) -> str:
        self.progress(f"{self.what}: building image {tag}")
        request = BuildRequest(
            packed.archive,
            packed.size,
            tag,
            dockerfile=_DOCKERFILE,
            arguments=self.build.arguments,
            labels={LABEL_IMAGE: digest},
            target=self.build.target,
            network=self.policy.network,
            memory=self.policy.memory,
            timeout=self.policy.timeout,
        )
        try:
            self.store.build(request, lambda line: self.progress(f"{self.what}: {line}"), stop=self.stop)
        except BuildFailed as error:
            raise explained(error, dockerfile, self.where) from error
        identity = self.store.image_id(tag)
        if identity is None:
            raise EngineError(f"{self.what}: it was built, but the engine does not list {tag}")
        return identity


def explained(failed: BuildFailed, dockerfile: Dockerfile, where: str) -> BuildFailed:
    """A failed build in its author's terms: the line of the Dockerfile, what the step said last, a hint."""
    line = None
    output = [text for said in failed.output if (text := _COLOUR.sub("", said)).strip()]
    steps = [(at, int(found[1])) for at, text in enumerate(output) if (found := _STEP.match(text))]
    if wrong := _PARSE_ERROR.search(failed.reason):
        line = _at(dockerfile.lines, int(wrong[1]))
    elif steps:
        begun, number = steps[-1]
        line = _at(dockerfile.steps, number)
        output = output[begun:]
    hint = "mend what the Dockerfile does there; the whole output: `lab images SCENARIO`"
    if any(word in text for text in output for word in _NO_NETWORK):
        hint = (
            "a build has the network that `policy.build` of lab.yml says: none, bridge or host "
            "(the bridge has no way out on some machines)"
        )
    return BuildFailed(
        where if line is None else f"{where}:{line}", failed.reason, output[-_SHOWN:], hint=hint
    )


def _at(lines: tuple[int, ...], number: int) -> int | None:
    return lines[number - 1] if 0 < number <= len(lines) else None


@contextmanager
def _held(path: Path, stop: threading.Event) -> Iterator[None]:
    """Holds a lock file as `locked` does, but gives up when the builds are to stop."""
    with lock_file(path) as descriptor:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop.wait(0.1):
                    raise EngineError("the builds were stopped") from None
        yield


def _last_line(error: Exception) -> str:
    return str(error).strip().rsplit("\n", 1)[-1]
