"""What a stored run may be judged by: differences in expectations alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.scenario.load import load
from lab.scenario.model import Scenario
from lab.scenario.same import same_but_expectations

TEXT = """lab: 1
summary: before
hosts: {client: {link: {delay: 5ms}}, third: {}}
steps:
  - {do: listen, at: server, port: 8001, as: srv}
  - {do: connect, at: client, to: "server:8001", as: c, id: con, expect: {elapsed: 1rtt}}
  - do: parallel
    steps:
      - {do: accept, at: server, on: srv, as: s}
      - {do: sendall, at: client, on: c, data: hello}
checks:
  - {check: handshake, from: client, to: "server:8001"}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    return made(tmp_path, TEXT)


def made(tmp_path: Path, text: str, name: str = "s.yml") -> Scenario:
    path = tmp_path / name
    path.write_text(text)
    return load(path)[0].scenario


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("elapsed: 1rtt", "error: ETIMEDOUT"),
        (", expect: {elapsed: 1rtt}", ""),
        ("data: hello}", "data: hello, expect: {elapsed: {max: 1s}}}"),
        ("summary: before", "summary: after"),
        ("lab: 1", "lab: 1\nname: other\ntags: [x]\nalone: true"),
        ("delay: 5ms", "delay: 5000us"),
        ('{check: handshake, from: client, to: "server:8001"}', "{check: bytes, from: client, to: server}"),
    ],
)
def test_the_same(scenario: Scenario, tmp_path: Path, old: str, new: str) -> None:
    assert old in TEXT
    assert same_but_expectations(scenario, made(tmp_path, TEXT.replace(old, new), "other.yml")) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("delay: 5ms", "delay: 6ms", "hosts.client.link.up.delay: 6ms here, 5ms in the stored scenario"),
        ("port: 8001", "port: 8002", "steps[0].port: 8002 here, 8001 in the stored scenario"),
        ("id: con", "id: conn", "steps[1].id: conn here, con in the stored scenario"),
        ("data: hello", "data: help", "steps[2].steps[1].data: 'help' here, 'hello' in the stored scenario"),
        ("do: listen", "do: bind", "steps[0].do: bind here, listen in the stored scenario"),
        (
            "checks:",
            "  - {do: sleep, for: 1s}\nchecks:",
            "steps[3]: sleep is not a step of the stored scenario",
        ),
        ("lab: 1", "lab: 1\ntimeout: 9s", "timeout: 9s here, nothing in the stored scenario"),
        ("lab: 1", "lab: 1\narp: dynamic", "arp: dynamic here, static in the stored scenario"),
        ("third: {}", "fourth: {}", "hosts.fourth: not a host of the stored scenario"),
        (
            "handshake, from: client",
            "handshake, from: third",
            "checks[0]: host third took no part in the stored run",
        ),
    ],
)
def test_not_the_same(scenario: Scenario, tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TEXT
    found = same_but_expectations(scenario, made(tmp_path, TEXT.replace(old, new, 1)))
    assert any(line.endswith(said) for line in found), found


def test_a_step_that_is_gone(scenario: Scenario, tmp_path: Path) -> None:
    text = TEXT.replace("      - {do: sendall, at: client, on: c, data: hello}\n", "")
    found = same_but_expectations(scenario, made(tmp_path, text))
    assert found == ["steps[2].steps[1]: sendall is a step of the stored scenario, not of this one"]
