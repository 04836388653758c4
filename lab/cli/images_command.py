"""`lab images`: what the containers run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.cli.say import say, tell

if TYPE_CHECKING:
    from lab.engine.images import Images, ImageStore


@click.command("images")
@click.option(
    "--tags", "only_tags", is_flag=True, help="Only print the tags: builds nothing, needs no Docker."
)
@click.option(
    "--prune",
    is_flag=True,
    help="Remove images of the lab's earlier sources; with PATH, also all built for other scenarios.",
)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
def command(only_tags: bool, prune: bool, paths: tuple[str, ...]) -> None:
    """Build the images that are missing. An image whose sources have not changed is left as it is.

    With PATH, a scenario or a folder of scenarios, build the images of their services too.
    """
    from lab.engine.build import prune_builds
    from lab.engine.images import ensure_images, prune_images, sources
    from lab.engine.private import find_engine
    from lab.site import load_site

    if only_tags:
        if prune:
            raise click.UsageError("--tags excludes --prune: it uses no engine")
        for source in sources():
            say(source.tag)
        return

    engine = find_engine(tell, address=load_site().engine_address)
    images = ensure_images(engine, tell)
    for image in (images.base, images.host, images.wire):
        say(f"{image.tag}  {image.id}")
    needed = _of_services(engine, images, paths) if paths else []
    if prune:
        gone = prune_images(engine)
        if paths:  # without PATH, nothing says which of them a scenario needs
            gone += prune_builds(engine, needed)
        for tag in gone:
            say(f"removed {tag}")


def _of_services(engine: ImageStore, images: Images, paths: Sequence[str]) -> list[str]:
    """The tags of the images of these scenarios' services, each once; a missing image is built."""
    from lab.scenario.load import load_all
    from lab.session.service_images import ensure_service_images
    from lab.site import load_site

    said: dict[str, None] = {}
    for case in load_all([Path(path) for path in paths], policy=load_site().policy):
        scenario = case.scenario
        found = ensure_service_images(engine, images, scenario.hosts, scenario.start_order, tell)
        said |= dict.fromkeys(found.values())
    for tag in said:
        say(f"{tag}  {engine.image_id(tag)}")
    return list(said)
