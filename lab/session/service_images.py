"""The images that the services of a case run: built where they are new, pulled where a registry answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lab.engine import build
from lab.engine.images import Images, ImageStore
from lab.scenario.model import HostSpec
from lab.scenario.services import Build

Key = tuple[str, str]  #: host and service


def ensure_service_images(
    store: ImageStore,
    images: Images,
    hosts: Mapping[str, HostSpec],
    order: Sequence[Key],
    say: Callable[[str], None],
    progress: Callable[[str], None] = lambda line: None,
) -> dict[Key, str]:
    """The tag of each service's image, there when this returns.

    Raises `EngineError` where one cannot be had, with what to do; `BuildFailed` with the end of the build's
    output and the line of the Dockerfile. `say` gets what takes long, `progress` each line of it.
    """
    specs = {key: hosts[key[0]].services[key[1]] for key in order}
    own = build.bases_of(images)
    heard = _Heard(say, progress)
    found: dict[Key, str] = {}
    builds: dict[Key, build.Build] = {}
    for key, spec in specs.items():
        if spec.build is not None:
            builds[key] = _build(key[0] if key[0] == key[1] else "/".join(key), spec.build)
        elif spec.image is None:
            found[key] = images.host.tag
        else:
            found[key] = own.get(spec.image.removesuffix(":latest"), spec.image)
            build.ensure_image(store, found[key], say)
    for network in dict.fromkeys(spec.build.network for spec in specs.values() if spec.build is not None):
        wanted = {key: one for key, one in builds.items() if _network(specs[key].build) == network}
        limits = build.BuildPolicy(network=network)
        made = build.build_images(store, tuple(wanted.values()), bases=own, policy=limits, progress=heard)
        found |= {key: made[one.name].tag for key, one in wanted.items()}
    return found


class _Heard:
    """The output of builds, several of which may speak: of each that begins it is said once."""

    def __init__(self, say: Callable[[str], None], progress: Callable[[str], None]) -> None:
        self._say, self._progress = say, progress
        self._begun: set[str] = set()

    def __call__(self, line: str) -> None:
        build = line.partition(": ")[0]
        if build not in self._begun:
            self._begun.add(build)
            self._say(f"{build} begins: nothing on the engine has this content")
        self._progress(line)


def _network(asked: Build | None) -> str | None:
    return None if asked is None else asked.network


def _build(name: str, asked: Build) -> build.Build:
    dockerfile = "Dockerfile"
    if asked.inline is None:
        dockerfile = asked.dockerfile.relative_to(asked.context).as_posix()
    return build.Build(name, asked.context, dockerfile, asked.inline, asked.args, asked.target)
