"""Images on a Docker engine: look up, pull, import, build."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from lab.engine.endpoint import Endpoint
from lab.errors import EngineError


@contextmanager
def calling(what: str) -> Iterator[None]:
    """Turns the SDK's errors into ours, with what was being done."""
    try:
        yield
    except APIError as error:
        reason = error.explanation or str(error)
        raise EngineError(f"{what}: {str(reason).strip()}") from error
    except requests.exceptions.Timeout as error:
        raise EngineError(
            f"{what}: the engine did not answer in time", hint="is it busy or stuck? see `lab doctor`"
        ) from error
    except requests.exceptions.RequestException as error:
        raise EngineError(f"{what}: the engine does not answer ({error})", hint="see `lab doctor`") from error
    except DockerException as error:  # an address or certificate that the SDK cannot use
        hint = (
            "pip install 'docker[ssh]'"
            if "paramiko" in str(error)
            else "see DOCKER_HOST and `docker context ls`"
        )
        raise EngineError(f"{what}: {error}", hint=hint) from error


class DockerImages:
    """The image verbs of `DockerEngine`."""

    def __init__(self, endpoint: Endpoint, version: str) -> None:
        self.endpoint = endpoint
        self.api_version = version
        self._api: Any = endpoint.client(version, timeout=60)

    @property
    def api(self) -> Any:
        """The SDK's own client, for what is to be measured without the lab."""
        return self._api

    def image_id(self, image: str) -> str | None:
        with calling(f"look up image {image}"):
            try:
                return str(self._api.inspect_image(image)["Id"])
            except (ImageNotFound, NotFound):
                return None

    def image_tags(self) -> list[str]:
        with calling("list the images"):
            listed: list[dict[str, Any]] = self._api.images()
        return [tag for image in listed for tag in image.get("RepoTags") or []]

    def remove_image(self, tag: str) -> bool:
        """False where a container still uses it, or another image is built on it."""
        with calling(f"remove image {tag}"):
            try:
                self._api.remove_image(tag)
            except NotFound:
                return True
            except APIError as error:
                if error.status_code != 409:
                    raise
                return False
        return True

    def pull(self, reference: str, tag: str, *, patience: float) -> None:
        # The client's own timeout bounds each silence of the engine: its first word, then between two.
        client: Any = self.endpoint.client(self.api_version, timeout=patience)
        name, _, version = reference.partition(":")
        try:
            with calling(f"pull {reference}"):
                for progress in client.pull(name, tag=version or "latest", stream=True, decode=True):
                    _raise_error(f"pull {reference}", progress, [])
                self._tag(client.inspect_image(reference)["Id"], tag)
        finally:
            client.close()

    def import_image(self, archive: Path, tag: str) -> None:
        repository, _, version = tag.partition(":")
        with calling(f"import {tag}"):
            answer = self._api.import_image_from_file(str(archive), repository=repository, tag=version)
        for line in str(answer).splitlines():
            if line.strip():
                _raise_error(f"import {tag}", json.loads(line), [])

    def build(self, context: bytes, tag: str, *, arguments: dict[str, str]) -> None:
        """With the network of the engine's machine: a build's own bridge has no way out on many of them."""
        client = self.endpoint.client(self.api_version, timeout=600)
        output: list[str] = []
        try:
            with calling(f"build {tag}"):
                for progress in client.build(
                    fileobj=io.BytesIO(context),
                    custom_context=True,
                    tag=tag,
                    network_mode="host",
                    buildargs=arguments,
                    rm=True,
                    forcerm=True,
                    decode=True,
                ):
                    _raise_error(f"build {tag}", progress, output)
                    if text := str(progress.get("stream", "")).rstrip():
                        output.append(text)
        finally:
            client.close()
        if self.image_id(tag) is None:
            raise EngineError(f"build {tag}: it ended without an image:\n" + "\n".join(output[-12:]))

    def _tag(self, image: str, tag: str) -> None:
        repository, _, version = tag.partition(":")
        self._api.tag(image, repository, version)


def _raise_error(what: str, progress: dict[str, Any], output: list[str]) -> None:
    if error := progress.get("error"):
        tail = "\n".join([*output[-12:], str(error).strip()])
        raise EngineError(f"{what}: {tail}")
