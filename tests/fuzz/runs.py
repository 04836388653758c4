"""Run folders as they come by mail: judged again, drawn in every form, merged."""

from __future__ import annotations

import io
import json
import random
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lab.cli import _run
from tests.fuzz.harness import Files, Target, taken
from tests.fuzz.trees import TEXTS, json_text, mutated, spots, yaml_text
from tests.fuzz.visible import harmless

RUNS = Path(__file__).parents[1] / "data" / "runs"


@cache
def stored() -> list[tuple[dict[str, bytes], list[Any], Any, Any]]:
    """The files of each run, its lines of events, its result and its scenario."""
    found = []
    for folder in sorted(RUNS.iterdir()):
        files = taken(folder)
        events = [json.loads(line) for line in files["events.jsonl"].splitlines()]
        result = json.loads(files["result.json"])
        found.append((files, events, result, yaml.safe_load(files["scenario.yml"])))
    return found


def make(dice: random.Random) -> Files:
    files, events, result, scenario = dice.choice(stored())
    files = dict(files)
    roll = dice.random()
    if roll < 0.55:
        files["events.jsonl"] = _lines(_events(events, dice))
    if 0.45 < roll < 0.75:
        files["result.json"] = json_text(mutated(result, dice, [events])).encode("utf-8", "surrogatepass")
    if 0.7 < roll < 0.85:
        text = yaml_text(mutated(scenario, dice, [one[3] for one in stored()]), dice)
        files["scenario.yml"] = text.encode("utf-8", "surrogatepass")
    if roll > 0.8 or dice.random() < 0.2:
        name = dice.choice([name for name in files if name.endswith(".pcapng")])
        files[name] = _bytes(files[name], dice)
    if dice.random() < 0.05:
        name = dice.choice(list(files))
        files[name] = _bytes(files[name], dice)
    return files


def _events(events: list[Any], dice: random.Random) -> list[Any]:
    """Some of the lines changed, more often of kinds that there are few of."""
    kinds: dict[str, list[int]] = {}
    for number, event in enumerate(events):
        kinds.setdefault(event["kind"], []).append(number)
    changed = list(events)
    for _ in range(dice.choice((1, 1, 2, 4))):
        number = dice.choice(kinds[dice.choice(list(kinds))])
        roll = dice.random()
        if roll < 0.2:
            changed[number] = mutated(changed[number], dice, events)
        elif roll < 0.8:  # one value replaced: most mutations at random do not pass the model
            changed[number] = _one_value(changed[number], dice)
        elif roll < 0.87:
            changed[number] = None
        elif roll < 0.94:
            changed[number] = dice.choice(events)
        else:
            changed.insert(number, dice.choice(events))
    if dice.random() < 0.05:
        rest = changed[1:]
        dice.shuffle(rest)
        changed = [changed[0], *rest]
    return [event for event in changed if event is not None]


def _one_value(event: Any, dice: random.Random) -> Any:
    """Another value of the same type, so that it gets past the model to what works with it."""
    event = json.loads(json.dumps(event))
    places = [(holder, key) for holder, key in spots(event) if isinstance(holder[key], int | str | list)]
    if not places:
        return event
    holder, key = dice.choice(places)
    old = holder[key]
    if isinstance(old, bool):
        holder[key] = not old
    elif isinstance(old, int):
        holder[key] = dice.choice((0, 1, -1, -(2**63), 2**63, 2**64, old + 1, old * 10**6, 10**30, 10**400))
    elif isinstance(old, str):
        holder[key] = dice.choice((*TEXTS, old + dice.choice(TEXTS), old[1:]))
    else:
        holder[key] = dice.choice(([], old * 2, old[:1], old[::-1]))
    return event


def _lines(events: list[Any]) -> bytes:
    return "".join(json_text(event) + "\n" for event in events).encode("utf-8", "surrogatepass")


def _bytes(content: bytes, dice: random.Random) -> bytes:
    whole = bytearray(content)
    for _ in range(dice.choice((1, 2, 8, 40))):
        at = dice.randrange(len(whole) + 1)
        put = dice.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\x80", dice.randbytes(2)))
        whole[at : at + len(put)] = put
    if dice.random() < 0.2:
        del whole[dice.randrange(len(whole)) :]
    return bytes(whole) * dice.choice((1, 1, 1, 2))


def feed(folder: Path) -> None:
    """Every command that reads a run folder; what they print and write is obeyed by nobody."""
    for arguments in (
        ["recheck", str(folder), "-v", "--color", "always"],
        ["report", str(folder), "-v"],
        ["report", str(folder), "--diagram", "--color", "always"],
        ["report", str(folder), "--mermaid"],
        ["report", str(folder), "--svg"],
        ["pcap", str(folder)],
    ):
        ask(arguments)
    if (folder / "report.html").is_file():
        for name in ("report.html", "junit.xml"):
            harmless((folder / name).read_text(encoding="utf-8"))


def ask(arguments: list[str]) -> None:
    """One command, as the shell starts it but for the process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        _run(["--debug", *arguments])
    if "lab: internal error" in err.getvalue():
        raise AssertionError(f"{arguments[0]}: {err.getvalue()}")
    harmless(out.getvalue(), colour="--color" in arguments)
    harmless(err.getvalue())
    for stream in (out, err):
        stream.truncate(0)  # click never forgets a stream that it has written to


RUN = Target(make, feed)
