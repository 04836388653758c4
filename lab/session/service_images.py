"""The images that the services of a case run: built where they are new, pulled where a registry answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lab.engine import build
from lab.engine.images import Images, ImageStore
from lab.policy import Policy
from lab.scenario.model import HostSpec
from lab.scenario.services import Build

Key = tuple[str, str]  #: host and service


def ensure_service_images(
    store: ImageStore,
    images: Images,
    hosts: Mapping[str, HostSpec],
    order: Sequence[Key],
    policy: Policy,
    say: Callable[[str], None],
) -> dict[Key, str]:
    """The tag of each service's image, there when this returns.

    Raises `EngineError` where one cannot be had, with what to do; `BuildFailed` with the end of the build's
    output and the line of the Dockerfile.
    """
    specs = {key: hosts[key[0]].services[key[1]] for key in order}
    own = build.bases_of(images)
    found: dict[Key, str] = {}
    builds: dict[Key, build.Build] = {}
    for key, spec in specs.items():
        if spec.build is not None:
            builds[key] = _build("/".join(key), spec.build)
        elif spec.image is None:
            found[key] = images.host.tag
        else:
            found[key] = own.get(spec.image.removesuffix(":latest"), spec.image)
            build.ensure_image(store, found[key], say)
    for network in dict.fromkeys(spec.build.network for spec in specs.values() if spec.build is not None):
        wanted = {key: one for key, one in builds.items() if _network(specs[key].build) == network}
        limits = build.BuildPolicy(network=network)
        made = build.build_images(store, tuple(wanted.values()), bases=own, policy=limits, progress=say)
        found |= {key: made[one.name].tag for key, one in wanted.items()}
    return found


def _network(asked: Build | None) -> str | None:
    return None if asked is None else asked.network


def _build(name: str, asked: Build) -> build.Build:
    dockerfile = "Dockerfile"
    if asked.inline is None:
        dockerfile = asked.dockerfile.relative_to(asked.context).as_posix()
    return build.Build(name, asked.context, dockerfile, asked.inline, asked.args, asked.target)
