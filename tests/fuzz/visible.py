"""What no output may have in it, whoever wrote the text that was put there."""

from __future__ import annotations

import re

#: C0 but newline, C1, the separators of Unicode, what turns the direction of writing, halves of surrogates.
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_COLOUR = re.compile(r"\x1b\[(?:0|1|2|7|3[1-6])(?:;(?:1|2|7|3[1-6]))*m")


def harmless(text: str, *, colour: bool = False) -> None:
    """Asserts that nothing of it is obeyed by a terminal, or ends a line that its writer did not end."""
    found = FORBIDDEN.search(_COLOUR.sub("", text) if colour else text)
    if found is not None:
        around = text[max(0, found.start() - 60) : found.end() + 20]
        raise AssertionError(f"U+{ord(found.group()):04X} in {around!a}")
