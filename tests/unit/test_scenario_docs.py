"""The reference page of the format: its examples load, and every key stands in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.packet_words import MATCHES
from lab.scenario import support
from lab.scenario.calls import Call, Step
from lab.scenario.checks import CHECKS, Check
from lab.scenario.data import DataExpectForm
from lab.scenario.expects import Expect, RunExpect
from lab.scenario.links import LINK_KEYS
from lab.scenario.load import load
from lab.scenario.model import HostKeys, ScenarioFile
from lab.scenario.steps import STEPS
from lab.scenario.support import NOT_YET
from lab.scenario.words import REQUIREMENTS
from tests.golden.documents import document, validator

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "scenario.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SCENARIOS = [block for block in BLOCKS if re.search(r"^lab: 1$", block, re.MULTILINE)]
TOPOLOGIES = [block for block in BLOCKS if block not in SCENARIOS]


def test_there_are_examples() -> None:
    assert len(SCENARIOS) >= 7
    assert len(TOPOLOGIES) == 1


@pytest.mark.parametrize("block", SCENARIOS, ids=range(len(SCENARIOS)))
def test_an_example_loads(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "service:" in block:
        monkeypatch.setattr(support, "NOT_YET", frozenset[str]())
    path = tmp_path / "example.yml"
    path.write_text(block, encoding="utf-8")
    assert load(path)
    validator().validate(document(path))


def test_the_topology_loads(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(TOPOLOGIES[0], encoding="utf-8")
    path = tmp_path / "example.yml"
    path.write_text("lab: 1\ntopology: hosts.yml\n", encoding="utf-8")
    assert list(load(path)[0].scenario.hosts) == ["client", "server"]


def row(word: str, head: str) -> str:
    """The row of the table under `head` whose first cell has the word."""
    lines = PAGE[PAGE.index(head) :].splitlines()
    for line in lines:
        if line.startswith("|") and f"`{word}`" in line.split("|")[1]:
            return line
    pytest.fail(f"no row of {word!r} under {head!r}")


@pytest.mark.parametrize("name", STEPS)
def test_every_key_of_a_step(name: str) -> None:
    cls = STEPS[name]
    common = (*Call.yaml_keys(), "expect") if issubclass(cls, Call) else Step.yaml_keys()
    line = row(name, "## Steps")
    own = [key for key in cls.yaml_keys() if key not in common and key not in LINK_KEYS]
    assert [key for key in own if f"`{key}`" not in line] == []


@pytest.mark.parametrize("name", CHECKS)
def test_every_key_of_a_check(name: str) -> None:
    line = row(name, "## Checks")
    said_below = {
        "after": "*when*",
        "before": "*when*",
        "socket": "*which*",
        "process": "*which*",
        "nth": "*which*",
    }
    own = [key for key in CHECKS[name].yaml_keys() if key not in Check.yaml_keys()]
    assert [key for key in own if f"`{key}`" not in line and said_below.get(key, "no row") not in line] == []
    below = PAGE[PAGE.index("**When.**") : PAGE.index("## Values")]
    assert [key for key in said_below if f"`{key}" not in below] == []


def test_every_other_key() -> None:
    words = [
        *ScenarioFile.yaml_keys(),
        *HostKeys.yaml_keys(),
        *LINK_KEYS,
        *[key for key in Call.yaml_keys() if key != "do"],
        *Expect.yaml_keys(),
        *RunExpect.yaml_keys(),
        *MATCHES,
        *REQUIREMENTS,
    ]
    assert [word for word in words if f"`{word}`" not in PAGE] == []
    assert [key for key in DataExpectForm.yaml_keys() if not re.search(rf"[{{ ]{key}: ", PAGE)] == []


def test_what_is_not_supported_is_said() -> None:
    """And taken out when it is."""
    assert ("*not yet supported*" in PAGE) == bool(NOT_YET)
