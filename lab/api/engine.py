"""The engine and its images, opened once for all labs of a process."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable

from msgspec import Struct

from lab.engine.base import Engine
from lab.engine.images import Images, ImageStore, ensure_images
from lab.errors import LabEnvironmentError, LabError
from lab.site import Site

log = logging.getLogger("lab")


class NoEngine(LabEnvironmentError):
    """There is no engine to run on."""


class Opened(Struct, frozen=True):
    """What labs run on."""

    engine: Engine
    store: ImageStore
    images: Images
    close: Callable[[], None]


_lock = threading.Lock()
_opened: dict[tuple[int, str | None], Opened] = {}  #: by process, as a fork has to open its own


def opened(site: Site) -> Opened:
    """The engine of a site, with its images. What dead runs left there is removed when it is opened.

    Raises `LabError` where there is none.
    """
    key = os.getpid(), site.engine_address
    with _lock:
        if key not in _opened:
            # Docker's SDK takes 0.1 s: a lab that is refused, or skipped, does without.
            from lab.runner.invocation import open_engine

            try:
                engine = open_engine(site, log.info)
            except LabError as error:
                raise NoEngine(str(error), hint=error.hint) from error
            try:
                images = ensure_images(engine, log.info)
                _opened[key] = Opened(engine, engine, images, engine.close)
            except BaseException:
                engine.close()
                raise
            atexit.register(_close, key)
        return _opened[key]


def _close(key: tuple[int, str | None]) -> None:
    if key[0] == os.getpid() and (one := _opened.pop(key, None)) is not None:
        one.close()
