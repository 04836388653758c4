"""From inside a host: every way past the wire, at the agent, and beyond a limit, and what comes of it."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import yaml

from lab.engine.base import LABEL_RUN, ContainerSpec, NetworkSpec
from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from lab.engine.subnets import free_subnets
from lab.evidence.model import RunRecord
from lab.evidence.packets import ROW
from lab.evidence.store import Evidence, load_evidence
from lab.host import HOST_CAPABILITIES, CallSpec, Host, Programs
from lab.result import Result
from lab.units import Duration
from lab.verdict import Verdict
from tests.lab.agent_pair import no_programs
from tests.lab.commands import lab, results

pytestmark = pytest.mark.docker

SCRIPT = Path(__file__).with_name("escape.py").read_text(encoding="utf-8")
PORT = 7999
Step = Mapping[str, object]
#: A packet each way, so that both hosts have a capture.
TALK: list[Step] = [
    {"do": "bind", "at": "server", "kind": "udp", "port": 9, "as": "u"},
    {"do": "socket", "at": "client", "kind": "udp", "as": "c"},
    {"do": "sendto", "at": "client", "on": "c", "to": "server:9", "data": "by the wire"},
    {"do": "recvfrom", "at": "server", "on": "u", "size": 99, "timeout": "5s"},
]


class Machine:
    """The engine's machine: its addresses, and services at them that nobody of a lab may reach."""

    def __init__(self) -> None:
        listing = subprocess.run(["ip", "-j", "addr"], capture_output=True, check=True).stdout
        found = [info["local"] for link in json.loads(listing) for info in link["addr_info"]]
        self.addresses = [a for a in found if ":" not in a and not a.startswith("127.")]
        self.link_local = next((a for a in found if a.startswith("fe80:")), "fe80::1")
        self.udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.tcp = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        for sock in (self.udp, self.tcp):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(("::", PORT))
        self.tcp.listen()

    def reached(self) -> bool:
        return bool(select.select([self.udp, self.tcp], [], [], 0)[0])

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.sendto(b"heard", (machine.addresses[0], PORT))
    assert machine.reached()  # it would be, were there a way
    machine.udp.recv(99)
    yield machine
    machine.close()


@pytest.fixture
def other_lab(engine: DockerEngine, images: Images) -> Iterator[tuple[str, Host]]:
    """The address and the agent of a host that belongs to somebody else, with a socket at the port."""
    name = f"other-lab-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        subnet = next(iter(free_subnets(IPv4Network("198.18.128.0/17"), engine.networks())))
        network = engine.create_network(NetworkSpec(name, subnet, {LABEL_RUN: name}))
        stack.callback(engine.remove_network, network)
        address = subnet.network_address + 10
        spec = ContainerSpec(
            name,
            images.host.tag,
            {LABEL_RUN: name},
            network=network,
            address=address,
            mac="02:c6:00:00:00:0a",
            capabilities=HOST_CAPABILITIES,
        )
        container = engine.create(spec)
        stack.callback(engine.remove, container)
        host = stack.enter_context(Host(engine.attach(container), "other", Programs("other", no_programs)))
        engine.start(container)
        host.wait_ready()
        bind = CallSpec("b", "bind", {"as": "u", "kind": "udp", "port": PORT, "address": "0.0.0.0"})
        assert host.call(bind).result(10).error is None
        yield str(address), host


def run(
    folder: Path, steps: list[Step], hosts: Mapping[str, object] | None = None
) -> tuple[Result, Evidence]:
    """A scenario of these steps, as a user runs it."""
    file = folder / "hostile.yml"
    content = {"lab": 1, **({"hosts": dict(hosts)} if hosts else {}), "steps": [dict(step) for step in steps]}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    done = lab("run", "-q", file, "--out", folder / "runs")
    assert done.exit_code != 2, done.stdout + done.stderr
    ((result, where),) = results(folder / "runs").values()
    return result, load_evidence(where)


def program(what: str, **more: object) -> Step:
    """The script as a step."""
    return {"do": "run", "at": "client", "command": ["python3", "-", json.dumps({"what": what, **more})]} | {
        "stdin": SCRIPT,
        "timeout": "40s",
        "id": "hostile",
    }


def outcomes(evidence: Evidence) -> dict[str, str]:
    (record,) = [record for record in evidence.records.runs if record.step == "hostile"]
    assert record.error is None, record
    assert record.exit_code == 0, record.stderr
    found: dict[str, str] = json.loads(record.stdout)
    return found


def straight(evidence: Evidence, source: str, target: str) -> int:
    """Frames in the capture of `target` with the MAC of `source`, ARP too: none came by the wire."""
    mac = bytes.fromhex(evidence.records.hosts[source].mac.replace(":", ""))
    rows = evidence.captures[target].rows
    return sum(bytes(rows[at + 8 : at + 14]) == mac for at in range(0, len(rows), ROW))


def nothing_reached(other: Host) -> None:
    look = CallSpec("r", "recvfrom", {"on": "u", "size": 99}, timeout=Duration.parse("10ms"))
    error = other.call(look).result(10).error
    assert error is not None
    assert error.name == "timeout"


def assert_held(found: Mapping[str, str]) -> None:
    """Every way that the kernel is to refuse was tried, and was refused."""
    forbidden = ("route", "neighbour", "raw", "spoofed", "IPv6", "tcp", "DNS", "a filter")
    held = {name: text for name, text in found.items() if name.startswith(forbidden)}
    assert len(held) > 20
    assert {name for name, text in held.items() if not text.startswith("refused")} == set()


def test_no_way_out_of_a_host(tmp_path: Path, machine: Machine, other_lab: tuple[str, Host]) -> None:
    address, other = other_lab
    asked = {"machine": machine.addresses, "other_lab": address, "link_local": machine.link_local}
    result, evidence = run(tmp_path, [*TALK, program("out", **asked)])
    found = outcomes(evidence)
    assert result.verdict is Verdict.PASS, result.reason
    assert not machine.reached()
    nothing_reached(other)
    assert straight(evidence, "client", "server") == 0
    assert_held(found)
    # The kernel takes these, and the filter behind it drops them: neither of the lab nor of others.
    assert any(text.startswith("done") for name, text in found.items() if name.startswith("broadcast"))


def test_no_way_out_of_a_service(tmp_path: Path, machine: Machine, other_lab: tuple[str, Host]) -> None:
    address, other = other_lab
    asked = {"machine": machine.addresses, "other_lab": address, "link_local": machine.link_local}
    script = f"{SCRIPT}\nimport time\nprint('all is said', flush=True)\ntime.sleep(60)\n"
    service = {
        "command": ["python3", "-u", "-c", script, json.dumps({"what": "out", **asked})],
        "ready": {"log": "/all is said/"},
    }
    result, evidence = run(tmp_path, TALK, {"client": {"service": service}, "server": {}})
    assert result.verdict is Verdict.PASS, result.reason
    said = "".join(line.text for line in evidence.records.logs if line.host == "client")
    found: dict[str, str] = json.loads(said.partition("all is said")[0])
    assert not machine.reached()
    nothing_reached(other)
    assert straight(evidence, "client", "server") == 0
    assert_held(found)


@pytest.mark.parametrize("targets", ["peer", "machine"])
def test_around_the_wire_with_net_admin_is_an_error(tmp_path: Path, machine: Machine, targets: str) -> None:
    step = program("admin", machine=machine.addresses if targets == "machine" else [])
    result, evidence = run(tmp_path, [*TALK, {**step, "capabilities": ["NET_ADMIN"]}])
    assert outcomes(evidence)["filter"].startswith("done")
    assert result.verdict is Verdict.ERROR
    assert "went around the wire" in result.reason
    assert "client" in result.reason


@pytest.mark.parametrize("bypass", [False, True])
def test_a_raw_frame_past_the_wire_is_held_or_an_error(tmp_path: Path, bypass: bool) -> None:
    """The filter holds what a packet socket sends, unless it asks to be let past: then the captures tell."""
    step = {**program("raw", bypass=bypass), "capabilities": ["NET_RAW"]}
    result, evidence = run(tmp_path, [*TALK, step, {"do": "sleep", "for": "50ms"}])
    taken = outcomes(evidence)["raw frame"]
    assert straight(evidence, "client", "server") == int(bypass)
    if bypass:
        assert result.verdict is Verdict.ERROR
        assert "went around the wire: came to server from client itself" in result.reason
    else:
        assert taken.startswith(("done", "refused: [Errno 105]"))  # dropped; ENOBUFS where the kernel says so
        assert result.verdict is Verdict.PASS, result.reason


def test_the_agent_is_not_to_be_touched(tmp_path: Path) -> None:
    result, evidence = run(tmp_path, [program("agent"), *TALK])
    found = outcomes(evidence)
    assert result.verdict is Verdict.PASS, result.reason
    assert found.pop("code of the agent").startswith("done")  # the container's own copy
    assert {name for name, text in found.items() if not text.startswith("refused")} == set()
    assert len(evidence.captures["client"]) > 0


FORKS = """
import os, time
for _ in range(3000):
    try:
        if os.fork() == 0:
            time.sleep(5)
            os._exit(0)
    except OSError:
        pass
"""
DISK = """
for number in range(10):
    with open(f"/var/tmp/{number}", "wb") as file:
        for _ in range(50):
            file.write(bytes(1_000_000))
import time
time.sleep(5)
"""
HOSTILE = [
    ("pids", ["python3", "-c", FORKS], "512 processes"),
    ("memory", ["python3", "-c", "bytearray(2 << 30)"], "512MB of memory"),
    ("file_size", ["head", "-c", "500000000", "/dev/zero"], "256MB a file"),
    ("disk", ["python3", "-c", DISK], "300MB of disk"),
    ("logs", ["head", "-c", "700000000", "/dev/zero"], "64MB of output"),
]


@pytest.mark.parametrize(("limit", "command", "said"), HOSTILE, ids=[name for name, _, _ in HOSTILE])
def test_what_a_program_takes_is_bounded_and_told_by_name(
    tmp_path: Path, limit: str, command: list[str], said: str
) -> None:
    if limit == "file_size":
        command = ["sh", "-c", f"{' '.join(command)} > /var/tmp/large"]
    steps: list[Step] = [{"do": "run", "at": "client", "command": command, "timeout": "30s"}]
    result, evidence = run(tmp_path, [*TALK, *steps])
    assert result.verdict is Verdict.FAIL, result.reason
    assert f"client reached its limit of {said} (limits.{limit} in lab.yml)" in result.reason
    record: RunRecord = evidence.records.runs[-1]
    assert len(record.stdout) < (1 << 20) + 100
    assert {call.step for call in evidence.records.calls if call.error is not None} == set()


def test_a_program_that_ends_its_own_agent_forges_nothing(tmp_path: Path) -> None:
    script = "import os, resource; resource.prlimit(1, resource.RLIMIT_CPU, (0, 0)); os.kill(1, 15)"
    steps: list[Step] = [
        {"do": "run", "at": "client", "command": ["python3", "-c", script], "expect": {"exit": 0}}
    ]
    result, _ = run(tmp_path, [*TALK, *steps])
    assert result.verdict is Verdict.ERROR
    assert "programs of client" in result.reason
