"""Scenario files as tests: a file is a collector, each of its cases an item."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.engine.state import state_dir
from lab.errors import LabError
from lab.scenario import tree
from lab.scenario.load import LAB_KEY, Case, is_run_folder, load
from lab.site import Site, load_site
from lab.verdict import Verdict

if TYPE_CHECKING:
    from lab.result import Result

_TAGS = pytest.StashKey[set[str]]()


def is_scenario(path: Path) -> bool:
    """Whether a YAML file has a top-level `lab` key and is not the copy in a run folder."""
    if is_run_folder(path.parent):
        return False
    try:
        return LAB_KEY.search(tree.read_text(path, str(path))) is not None
    except tree.Unreadable:
        return False


def matches(path: Path, root: Path, globs: Iterable[str]) -> bool:
    """Whether a file matches one of the globs, which are relative to pytest's root folder."""
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    return any(fnmatch(str(inside), glob) or inside.match(glob) for glob in globs)


@functools.cache
def _site() -> Site:
    return load_site()


class ScenarioFile(pytest.File):
    """A scenario file; an invalid one yields a single item, which fails with all its errors."""

    def collect(self) -> Iterator[pytest.Item]:
        try:
            cases = load(_shown(self.path), policy=_site().policy)
        except LabError as error:
            yield Broken.from_parent(self, name=self.path.stem, error=error)
            return
        repeat = self.config.getoption("lab_repeat")
        for number in range(1, repeat + 1):
            for case in cases:
                name = case.name if repeat == 1 else f"{case.name}-{number}"
                yield CaseItem.from_parent(self, name=name, case=case)


def _shown(path: Path) -> Path:
    """The path relative to where pytest was called, as errors and places name it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


class Broken(pytest.Item):
    """A file that is no valid scenario."""

    def __init__(self, *, error: LabError, **more: Any) -> None:
        super().__init__(**more)
        self.error = error

    def runtest(self) -> None:
        from lab.testing.labs import said

        pytest.fail(said(self.error), pytrace=False)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, self.name


class CaseFailed(Exception):
    """A case whose verdict is not PASS; its text is the terminal report."""


class CaseItem(pytest.Item):
    """One case, run as `lab run` does."""

    def __init__(self, *, case: Case, **more: Any) -> None:
        super().__init__(**more)
        self.case = case
        self.lab_alone = case.scenario.alone
        known = self.config.stash.setdefault(_TAGS, set())
        for tag in case.scenario.tags:
            if tag not in known:
                known.add(tag)  # --strict-markers accepts only registered markers
                self.config.addinivalue_line("markers", f"{tag}: a tag of scenarios")
            if not tag.startswith("_"):
                self.add_marker(tag)

    def runtest(self) -> None:
        from lab.api.net import uninterrupted
        from lab.api.up import case_runner
        from lab.runner.suite import finish_folder
        from lab.session.folder import make_case_folder, make_folder, new_run_id
        from lab.testing.labs import facts, pause, require_engine

        option, site = self.config.getoption, _site()
        runner = require_engine(
            lambda: case_runner(
                site,
                option("lab_wire"),
                keep=option("lab_keep"),
                on_failure=pause if option("lab_pause") else None,
            )
        )
        out = option("lab_out")
        run = new_run_id()
        runs = self.config.invocation_params.dir / out if out else site.runs
        folder = make_case_folder(make_folder(runs, self.case.name, run))
        with alone(self.lab_alone):
            result = uninterrupted(
                lambda: runner.run(self.case, run, folder, os.getpid()), runner.interrupt.set
            )
        finish_folder(folder.path)
        self.user_properties += facts(folder.path, result.environment)
        if result.verdict is Verdict.SKIP:
            pytest.skip(result.reason)
        if result.verdict is not Verdict.PASS:
            raise CaseFailed(self._text(result, folder.path))

    def _text(self, result: Result, folder: Path) -> str:
        from lab.report.terminal import render
        from lab.runner.invocation import look_around

        colour = self.config.get_terminal_writer().hasmarkup
        text = render(result, colour=colour, folder=folder)
        return text + (
            look_around(result.run, self.case.scenario) if self.config.getoption("lab_keep") else ""
        )

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The terminal report without a traceback; for a bug of the lab, pytest's own text."""
        if isinstance(excinfo.value, CaseFailed):
            return str(excinfo.value)
        if isinstance(excinfo.value, LabError):
            from lab.testing.labs import said

            return said(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, self.name


@contextlib.contextmanager
def alone(wanted: bool) -> Iterator[None]:
    """Locks across processes: a case that wants to be alone waits for the others and keeps them out."""
    path = state_dir() / "alone.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wanted else fcntl.LOCK_SH)
        yield
