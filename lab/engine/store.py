"""Images on a Docker engine: look up, pull, import, build."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests
from docker.errors import APIError, DockerException, NotFound
from docker.utils import parse_repository_tag

from lab.clock import Deadline
from lab.engine.endpoint import Endpoint
from lab.engine.images import BuildFailed, BuildRequest, Progress
from lab.engine.stream import Refused, Upload, hijack
from lab.errors import EngineError

#: How long the engine may take to unpack a context before it begins.
UPLOAD_PATIENCE = 120.0
_GLANCE = 0.5  # s between two looks at whether the build is still wanted
_OUTPUT_LINES = 200


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
        """The SDK's own client, for measurements without the lab."""
        return self._api

    def image_id(self, image: str) -> str | None:
        with calling(f"look up image {image}"):
            try:
                return str(self._api.inspect_image(image)["Id"])
            except NotFound:
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

    def remove_untagged(self, label: str) -> None:
        with calling(f"remove untagged images with the label {label}"):
            self._api.prune_images(filters={"dangling": True, "label": label})

    def pull(self, reference: str, tag: str | None = None, *, patience: float) -> None:
        # The client's own timeout bounds each silence of the engine: its first word, then between two.
        client: Any = self.endpoint.client(self.api_version, timeout=patience)
        name, version = parse_repository_tag(reference)
        try:
            with calling(f"pull {reference}"):
                for progress in client.pull(name, tag=version or "latest", stream=True, decode=True):
                    _raise_error(f"pull {reference}", progress)
                if tag is not None:
                    self._api.tag(client.inspect_image(reference)["Id"], *parse_repository_tag(tag))
        finally:
            client.close()

    def import_image(self, archive: Path, tag: str) -> None:
        repository, _, version = tag.partition(":")
        with calling(f"import {tag}"):
            answer = self._api.import_image_from_file(str(archive), repository=repository, tag=version)
        for line in str(answer).splitlines():
            if line.strip():
                _raise_error(f"import {tag}", json.loads(line))

    def build(
        self,
        request: BuildRequest,
        progress: Progress = lambda line: None,
        *,
        stop: threading.Event | None = None,
    ) -> None:
        """By the classic builder, which every engine since 20.10 has; BuildKit needs a client program.

        The connection is the build: when it closes, the engine stops.
        """
        what = f"build {request.tag}"
        deadline = Deadline.after(request.timeout, what)
        output: list[str] = []
        try:
            connection, rest = hijack(
                self.endpoint,
                f"/v{self.api_version}/build?{urlencode(self._build_query(request))}",
                protocol="HTTP/1.0",
                upload=Upload(request.context, request.size, "application/x-tar"),
                patience=min(request.timeout, UPLOAD_PATIENCE),
                what=what,
            )
        except Refused as error:
            raise BuildFailed(what, error.reason) from error
        with connection:
            for line in _lines(connection, rest, deadline, stop):
                said = _decoded(what, line)
                if reason := said.get("error"):
                    raise BuildFailed(what, str(reason).strip(), output)
                for text in str(said.get("stream", "")).splitlines():
                    if text.strip():
                        output.append(text.rstrip())
                        del output[:-_OUTPUT_LINES]
                        progress(text.rstrip())
        if self.image_id(request.tag) is None:
            raise BuildFailed(what, "it ended without an image", output)

    def _build_query(self, request: BuildRequest) -> dict[str, str]:
        # As the docker command does: the proxies of the user's configuration reach the build.
        proxies: dict[str, str] = self._api._proxy_configs.get_environment()
        query = {
            "t": request.tag,
            "dockerfile": request.dockerfile,
            "networkmode": request.network,
            "buildargs": json.dumps({**proxies, **request.arguments}),
            "labels": json.dumps(dict(request.labels)),
            "rm": "1",
            "forcerm": "1",
            "version": "1",
        }
        if request.target:
            query["target"] = request.target
        if request.memory is not None:
            query["memory"] = query["memswap"] = str(request.memory)
        return query


def _lines(
    connection: socket.socket, rest: bytes, deadline: Deadline, stop: threading.Event | None
) -> Iterator[bytes]:
    """The lines of an answer, until its end, the deadline or `stop`."""
    pending = bytearray(rest)
    while True:
        while (end := pending.find(b"\n")) >= 0:
            line = bytes(pending[:end]).strip()
            del pending[: end + 1]
            if line:
                yield line
        if stop is not None and stop.is_set():
            raise EngineError(f"{deadline.what}: it was stopped")
        if deadline.expired():
            raise EngineError(
                f"{deadline.what}: out of time", hint="make the build smaller, or allow it more time"
            )
        connection.settimeout(max(0.001, min(_GLANCE, deadline.remaining())))
        try:
            chunk = connection.recv(64 * 1024)
        except TimeoutError:
            continue
        except ConnectionResetError:
            return  # the end of an engine that has not read all of its request
        except OSError as error:
            raise EngineError(f"{deadline.what}: the connection broke: {error}") from error
        if not chunk:
            return
        pending += chunk


def _decoded(what: str, line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError as error:
        raise EngineError(f"{what}: the engine's answer is not JSON: {line[:200]!r}") from error
    return said if isinstance(said, dict) else {}


def _raise_error(what: str, progress: dict[str, Any]) -> None:
    if error := progress.get("error"):
        raise EngineError(f"{what}: {str(error).strip()}")
