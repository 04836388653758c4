"""Opens a session: brings up what a plan says, and takes it down when the block ends, whatever happens."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lab.engine.base import Engine
from lab.engine.images import Images
from lab.scenario.calls import Step
from lab.session.events import Events
from lab.session.interrupt import Interrupt
from lab.session.plan import Plan
from lab.session.record import Record
from lab.session.testbed import testbed
from lab.site import Site

if TYPE_CHECKING:
    from lab.session.session import Session


@contextmanager
def open_session(
    engine: Engine,
    images: Images,
    site: Site,
    plan: Plan,
    events: Events,
    record: Record,
    interrupt: Interrupt,
    *,
    steps: Iterable[Step] = (),
    keep: Callable[[], bool] = lambda: False,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[Session]:
    """The lab of `plan`, up and ready. It stays up if `keep()` says so at the end of the block.

    `record` must be among the listeners of `events`. `steps` are those that will come, as far as they are
    known. `meanwhile` is called while the containers start.
    """

    def load() -> None:
        # What judges takes 0.2 s to import: done while the containers start, it costs a run nothing.
        importlib.import_module("lab.session.session")
        meanwhile()

    with testbed(engine, images, plan, site, events, interrupt, keep, load) as bed:
        from lab.session.session import Session  # loaded by now

        yield Session(bed, events, record, site.tolerance, steps)
