"""Connections, losses and packets that are easily taken for one another, on real containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.engine.images import Images
from lab.report import render
from lab.result import Result
from lab.scenario.load import load_all
from lab.verdict import Verdict
from tests.lab.commands import lab, results
from tests.lab.test_evidence_tshark import assert_agreement
from tools.mutation.mutate import mutate

pytestmark = pytest.mark.docker

HERE = Path(__file__).parent / "told_apart"
CASES = [case.name for case in load_all([HERE])]
#: What holds of a connection that both sides opened holds as well where `from` and `to` are swapped.
SYMMETRIC = {"simultaneous-open": 3}


@pytest.fixture(scope="module")
def told_apart(images: Images, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Result, Path]]:
    out = tmp_path_factory.mktemp("told-apart")
    lab("run", HERE, "-j", "2", "--out", out, timeout=300)
    return results(out)


@pytest.mark.parametrize("name", CASES)
def test_it_passes_and_every_falsified_copy_fails(
    told_apart: dict[str, tuple[Result, Path]], name: str
) -> None:
    result, folder = told_apart[name]
    assert result.verdict is Verdict.PASS, render(result, folder=folder)
    mutation = mutate(folder)
    assert mutation.caught >= len(mutation.mutants) - SYMMETRIC.get(name, 0), mutation.text()


@pytest.mark.parametrize("name", CASES)
def test_tshark_counts_the_same(told_apart: dict[str, tuple[Result, Path]], name: str, tshark: str) -> None:
    captures = sorted((told_apart[name][1] / "pcap").glob("*.pcapng"))
    assert captures
    for path in captures:
        assert_agreement(tshark, path)
