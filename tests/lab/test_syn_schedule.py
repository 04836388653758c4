"""The kernel's schedule of SYNs, as computed from its settings and as it really is, for each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.engine.images import Images
from lab.verdict import Verdict
from tests.lab.commands import lab, results

LINEAR = Path("/proc/sys/net/ipv4/tcp_syn_linear_timeouts")

SCENARIO = """
lab: 1
name: schedule
params:
  retries: [1, 2, 3]
  linear: [0, 4]
hosts:
  client:
    sysctls:
      net.ipv4.tcp_syn_retries: "${retries}"
      net.ipv4.tcp_syn_linear_timeouts: "${linear}"
steps:
  - {do: cut, host: server}
  - {do: connect, at: client, to: "server:8001", as: c, expect: {error: ETIMEDOUT}}
checks:
  - {check: schedule, from: client, to: "server:8001", match: syn, gaps: kernel}
"""

#: By ip-sysctl: SYNs sent for retries 1, 2 and 3, without and with linear time-outs.
SYNS = {(1, 0): 2, (2, 0): 3, (3, 0): 4, (1, 4): 3, (2, 4): 6, (3, 4): 8}


@pytest.mark.docker
@pytest.mark.skipif(not LINEAR.exists(), reason="this kernel has no tcp_syn_linear_timeouts (Linux 6.5)")
def test_the_schedule_is_the_kernels(images: Images, tmp_path: Path) -> None:
    file = tmp_path / "schedule.yml"
    file.write_text(SCENARIO, encoding="utf-8")
    ended = lab("run", file, "-j", "3", "--out", tmp_path / "runs")
    assert ended.exit_code == 0, ended.stdout + ended.stderr
    found = results(tmp_path / "runs")
    assert len(found) == len(SYNS)
    for (retries, linear), syns in SYNS.items():
        result, _ = found[f"schedule[retries={retries},linear={linear}]"]
        assert result.verdict is Verdict.PASS
        schedule = next(f for f in result.findings if f.name == "schedule")
        assert len(schedule.actual.split(",")) == syns - 1, schedule.actual
