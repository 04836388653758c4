"""Run by `lab.patterns` as a process of its own: questions from stdin, answers as lines to stdout."""

from __future__ import annotations

import json
import re
import resource
import sys
from typing import Any


def answer(pattern: str, text: str) -> list[Any]:
    found = re.search(pattern, text, re.MULTILINE)
    return [None if found is None else [found.group(), *found.groups()]]


def main() -> None:
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while head := sys.stdin.buffer.read(8):
        question = json.loads(sys.stdin.buffer.read(int.from_bytes(head, "big")))
        sys.stdout.write(json.dumps(answer(*question)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
