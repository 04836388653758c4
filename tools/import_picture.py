"""The rooms of the package and their imports, as a page with a diagram.

    python -m tools.import_picture > docs/explanation/imports.md

grimp reads the imports, except those for type checkers only. A room is a folder of
`lab/`; all modules of the ground floor are one room.
"""

from __future__ import annotations

import sys

import grimp

GROUND = "ground floor"

_HEAD = """\
# Who imports whom

Each arrow is an import: a higher room uses a lower one, and no arrow points back up. An arrow is left out if
a longer path implies it. `lint-imports` checks the layers (see `pyproject.toml`); a test checks that no
modules import each other in a circle. `python -m tools.import_picture` makes this page.

```mermaid
flowchart TD
"""


def rooms(graph: grimp.ImportGraph) -> dict[str, str]:
    """Each module with its room. The ground floor has no folder and imports nothing but itself."""
    folders = {".".join(module.split(".")[:2]) for module in graph.modules if module.count(".") >= 2}
    found = {module: ".".join(module.split(".")[:2]).removeprefix("lab.") for module in graph.modules}
    single = {module for module in graph.modules if ".".join(module.split(".")[:2]) not in folders}
    while climbing := {
        module for module in single if graph.find_modules_directly_imported_by(module) - single
    }:
        single -= climbing
    return found | dict.fromkeys(single, GROUND)


def arrows(graph: grimp.ImportGraph) -> set[tuple[str, str]]:
    """Every pair of rooms in which the first imports the second."""
    of = rooms(graph)
    return {
        (of[module], of[imported])
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if of[module] != of[imported]
    }


def direct(found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows that no path over another room implies, which keeps the picture readable."""
    after: dict[str, set[str]] = {}
    for a, b in found:
        after.setdefault(a, set()).add(b)

    def reaches(a: str, b: str) -> bool:
        return any(one == b or reaches(one, b) for one in after.get(a, ()))

    return {(a, b) for a, b in found if not any(reaches(one, b) for one in after[a] if one != b)}


def circles(graph: grimp.ImportGraph) -> list[list[str]]:
    """Modules that import each other in a circle, each once."""
    found: list[list[str]] = []
    for module in sorted(graph.modules):
        for imported in graph.find_modules_directly_imported_by(module):
            chain = graph.find_shortest_chain(imported, module)
            if chain is not None and module == min(chain):
                found.append([module, *chain])
    return found


def page() -> str:
    drawn = direct(arrows(grimp.build_graph("lab", cache_dir=None, exclude_type_checking_imports=True)))
    names = sorted({name for arrow in drawn for name in arrow})
    numbers = {name: f"r{number}" for number, name in enumerate(names)}
    lines = [f'    {numbers[name]}["{name}"]' for name in names]
    lines += [f"    {numbers[a]} --> {numbers[b]}" for a, b in sorted(drawn)]
    return _HEAD + "\n".join(lines) + "\n```\n"


if __name__ == "__main__":
    sys.stdout.write(page())
