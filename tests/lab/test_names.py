"""Names of hosts, as a program on a host sees them: at once, in every state of the host that is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.verdict import Verdict
from tests.lab.commands import lab, results

pytestmark = pytest.mark.docker

_LOOK_UP = """\
import socket, sys, time
for name in sys.argv[1:]:
    begun = time.monotonic()
    try:
        found = socket.getaddrinfo(name, 80, socket.AF_INET, socket.SOCK_STREAM)[0][4][0].split(".")[-1]
    except socket.gaierror as error:
        found = "unknown" if error.errno == socket.EAI_NONAME else str(error)
    print(name, found, "at once" if time.monotonic() - begun < 0.1 else time.monotonic() - begun)
"""

_SAID = "\n".join(f"{name} at once" for name in ("client 10", "server 11", "third 12", "nobody unknown"))
_SCENARIO = """\
lab: 1
topology: three.yml
steps:
  - {{do: run, at: client, command: [python3, -c, &look {program}, client, server, third, nobody],
     expect: {{stdout: &said {said}}}}}
  - {{do: power, at: server, state: "off"}}
  - {{do: run, at: client, command: [python3, -c, *look, client, server, third, nobody],
     expect: {{stdout: *said}}}}
  - {{do: power, at: server, state: "on"}}
  - {{do: run, at: server, command: [python3, -c, *look, client, server, third, nobody],
     expect: {{stdout: *said}}}}
  - {{do: run, at: third, command: ["true"]}}
"""


def test_every_host_has_its_name_in_every_state_and_nobody_else_has_one(tmp_path: Path) -> None:
    (tmp_path / "three.yml").write_text("services: {client: {}, server: {}, third: {}}\n")
    scenario = tmp_path / "names.yml"
    scenario.write_text(_SCENARIO.format(program=json.dumps(_LOOK_UP), said=json.dumps(_SAID)))
    ended = lab("run", scenario, "--out", tmp_path / "out")
    assert ended.exit_code == 0, ended.stdout + ended.stderr
    result, _ = results(tmp_path / "out")["names"]
    assert result.verdict is Verdict.PASS, ended.stdout + ended.stderr
