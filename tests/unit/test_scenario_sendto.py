"""sendto makes the socket that it needs, and still notices a name that was probably meant otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.scenario.load import load

SCENARIO = """
lab: 1
steps:
  - {{do: bind, at: server, port: 8001, kind: udp, as: mailbox}}
  - {{do: sendto, at: client, on: sender, to: "server:8001", data: x}}
  - {{do: {do}, at: client, on: {on}, {rest}}}
checks:
  - {{check: packets, match: data, count: 1}}
"""


def loaded(tmp_path: Path, do: str, on: str, rest: str) -> int:
    path = tmp_path / "sendto.yml"
    path.write_text(SCENARIO.format(do=do, on=on, rest=rest), encoding="utf-8")
    return len(load(path, params=None))


def test_sendto_makes_a_socket_for_later_calls(tmp_path: Path) -> None:
    assert loaded(tmp_path, "recvfrom", "sender", "size: 10") == 1


def test_no_other_call_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no socket 'letter' at client, process main before this step"):
        loaded(tmp_path, "recvfrom", "letter", "size: 10")


def test_a_name_close_to_one_that_is_there_is_a_slip(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'sender'"):
        loaded(tmp_path, "sendto", "sendr", 'to: "server:8001", data: x')
