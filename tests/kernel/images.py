"""Takes the lab's images from one Docker engine to another: `save FILE` where they are, `load FILE` there."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from lab.clock import Deadline
from lab.engine.docker import DockerEngine, connect
from lab.engine.endpoint import configured
from lab.engine.images import ensure_images
from lab.engine.private import find_engine
from lab.errors import EngineError


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def save(file: Path) -> None:
    engine = find_engine(_say)
    images = ensure_images(engine, _say)
    tags = [images.base.tag, images.host.tag, images.wire.tag]
    api = engine.api
    # The SDK's own get_image takes one image; of several the layers they share are in the archive once.
    answer = api.get(f"{api.base_url}/v{engine.api_version}/images/get", params={"names": tags}, stream=True)
    answer.raise_for_status()
    with file.open("wb") as output:
        for chunk in answer.iter_content(1 << 20):
            output.write(chunk)


def load(file: Path) -> None:
    engine = _started(Deadline.after(120.0, "dockerd"))
    _say(f"Docker {engine.info().version} on {engine.info().kernel}")
    engine.api.timeout = 600
    with file.open("rb") as archive:
        for answer in engine.api.load_image(archive):
            _say(str(answer.get("stream", answer)).strip())
    ensure_images(engine, _say)


def _started(deadline: Deadline) -> DockerEngine:
    """The engine, once it answers."""
    while True:
        try:
            return connect(configured())
        except EngineError:
            deadline.check()
            time.sleep(0.5)  # dockerd has no ready signal but that it answers


if __name__ == "__main__":
    {"save": save, "load": load}[sys.argv[1]](Path(os.path.abspath(sys.argv[2])))
