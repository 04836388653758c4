"""The house of the package: no arrow runs back up, no two modules import each other in a circle."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest

from tools.import_picture import circles, page

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("lab", cache_dir=None, exclude_type_checking_imports=True)


def test_no_two_modules_import_each_other(graph: grimp.ImportGraph) -> None:
    assert circles(graph) == []


def test_a_circle_would_be_found() -> None:
    graph = grimp.ImportGraph()
    for module in ("lab", "lab.a", "lab.b", "lab.c"):
        graph.add_module(module)
    graph.add_import(importer="lab.a", imported="lab.b")
    graph.add_import(importer="lab.b", imported="lab.c")
    assert circles(graph) == []
    graph.add_import(importer="lab.c", imported="lab.a")
    assert circles(graph) == [["lab.a", "lab.b", "lab.c", "lab.a"]]


@pytest.mark.parametrize("room", ["evidence", "checks", "judging", "report", "scenario"])
def test_what_needs_no_engine_imports_none(graph: grimp.ImportGraph, room: str) -> None:
    upstream = graph.find_upstream_modules(f"lab.{room}", as_package=True)
    assert not {module for module in upstream if module.startswith("lab.engine")}


def test_the_page_is_up_to_date() -> None:
    """Made anew by `python -m tools.import_picture > docs/explanation/imports.md`."""
    assert (ROOT / "docs" / "explanation" / "imports.md").read_text() == page()
