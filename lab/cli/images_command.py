"""`lab images`: what the containers run."""

from __future__ import annotations

import click


@click.command("images")
def command() -> None:
    """Build the images that are missing; images whose sources have not changed are left as they are."""
    from lab.engine.images import ensure_images
    from lab.engine.private import find_engine
    from lab.site import load_site

    def say(text: str) -> None:
        click.echo(text, err=True)

    engine = find_engine(say, environ=load_site().environ())
    images = ensure_images(engine, say)
    for image in (images.base, images.host, images.wire):
        click.echo(f"{image.tag}  {image.id}")
