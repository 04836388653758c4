"""`lab images`: what the containers run."""

from __future__ import annotations

import click


@click.command("images")
@click.option(
    "--tags", "only_tags", is_flag=True, help="Print the tags alone: builds nothing, needs no Docker."
)
@click.option("--prune", is_flag=True, help="Remove the lab's images of former sources.")
def command(only_tags: bool, prune: bool) -> None:
    """Build the images that are missing; images whose sources have not changed are left as they are."""
    from lab.engine.images import ensure_images, prune_images, sources
    from lab.engine.private import find_engine
    from lab.site import load_site

    if only_tags:
        if prune:
            raise click.UsageError("--tags goes without --prune: it looks at no engine")
        for source in sources():
            click.echo(source.tag)
        return

    def say(text: str) -> None:
        click.echo(text, err=True)

    engine = find_engine(say, address=load_site().engine_address)
    images = ensure_images(engine, say)
    for image in (images.base, images.host, images.wire):
        click.echo(f"{image.tag}  {image.id}")
    if prune:
        for tag in prune_images(engine):
            click.echo(f"removed {tag}")
