"""The agent's side of its channel: a request that is none is refused or ends it; no other one is hurt by it.

The agent runs as it does in its image, on this machine, but in a network namespace of its own where that is
allowed. Nothing is asked of it that would touch the machine's interfaces or files.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tests.fuzz.channel import NOISE
from tests.fuzz.harness import Files, Target
from tests.fuzz.trees import json_text, mutated

IMAGE = Path(__file__).parents[2] / "images" / "host"
AGENT = [sys.executable, "-S", "-E", "-m", "lab_agent"]
ALONE = ["unshare", "--net"] if os.geteuid() == 0 else []  #: a network of its own
PATIENCE = 10.0  #: seconds for an answer, or for the end
#: Requests as the lab sends them. Those that change the machine or write a file are not among them.
GOOD: list[dict[str, Any]] = [
    {"op": "counters"},
    {"op": "sysctls", "names": ["net.ipv4.tcp_sack", "../../etc/passwd"]},
    {"op": "watch"},
    {"op": "states"},
    {"op": "final_states"},
    {"op": "streams"},
    {"op": "quiet"},
    {"op": "descriptors", "process": "main"},
    {"op": "cancel", "step": "s"},
    {"op": "limit", "open_files": 64},
    {"op": "wait_for", "kind": "tcp", "state": "LISTEN", "port": 1, "timeout_ns": 1000},
    {"op": "signal", "process": "main", "signal": "URG"},
]
CALLS: list[dict[str, Any]] = [
    {"call": "socket", "args": {"as": "c", "kind": "tcp"}},
    {"call": "socket", "args": {"as": "m", "kind": "udp", "count": 3}},
    {"call": "listen", "args": {"as": "srv", "port": 0, "address": "127.0.0.1"}},
    {"call": "bind", "args": {"as": "u", "kind": "udp", "port": 0, "address": "127.0.0.1"}},
    {"call": "connect", "args": {"as": "d", "to": ["127.0.0.1", 9]}},
    {
        "call": "sendto",
        "args": {"on": "u", "to": ["127.0.0.1", 9], "data": {"repeat": {"text": "a"}, "times": 3}},
    },
    {"call": "send", "args": {"on": "c", "data": {"random": 10, "seed": 1}}},
    {"call": "recv", "args": {"on": "u", "size": 10, "flags": ["MSG_PEEK"]}},
    {"call": "setsockopt", "args": {"on": "c", "level": 1, "number": 2, "raw": "01000000"}},
    {"call": "getsockopt", "args": {"on": "c", "level": 1, "number": 2, "size": 4}},
    {"call": "settimeout", "args": {"on": "c", "value": 1000}},
    {"call": "shutdown", "args": {"on": "c", "how": "write"}},
    {"call": "close", "args": {"on": "c"}},
]
CALL = {"op": "call", "step": "s", "process": "main", "timeout_ns": 1_000_000, "whole": False}


def make(dice: random.Random) -> Files:
    """Some lines; the request that is good at the end is answered, unless one before it ended the agent."""
    lines = []
    for number in range(1, dice.choice((10, 60, 150))):
        request = {**CALL, **dice.choice(CALLS)} if dice.random() < 0.7 else dict(dice.choice(GOOD))
        if dice.random() < 0.6:
            op = request["op"]
            request = mutated(request, dice, CALLS)
            if isinstance(request, dict) and request.get("op") != op:
                request["op"] = op if dice.random() < 0.9 else "nothing"
        if isinstance(request, dict):
            request.setdefault("id", number)
        lines.append(json_text(request))
    if dice.random() < 0.15:
        lines.insert(dice.randrange(len(lines)), dice.choice(NOISE))
    lines.append('{"id": 999, "op": "counters"}')
    return {"requests": "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n"}


def feed(folder: Path) -> None:
    """The last request is answered; or the agent ended with a word on what line it could not read."""
    agent = subprocess.Popen(
        [*ALONE, *AGENT], cwd=IMAGE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert agent.stdin is not None
    assert agent.stdout is not None
    assert agent.stderr is not None
    # As the lab does it: answers are read while requests are written, or both would wait for each other.
    writer = threading.Thread(target=_write, args=(agent.stdin, (folder / "requests").read_bytes()))
    writer.start()
    try:
        out = b""
        while b'"id":999,' not in out[: out.rfind(b"\n") + 1]:
            ready, _, _ = select.select([agent.stdout], [], [], PATIENCE)
            assert ready, f"no answer in {PATIENCE:g} s after {out[-300:]!r}"
            data = os.read(agent.stdout.fileno(), 1 << 16)
            if not data:
                break
            out += data
        answered = b'"id":999,' in out
        writer.join(PATIENCE)
        with suppress(BrokenPipeError):
            agent.stdin.close()
        said = agent.stderr.read().decode(errors="replace")
        status = agent.wait(PATIENCE)
        assert answered or "the lab sent" in said, said
        assert "Traceback" not in said, said
        assert status == 0 or not answered, f"exit {status}"
        for line in out.splitlines():
            assert isinstance(json.loads(line), dict)
    finally:
        agent.kill()
        agent.wait()
        writer.join()
        for pipe in (agent.stdin, agent.stdout, agent.stderr):
            if pipe is not None and not pipe.closed:
                pipe.close()


def _write(stdin: IO[bytes], requests: bytes) -> None:
    with suppress(BrokenPipeError):  # the agent has ended at a line that is no request
        stdin.write(requests)
        stdin.flush()


AGENT_SIDE = Target(make, feed)
