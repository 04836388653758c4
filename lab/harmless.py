"""Untrusted text, made harmless for terminals, documents, JSON and packet comments.

A scenario's author, a program on a host and the sender of a run folder all put text into what people read. A
terminal obeys control characters; U+2028 and U+0085 end a line for some readers; direction marks make one
text look like another; a lone surrogate cannot be written at all. Each document (a page, a picture, the
output of a command) passes through here as a whole, so no text in it can be forgotten.
"""

from __future__ import annotations

import json
import re
from typing import Any

#: C0 except tab and newline, DEL, C1, direction marks, line separators, lone surrogates,
#: and what XML cannot carry.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufffe\uffff]"
)
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
#: The colours of `lab.report.text.Paint`, and no others: none hides a text.
_COLOUR = re.compile(r"(\x1b\[(?:0|1|2|7|3[1-6])(?:;(?:1|2|7|3[1-6]))*m)")
SHOWN_AS = "·"  #: in place of a removed character


def clean(text: str, *, keep_newlines: bool = False) -> str:
    """One value, on one line, without anything that a terminal obeys; a removed character shows as `·`."""
    text = document(_ESCAPES.sub(SHOWN_AS, text.replace("\r\n", "\n")))
    return text.replace("\t", "    ") if keep_newlines else text.replace("\n", "⏎").replace("\t", " ")


def visible(text: str) -> str:
    """One line with every character visible: unprintable characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def document(text: str) -> str:
    """A whole XML, SVG, HTML or Mermaid text: its newlines stay, and nothing in it is obeyed."""
    return _CONTROLS.sub(SHOWN_AS, text)


def printed(text: str, *, colour: bool = False) -> str:
    """The output of a command; with `colour`, the lab's colours stay."""
    if not colour:
        return document(_ESCAPES.sub(SHOWN_AS, text))
    # Every second part is one of the lab's colours.
    parts = _COLOUR.split(text)
    return "".join(part if at % 2 else printed(part) for at, part in enumerate(parts))


def yaml_text(value: Any) -> str:
    """YAML with the keys in their order. Text of several lines is a block; non-ASCII text is quoted and
    escaped."""
    import yaml  # 15 ms, which few commands need

    try:
        return _dumped(value, getattr(yaml, "CSafeDumper", yaml.SafeDumper))  # libyaml's takes a sixth
    except UnicodeEncodeError:  # half of a surrogate pair is no text to libyaml
        return _dumped(value, yaml.SafeDumper)


def _dumped(value: Any, base: Any) -> str:
    import yaml  # as above

    # A class of its own: representers belong to a class, and PyYAML's is everybody's.
    of_lab: Any = type("Dumper", (base,), {})

    def text(dumper: Any, one: str) -> Any:
        style = "|" if "\n" in one.rstrip("\n") else None  # PyYAML quotes what such a block cannot hold
        return dumper.represent_scalar("tag:yaml.org,2002:str", one, style=style)

    of_lab.add_representer(str, text)
    return str(yaml.dump(value, Dumper=of_lab, sort_keys=False, allow_unicode=False, width=110))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON with only its own newlines: other line separators and control characters become `\\uXXXX`."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, indent=indent, ensure_ascii=False, separators=separators, default=str)
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
