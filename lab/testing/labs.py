"""Labs that fixtures make: named after the test, told of its failure, taken down with the fixture."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

import lab as module
from lab.api.engine import NoEngine
from lab.api.net import Lab
from lab.api.up import make
from lab.engine.clean import some_run_died
from lab.errors import LabError
from lab.harmless import clean, printed
from lab.runner.case import CaseRun
from lab.runner.invocation import look_around, open_engine
from lab.site import load_site

_open: list[Labs] = []
_MADE = pytest.StashKey[list[Lab]]()


class Labs:
    """The fixtures `lab` and `lab_session`: `up` is like `lab.up`; the rest comes from the module `lab`."""

    def __init__(self, config: pytest.Config, folder: Path, name: str, fixture: str) -> None:
        self.config = config
        self.fixture = fixture
        self.folder = folder
        self.name = name
        self.made: list[Lab] = []
        self.error: BaseException | None = None  #: of the first test that failed while these labs were up
        _open.append(self)

    def up(
        self,
        source: str | os.PathLike[str] | None = None,
        *,
        hosts: Mapping[str, Any] | None = None,
        networks: Mapping[str, Any] | None = None,
        gateways: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        wire: str | None = None,
        ip: int | None = None,
        out: str | os.PathLike[str] | None = None,
        name: str | None = None,
    ) -> Lab:
        """Like `lab.up`, but relative paths start at the test file's folder.

        The lab starts with `with`, with `.start()`, or when one of its hosts is first used.
        """
        option = self.config.getoption
        chosen = out or option("lab_out")
        made = make(
            source,
            base=self.folder,
            keys={
                "hosts": hosts,
                "networks": networks,
                "gateways": gateways,
                "params": params,
                "ip": ip or option("lab_ip"),
            },
            wire=wire or option("lab_wire"),
            out=(self.config.invocation_params.dir / chosen) if chosen else None,
            name=name,
            keep=option("lab_keep"),
            on_failure=pause if option("lab_pause") else None,
            lazily=True,
            folder_name=self.name,
        )
        made.before_start = require_engine
        self.made.append(made)
        return made

    __call__ = up

    def __getattr__(self, name: str) -> Any:
        return getattr(module, name)

    def close(self) -> None:
        """Takes down what is still up, then raises the first error."""
        _open.remove(self)
        first: BaseException | None = None
        for made in reversed(self.made):
            try:
                made.down(self.error)
            except (LabError, AssertionError) as error:
                first = first or error
        if first is not None:
            raise first

    def where(self) -> list[str]:
        """Where the run folders are and, for kept labs, how to look around."""
        lines: list[str] = []
        for made in self.made:
            if made.started:
                lines.append(f"run folder: {made.folder}")
                if self.config.getoption("lab_keep"):
                    lines.append(look_around(made.run_id, made.case.scenario))
        return lines


def reported(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Tells the running labs what failed, at the end of a test's phase."""
    if report.when == "call":
        item.stash[_MADE] = [one for labs in _of(item) for one in labs.made if one.started]
    if report.when == "teardown":  # JUnit takes the properties from here; all about the wire is known by now
        for one in item.stash.get(_MADE, []):
            item.user_properties += facts(one.folder, one.environment)
        report.user_properties = list(item.user_properties)
    if not report.failed or call.excinfo is None:
        return
    for labs in _of(item):
        labs.error = labs.error or call.excinfo.value
        if lines := labs.where():
            report.sections.append(("lab", "\n".join(lines)))


def without_the_labs_lines(call: pytest.CallInfo[None]) -> None:
    """Cuts the traceback of a `LabError` where the test called the lab: its text says what broke."""
    if call.excinfo is None or not isinstance(call.excinfo.value, LabError):
        return
    tests: list[TracebackType] = []
    entry = call.excinfo.value.__traceback__
    while entry is not None and not _is_ours(entry.tb_frame.f_globals.get("__name__", "")):
        tests.append(entry)
        entry = entry.tb_next
    if entry is not None and tests:
        cut: TracebackType | None = None
        for one in reversed(tests):
            cut = TracebackType(cut, one.tb_frame, one.tb_lasti, one.tb_lineno)
        call.excinfo = pytest.ExceptionInfo.from_exception(call.excinfo.value.with_traceback(cut))


def _is_ours(name: str) -> bool:
    return name == module.__name__ or name.startswith(f"{module.__name__}.")


def sweep_after_crash() -> list[str]:
    """Removes what labs of dead processes left on the engine; returns lines that report it.

    Looks for an engine only if a lab died.
    """
    lines: list[str] = []
    if some_run_died():
        try:
            open_engine(load_site(), lines.append).close()
        except LabError as error:
            lines.append(said(error))
    return lines


def _of(item: pytest.Item) -> list[Labs]:
    """The running labs that a test uses, through its fixtures or through theirs."""
    used = getattr(item, "fixturenames", ())
    return [labs for labs in _open if labs.fixture in used]


def facts(folder: Path, environment: Any) -> list[tuple[str, str]]:
    """The properties for JUnit; while a lab is running, its wire is not known yet."""
    found = [("run_folder", str(folder))]
    if environment is not None:
        found += [("wire", environment.wire), ("engine", environment.engine)]
    return [(key, value) for key, value in found if value]


def require_engine(find: Callable[[], Any]) -> Any:
    """What `find` returns; without an engine the test is skipped, or fails if LAB_REQUIRE_DOCKER=1."""
    try:
        return find()
    except NoEngine as error:
        text = said(error)
    if os.environ.get("LAB_REQUIRE_DOCKER") == "1":
        pytest.fail(f"LAB_REQUIRE_DOCKER=1, but: {text}", pytrace=False)
    pytest.skip(text)


def said(error: LabError) -> str:
    """An error as the terminal shows it."""
    return printed(f"{error}\n  next: {error.hint}" if error.hint else str(error))


def pause(run: CaseRun) -> None:
    """Waits for Enter while the failed lab is still up; without a terminal, returns at once."""
    try:
        with open("/dev/tty", "r+b", buffering=0) as terminal:
            around = look_around(run.id, run.case.scenario)
            text = f"\n{clean(run.case.name)} failed.{around}Enter takes everything down. "
            terminal.write(text.encode())
            terminal.readline()
    except OSError:
        return
