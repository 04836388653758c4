"""Random scenarios on real containers: the lab has a verdict on each of them and leaves nothing behind.

By hand more of them, and others: LAB_FUZZ=200 LAB_FUZZ_SEED=7 pytest tests/lab/test_fuzz.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.engine.base import LABEL_RUN
from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from lab.result import Result
from lab.runner.unforeseen import TRACEBACK_FILE
from lab.verdict import Verdict
from tests.lab.commands import Ended, lab, results
from tests.lab.random_scenarios import some

pytestmark = pytest.mark.docker

NUMBER = int(os.environ.get("LAB_FUZZ", "20"))
SEED = int(os.environ.get("LAB_FUZZ_SEED", "1"))
EACH = 15.0  #: seconds that one of them may take here

Ran = tuple[Ended, dict[str, tuple[Result, Path]]]


@pytest.fixture(scope="module")
def ran(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("random")
    for number, text in enumerate(some(NUMBER, SEED)):
        (folder / f"random-{number:03}.yml").write_text(text)
    valid = lab("check", folder)
    assert valid.exit_code == 0, valid.stderr
    ended = lab("run", folder, "-j", "2", "--out", folder / "runs", timeout=60 + NUMBER * EACH)
    return ended, results(folder / "runs")


def test_each_has_a_verdict_with_its_reason(ran: Ran) -> None:
    ended, found = ran
    assert ended.exit_code in (0, 1), ended.stderr  # 1: some failed, as they may
    assert "Traceback" not in ended.stdout + ended.stderr
    assert len(found) == NUMBER
    for name, (result, folder) in found.items():
        assert result.verdict in (Verdict.PASS, Verdict.FAIL), f"{name}: {result.reason}\n{folder}"
        bad = [finding for finding in result.findings if finding.verdict is not Verdict.PASS]
        assert bool(bad) is (result.verdict is Verdict.FAIL), name
        assert all(finding.name and finding.reason for finding in bad), name
        assert result.reason or not bad, name


def test_none_broke_the_lab(ran: Ran) -> None:
    for name, (result, folder) in ran[1].items():
        assert not (folder / TRACEBACK_FILE).exists(), name
        assert "overloaded" not in result.reason, name
        for log in (folder / "logs").glob("*"):
            assert "Traceback" not in log.read_text(errors="replace"), log


def test_all_of_them_are_taken_down(ran: Ran, engine: DockerEngine) -> None:
    runs = {result.run for result, _ in ran[1].values()}
    assert runs
    for run in runs:
        assert engine.containers({LABEL_RUN: run}) == []
    assert [network for network in engine.networks() if network.labels.get(LABEL_RUN) in runs] == []
