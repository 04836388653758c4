"""The reference of Compose's keys `docs/reference/compose.md`, from the table in the code.

python -m tools.compose_reference > docs/reference/compose.md
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lab.scenario.compose.keys import BUILD, SERVICE, TOP, Key

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "compose.md"

_HEAD = """\
# Compose's keys

How the lab reads a Compose file, key by key. The file is a [topology](scenario.md#topologies): its services
are hosts, each with its program.

- *Honoured* keys do what Compose's specification says, within the lab.
- *Noted* keys mean nothing here. They change nothing, and `lab check` and `lab run` name them in a note.
- *Refused* keys are an error at their place, exit status 2; so is a key that Compose does not know.

Keys that begin with `x-` are ignored, except `x-lab`.

Numbers keep their spelling in the file; Compose would write `1.50` as `1.5`.
"""
_TITLES = {"honoured": "Honoured", "noted": "Noted", "refused": "Refused"}


def text() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD]
    for title, table in (("The top", TOP), ("Services", SERVICE), ("`build`", BUILD)):
        parts.append(f"\n## {title}\n")
        parts += [_section(table, fate) for fate in _TITLES if any(k.fate == fate for k in table.values())]
    return "".join(parts)


def _section(table: Mapping[str, Key], fate: str) -> str:
    rows = "".join(f"| `{name}` | {key.text} |\n" for name, key in sorted(table.items()) if key.fate == fate)
    why = "what it does" if fate == "honoured" else "why"
    return f"\n### {_TITLES[fate]}\n\n| key | {why} |\n|---|---|\n{rows}"


if __name__ == "__main__":
    print(text(), end="")
