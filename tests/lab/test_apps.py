"""The scenarios of real programs: each passes in time, shows two ways, and a falsified copy of it fails."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from lab.engine.images import Images
from lab.report import render
from lab.result import Result
from lab.scenario.load import Case, load_all
from lab.verdict import Verdict
from tests.lab.commands import APPS, ROOT, lab, results
from tools.mutation.mutate import mutate

pytestmark = [pytest.mark.docker, pytest.mark.apps]

FILES = {path: list(own) for path, own in groupby(load_all([APPS]), key=lambda case: case.path)}
CASES = [case.name for own in FILES.values() for case in own]
AT_MOST = 30.0  #: seconds of a case, with its images built
IMAGES_AT_MOST = 5  #: that all of them need; each is some hundred megabytes


def _contexts(cases: list[Case]) -> Iterator[Path]:
    for case in cases:
        for host in case.scenario.hosts.values():
            yield from (one.build.context for one in host.services.values() if one.build is not None)


@pytest.fixture(scope="module")
def apps(images: Images, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Result, Path]]:
    """Each of them once, with all images built: results and run folders by name."""
    out = tmp_path_factory.mktemp("apps")
    built = lab("images", APPS, timeout=1800)
    assert built.exit_code == 0, built.stderr
    lab("run", APPS, "-j", "2", "--out", out, timeout=1800)
    return results(out)


@pytest.mark.parametrize("name", CASES)
def test_it_passes(apps: dict[str, tuple[Result, Path]], name: str) -> None:
    result, folder = apps[name]
    assert result.verdict is Verdict.PASS, render(result, folder=folder)


@pytest.mark.parametrize("name", CASES)
def test_a_falsified_copy_fails(apps: dict[str, tuple[Result, Path]], name: str) -> None:
    mutation = mutate(apps[name][1])
    assert mutation.mutants
    assert not mutation.survivors, mutation.text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_it_shows_what_goes_wrong_and_what_mends_it(path: Path) -> None:
    assert len(FILES[path]) >= 2


def test_they_share_their_images() -> None:
    assert len(FILES) >= 12
    contexts = {context for own in FILES.values() for context in _contexts(own)}
    assert contexts
    assert len(contexts) <= IMAGES_AT_MOST
    assert all(context.parent == APPS / "images" for context in contexts)


def test_none_takes_long(apps: dict[str, tuple[Result, Path]]) -> None:
    took = {name: result.seconds for name, (result, _) in apps.items()}
    assert {name: seconds for name, seconds in took.items() if seconds > AT_MOST} == {}
