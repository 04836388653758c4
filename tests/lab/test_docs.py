"""The how-tos work as they are written, and the examples do what is said of them; on real containers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from lab.verdict import Verdict
from tests.lab.commands import ROOT, lab, results
from tests.lab.pages import follow

pytestmark = pytest.mark.docker

#: Pages with commands, and how many there are at least.
PAGES = {"ci": 9, "look-around": 8, "recheck": 8}
EXAMPLES = {
    "changing-link": Verdict.PASS,
    "shop": Verdict.PASS,
    "three-hosts": Verdict.PASS,
    "timeout": Verdict.PASS,
    "wrong": Verdict.FAIL,
}


@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_a_how_to(engine: DockerEngine, images: Images, tmp_path: Path, name: str) -> None:
    assert follow(ROOT / "docs" / "how-to" / f"{name}.md", tmp_path, 180.0) >= PAGES[name]


def test_the_examples_end_as_they_say(engine: DockerEngine, images: Images, tmp_path: Path) -> None:
    done = lab("run", ROOT / "examples", "-j", "auto", "--out", tmp_path)
    assert done.exit_code == 1
    assert {name: result.verdict for name, (result, _) in results(tmp_path).items()} == EXAMPLES
    junit = ET.parse(tmp_path / "latest" / "junit.xml").getroot()
    assert junit.get("failures") == "1"
