"""The lab's hosts seen from inside, by testinfra: routes, queues, sockets, offloads, capabilities."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import testinfra
from testinfra.host import Host

from lab.engine.base import LABEL_HOST, LABEL_ROLE, LABEL_RUN
from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from tests.lab.commands import lab, results

pytestmark = pytest.mark.docker

SCENARIO = """\
lab: 1
name: standing
hosts:
  client:
    link: {delay: 20ms}
    sysctls: {net.ipv4.tcp_syn_retries: 1}
steps:
  - {do: listen, at: server, port: 8001, backlog: 5, as: srv}
  - {do: connect, at: client, to: "server:8001", as: c}
"""
SETGID, SETUID, NET_ADMIN, NET_RAW = 6, 7, 12, 13  #: bits of a capability set, from linux/capability.h


@pytest.fixture(scope="module")
def hosts(
    engine: DockerEngine, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Host]]:
    """client, server and wire of a lab that stands after its steps."""
    folder = tmp_path_factory.mktemp("standing")
    (folder / "standing.yml").write_text(SCENARIO)
    done = lab("run", "-q", "--keep", folder / "standing.yml", "--out", folder / "runs")
    assert done.exit_code == 0, done.stdout + done.stderr
    result, _ = results(folder / "runs")["standing"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", engine.info().address)
        try:
            yield {
                c.labels.get(LABEL_HOST) or c.labels[LABEL_ROLE]: testinfra.get_host(f"docker://{c.id}")
                for c in engine.containers({LABEL_RUN: result.run})
            }
        finally:
            assert lab("down", result.run).exit_code == 0


@pytest.mark.parametrize("name", ["client", "server"])
def test_every_way_leads_through_the_wire(hosts: dict[str, Host], name: str) -> None:
    host = hosts[name]
    (address,) = host.interface("eth0").addresses
    subnet = address.rpartition(".")[0]
    routes = {route["dst"]: route for route in json.loads(host.check_output("ip -j -4 route show"))}
    assert set(routes) == {f"{subnet}.0/24", f"{subnet}.2"}
    assert routes[f"{subnet}.0/24"]["gateway"] == f"{subnet}.2"
    neighbours = json.loads(host.check_output("ip -j -4 neigh show nud permanent"))
    assert [entry["dst"] for entry in neighbours] == [f"{subnet}.2"]


@pytest.mark.parametrize("name", ["client", "server"])
def test_nothing_is_impaired_or_combined_on_a_host_itself(hosts: dict[str, Host], name: str) -> None:
    host = hosts[name]
    qdiscs = json.loads(host.check_output("tc -j qdisc show dev eth0"))
    assert {qdisc["kind"] for qdisc in qdiscs} == {"noqueue", "clsact"}  # the second has no queue either
    (guard,) = [
        line for line in host.check_output("tc filter show dev eth0 egress").splitlines() if "0x" in line
    ]
    assert "direct-action" in guard  # it passes or drops what leaves, at once
    features = host.check_output("ethtool -k eth0")
    for feature in ("tcp-segmentation-offload", "generic-segmentation-offload", "generic-receive-offload"):
        assert f"{feature}: off" in features
    assert "tx-checksumming: off" in features


def test_the_server_listens_and_the_client_does_not(hosts: dict[str, Host]) -> None:
    assert hosts["server"].socket("tcp://0.0.0.0:8001").is_listening
    assert not hosts["client"].socket("tcp://0.0.0.0:8001").is_listening
    assert hosts["client"].file("/proc/sys/net/ipv4/tcp_syn_retries").content_string == "1\n"


@pytest.mark.parametrize("name", ["client", "server", "wire"])
def test_no_more_capabilities_than_meant(hosts: dict[str, Host], name: str) -> None:
    status = hosts[name].file("/proc/1/status").content_string
    sets = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Cap"))
    wanted = 1 << NET_ADMIN | 1 << NET_RAW
    # What the host's agent became a user of its own with is still in the bounding set, and nothing is gained
    # from there: no_new_privs.
    bound = wanted if name == "wire" else wanted | 1 << SETUID | 1 << SETGID
    assert "NoNewPrivs:\t1" in status or name == "wire"
    assert {key: int(sets[key], 16) for key in ("CapPrm", "CapEff", "CapBnd")} == {
        "CapPrm": wanted,
        "CapEff": wanted,
        "CapBnd": bound,
    }


def test_the_delay_is_felt_and_names_are_known(hosts: dict[str, Host]) -> None:
    out = hosts["client"].check_output("ping -c 3 -i 0.2 server")
    assert "ttl=63" in out
    fastest = float(out.rsplit("= ", 1)[1].split("/")[0])
    assert fastest >= 40.0


def test_nothing_outside_is_reached(hosts: dict[str, Host]) -> None:
    client = hosts["client"]
    (address,) = client.interface("eth0").addresses
    machine = address.rpartition(".")[0] + ".1"
    assert client.run(f"ping -c 1 -W 1 {machine}").rc != 0
    assert client.run("ping -c 1 -W 1 192.0.2.1").rc != 0
    assert client.run("getent hosts example.org").rc != 0
