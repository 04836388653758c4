"""The rows of the article against the scenarios: each row is proven, and each file is well kept."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from lab.policy import Policy
from lab.scenario.load import load
from lab.site import load_site

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
DOCS = SCENARIOS.parent / "docs"

#: What the article says, row by row; a scenario claims a row with the tag `seed-N`.
ROWS = {
    1: "a socket is an endpoint: open, read/write, close, like a file",
    2: "a port cannot be held by two processes at once",
    3: "the client program: create, connect, send, receive, until done, close",
    4: "the server program: bind, listen, accept, settimeout, recv, print, reply OK",
    5: "only TCP has connections; UDP, ICMP and ARP have none",
    6: "sendall() sends everything or raises, send() returns the count",
    7: "recv(n) blocks, returns at most n, the rest waits",
    8: "recv may time out; connect may fail",
    9: "listen(5) sets how many may wait, first come first served",
    10: "the handshake, and when connect and accept return",
    11: "the close: FIN, ACK, FIN, ACK",
    12: "one picture says more than a thousand words",
    13: "a sequential server is weak: fork, or a thread for each",
}

#: What the project promised to show beside the five first scenarios, and the file that shows it.
PROMISED = {
    "echo": "servers/echo",
    "handshake at three distances": "connect/handshake-times",
    "lost SYN": "connect/lost-syn",
    "lost SYN-ACK": "connect/lost-syn-ack",
    "lost third ACK": "connect/lost-third-ack",
    "refused": "connect/refused",
    "unreachable": "connect/unreachable",
    "unreachable, as a router says it": "connect/host-unreachable",
    "connect timeout and its schedule": "connect/syn-schedule",
    "recv, send and accept timeouts": "timeouts/recv-send-accept",
    "non-blocking calls": "timeouts/non-blocking",
    "truncated recv": "truncated-recv",
    "coalesced sends": "data/coalesced-sends",
    "message framing": "data/framing",
    "truncated datagram": "udp/truncated-datagram",
    "send against sendall": "data/send-and-sendall",
    "slow reader": "data/slow-reader",
    "paused reader, zero window": "data/zero-window",
    "close in 4 segments": "orderly-close",
    "close in 3 segments": "close/three-segments",
    "half close by the client": "close/half-close",
    "half close by the server": "close/half-close-server",
    "simultaneous close": "close/simultaneous",
    "close with unread data": "close/unread-data",
    "linger 0": "close/linger-zero",
    "send after the peer closed": "close/send-after-close",
    "shutdown for reading": "close/shutdown-read",
    "TIME_WAIT": "close/time-wait",
    "port in use": "sockets/port-in-use",
    "SO_REUSEADDR": "sockets/reuse-address",
    "SO_REUSEPORT": "sockets/reuse-port",
    "backlog 0": "queue/backlog-0",
    "backlog 1": "queue/backlog-1",
    "backlog 5": "queue/backlog-5",
    "overflow": "queue/overflow-recovers",
    "first come first served": "queue/first-come-first-served",
    "sequential server": "servers/sequential-starves",
    "thread, fork, event loop": "servers/concurrent",
    "process killed": "failure/process-killed",
    "process killed with unread data": "failure/process-killed-unread",
    "host loses power and comes back": "failure/power-loss",
    "partition heals": "failure/partition-heals",
    "partition stays: TCP_USER_TIMEOUT": "failure/user-timeout",
    "partition stays: keepalive": "failure/keepalive",
    "back-off": "failure/back-off",
    "fast retransmit": "failure/fast-retransmit",
    "Nagle": "data/nagle",
    "delayed ACK": "data/delayed-ack",
    "TCP_NODELAY": "data/nodelay",
    "loss sweep": "link/loss-sweep",
    "jitter and reordering": "link/jitter",
    "duplicate": "link/duplicate",
    "corrupt": "link/corrupt",
    "asymmetric links": "link/asymmetric",
    "rate limit and queueing delay": "link/rate",
    "small MTU": "link/small-mtu",
    "UDP loss": "udp/loss-is-silent",
    "UDP order": "udp/order",
    "UDP port unreachable": "udp/port-unreachable",
    "largest datagram": "udp/largest-datagram",
    "ping": "network/ping",
    "ARP": "network/arp",
    "descriptors run out": "sockets/descriptors",
    "two clients, three hosts": "servers/two-clients",
}


#: Every scenario file, as its path under scenarios/ without .yml.
NAMES = [p.relative_to(SCENARIOS).with_suffix("").as_posix() for p in sorted(SCENARIOS.rglob("*.yml"))]


@functools.cache
def claimed() -> dict[str, set[int]]:
    """The rows that each scenario claims."""
    texts = {name: (SCENARIOS / f"{name}.yml").read_text(encoding="utf-8") for name in NAMES}
    return {name: {int(n) for n in re.findall(r"\bseed-(\d+)\b", text)} for name, text in texts.items()}


@functools.cache
def policy() -> Policy:
    return load_site(SCENARIOS.parent / "lab.yml").policy


def test_there_are_scenarios() -> None:
    assert len(NAMES) >= len(PROMISED)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_article_has_a_scenario(row: int) -> None:
    claims = [name for name, rows in claimed().items() if row in rows]
    assert claims, f"no scenario has the tag seed-{row}: {ROWS[row]}"


def test_every_promise_has_its_file() -> None:
    assert {promise: name for promise, name in PROMISED.items() if name not in NAMES} == {}


@pytest.mark.parametrize("name", NAMES)
def test_scenario_is_valid_and_teaches(name: str) -> None:
    """It loads, it checks something, it claims rows that exist, and its head says what it teaches and why it
    cannot pass by luck."""
    path = SCENARIOS / f"{name}.yml"
    text = path.read_text(encoding="utf-8")
    head = text.partition("\nlab: 1\n")[0]
    paragraphs = [p for p in re.split(r"\n#\n", head) if not p.startswith("# yaml-language-server")]
    applied = name.startswith("apps/")  # about programs that everybody uses: no row of the article
    assert len(paragraphs) == 2 or (applied and len(paragraphs) == 3), (
        "the head is: what it teaches, an empty line, No luck: why"
    )
    assert paragraphs[0].count(". ") + paragraphs[0].count(".\n") + 1 >= 3, (
        "what it teaches, in three sentences"
    )
    assert paragraphs[-1].startswith("# No luck: ")
    assert max(map(len, text.splitlines())) <= 125

    cases = load(path, policy=policy())
    assert cases
    for case in cases:
        assert case.scenario.summary
        assert case.scenario.checks, "a scenario without checks proves nothing"
        rows = [int(tag[5:]) for tag in case.scenario.tags if tag.startswith("seed-")]
        assert rows or applied
        assert set(rows) <= set(ROWS)


def test_the_map_of_the_article_names_every_scenario() -> None:
    """docs/seed.md names each scenario in the rows that it claims, and in no other."""
    listed: dict[str, set[int]] = {name: set() for name in NAMES}
    for line in (DOCS / "seed.md").read_text(encoding="utf-8").splitlines():
        if row := re.match(r"\| (\d+) \|", line):
            for name in re.findall(r"\]\(\.\./scenarios/([^)]+)\.yml\)", line):
                listed.setdefault(name, set()).add(int(row[1]))
    assert listed == claimed()
