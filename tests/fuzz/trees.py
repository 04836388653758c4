"""YAML and JSON trees, changed at random, and written as text that a library would never write.

A tree is what `json.loads` gives, and `Raw`, which is written as it stands: an alias, a merge, a tag.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Sequence
from typing import Any

HUGE = (
    "9" * 20,
    "9" * 400,
    "9" * 5000,
    "-1",
    "1e400",
    "0.1e-400",
    "1" + "0" * 38,
    "00",
    ".5",
    "0x10",
    "1_000",
)
UNITS = ("ms", "s", "m", "h", "d", "%", "mbit", "kbit", "KiB", "MB", "GiB", "ppm", "rtt", "us", "ns", "")
TEXTS = (
    *(
        "",
        " ",
        "x",
        "client",
        "server",
        "wire",
        "null",
        "true",
        "a:b:c",
        "[::1]:5",
        "${delay}",
        "${nope}",
        "${",
    ),
    *(
        "${${a}}",
        "$$",
        "../..",
        "/dev/zero",
        "/",
        ".",
        "~",
        "\0",
        "\x1b[2J",
        "\x1b]0;x\x07",
        "\u202e",
        "\u2028",
    ),
    *(
        "\x85",
        "\r\n",
        "\ud800",
        "\udfff",
        "\ufeff",
        "\U0010ffff",
        "é" * 300,
        "x" * 5000,
        "/(a+)+$/",
        "/[/",
        "/(/",
    ),
    *(
        "/(?P<n>x)/",
        "steps[0]",
        "<x>",
        "&amp;",
        "]]>",
        "%s%n",
        "{0}",
        "server:8001",
        "server:99999",
        "-",
        "--",
    ),
    *("5ms", "1rtt", "10mbit", "50%", "lab", "a b", "1.2.3.4", "fe80::1%eth0", "02:00:00:00:00:01", "x" * 64),
)


_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


class Raw(str):
    """Text that stands in the file as it is."""

    __slots__ = ()


def junk(dice: random.Random, depth: int = 0) -> Any:
    """A value of any type."""
    match dice.randrange(12 if depth < 3 else 7):
        case 0:
            return dice.choice((None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 65536, 10**30, 1.5, -0.0))
        case 1:
            return dice.choice(TEXTS)
        case 2:
            return dice.choice(HUGE) + dice.choice(UNITS)
        case 3:
            return Raw(dice.choice(HUGE))
        case 4:
            return dice.choice((1, 2, 5, 999)) * 10 ** dice.randrange(20)
        case 5:
            return str(dice.randrange(10**6)) + dice.choice(UNITS)
        case 6:
            return Raw(
                dice.choice(("*a", "*b", "*nope", "!!python/object:os.system x", "!x y", "&c x", "? x", "|"))
            )
        case 7:
            return [junk(dice, depth + 1) for _ in range(dice.choice((0, 1, 2, 5)))]
        case 8:
            return {dice.choice(TEXTS): junk(dice, depth + 1) for _ in range(dice.choice((0, 1, 3)))}
        case 9:
            deep: Any = junk(dice, 3)
            for _ in range(dice.choice((2, 10, 59, 61, 200))):
                deep = [deep] if dice.random() < 0.5 else {"x": deep}
            return deep
        case 10:
            return [junk(dice, 3)] * dice.choice((10, 100, 300))
        case _:
            return {f"k{number}": junk(dice, 3) for number in range(dice.choice((10, 100)))}


def spots(node: Any) -> list[tuple[Any, Any]]:
    """Every place of a tree that can be replaced: what holds it, and its key there."""
    found: list[tuple[Any, Any]] = []
    waiting = [node]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        for key in keys:
            found.append((one, key))
            waiting.append(one[key])
    return found


_DEEP = 150  #: where a tree is no longer made deeper: what writes it calls itself for each level


def mutated(tree: Any, dice: random.Random, others: Sequence[Any] = ()) -> Any:
    """A copy with some places changed; `others` are trees whose parts may come in."""
    tree = copy.deepcopy(tree)
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        places = spots(tree)
        if not places:
            return junk(dice)
        holder, key = dice.choice(places)
        roll = dice.random()
        if roll < 0.35:
            holder[key] = junk(dice)
        elif roll < 0.45:
            del holder[key]
        elif roll < 0.60:  # a part of this tree or another in another place
            parts = spots(dice.choice(others) if others and dice.random() < 0.5 else tree)
            if parts:
                source, name = dice.choice(parts)
                holder[key] = copy.deepcopy(source[name])
        elif roll < 0.72 and isinstance(holder, dict):
            holder[dice.choice((*TEXTS, *holder))] = holder.pop(key)
        elif roll < 0.80 and isinstance(holder, list):
            holder[key:key] = [copy.deepcopy(holder[key]) for _ in range(dice.choice((1, 3, 30)))]
        elif isinstance(holder[key], str) and holder[key]:
            holder[key] = _edited(holder[key], dice)
        elif isinstance(holder[key], int):
            holder[key] = dice.choice((-holder[key], holder[key] + 1, holder[key] << 40, str(holder[key])))
        else:
            holder[key] = junk(dice)
        if len(spots(tree)) > 20_000 or depth(tree) > _DEEP:
            break
    return tree


def depth(tree: Any) -> int:
    """How many lists and mappings are one inside the other."""
    level, deepest = [tree], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        deepest += 1
        level = [part for one in level for part in (one.values() if isinstance(one, dict) else one)]
    return deepest


def _edited(text: str, dice: random.Random) -> str:
    """A text that is nearly the same."""
    if (number := re.search(r"\d+", text)) and dice.random() < 0.5:
        return text[: number.start()] + dice.choice(HUGE) + text[number.end() :]
    at = dice.randrange(len(text) + 1)
    return text[:at] + dice.choice(TEXTS) + text[at + dice.choice((0, 1, 3)) :]


def yaml_text(tree: Any, dice: random.Random) -> str:
    """In flow style; one in four with anchors, aliases, merges, keys that stand twice, or no YAML at all."""
    odd = dice.random() < 0.25
    if isinstance(tree, dict):
        if odd:
            tree = {
                "x-a": Raw("&a {x: 1, do: sleep, for: 1ms, at: client}"),
                "x-b": Raw("&b [*a, *a]"),
                **tree,
            }
        text = "\n".join(f"{_scalar(key, odd)}: {_flow(value, dice, odd)}" for key, value in tree.items())
    else:
        text = _flow(tree, dice, odd)
    if odd and dice.random() < 0.2:
        at = dice.randrange(len(text) + 1)
        noise = (
            "\t",
            "\n",
            "]",
            "}",
            "{",
            ": ",
            "- ",
            "'",
            '"',
            "%",
            "@",
            "`",
            "\0",
            "\x1b",
            "---\n",
            "...\n",
            "#",
        )
        text = text[:at] + dice.choice(noise) + text[at:]
    return text


def _flow(node: Any, dice: random.Random, odd: bool) -> str:
    anchor = dice.choice(("&a ", "&b ")) if odd and dice.random() < 0.03 else ""
    if isinstance(node, dict):
        parts = [f"{_scalar(key, odd)}: {_flow(value, dice, odd)}" for key, value in node.items()]
        if odd and dice.random() < 0.1:
            parts.append(dice.choice(("<<: *a", "<<: [*a, *a]", "<<: {x: 1}", "<<: x", "? [x] : y")))
        if odd and parts and dice.random() < 0.05:
            parts.append(dice.choice(parts))
        return anchor + "{" + ",\n ".join(parts) + "}"
    if isinstance(node, list):
        return anchor + "[" + ", ".join(_flow(one, dice, odd) for one in node) + "]"
    return anchor + _scalar(node, odd)


def _scalar(value: Any, odd: bool) -> str:
    if isinstance(value, Raw) and (odd or _NUMBER.fullmatch(value)):
        return str(value)
    return json.dumps(value)


def json_text(tree: Any) -> str:
    """As JSON, where `Raw` is a number with any number of digits, or a text."""
    return re.sub(r'"\\u0000raw(-?[0-9.]+)"', r"\1", json.dumps(_plain(tree)))


def _plain(node: Any) -> Any:
    if isinstance(node, Raw):
        return f"\0raw{node}" if _NUMBER.fullmatch(node) else str(node)
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    return [_plain(one) for one in node] if isinstance(node, list) else node
