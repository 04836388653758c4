"""The wire of a Compose file: a router with every link as it is before the scenario's first step."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

from lab.attachment import NETWORK, WIRE, Attachment, attach_all, attach_wire
from lab.scenario.model import Scenario, apart
from lab.wire import router, tc
from lab.wire.container import CAPABILITIES, SYSCTLS, TMPFS
from lab.wire.router import WireSetup

SUBNET = IPv4Network("198.19.255.0/24")  #: of a Compose file's hosts: the last in the lab's own pool
READY = {"interval": "1s", "timeout": "5s", "retries": 60}  #: the healthcheck of the wire and of each host
_DEVICE = "eth0"  #: the one interface of a container on one network, and of user-mode Linux
_LINES = "/etc/lab/wire.lines"
_ENTRY = "/usr/local/lib/lab/entrypoint.sh"
#: Passes the lines on once the wire's kernel is up, and records when they are done.
_START = f"""\
mkdir -p /run/lab && mkfifo /run/lab/in && exec 3<>/run/lab/in
sh {_ENTRY} auto <&3 | while read -r line; do
  echo "$line"
  case $line in
  "wire ready"*) cat {_LINES} >&3 ;;
  "wire is set up") echo "out awake" >&3; touch /run/lab/up ;;
  "wire is not set up") exit 1 ;;
  esac
done
"""


def places_of(scenario: Scenario) -> dict[str, Attachment]:
    """The attachment of each host that the scenario uses."""
    return attach_all(SUBNET, {name: scenario.hosts[name].link for name in scenario.used_hosts})


def wire_service(
    scenario: Scenario, places: Mapping[str, Attachment], image: str
) -> tuple[dict[str, Any], str]:
    """The wire as a Compose service of an image, and the text of its config `wire`."""
    here = attach_wire(SUBNET)
    service = {
        "image": image,
        "entrypoint": ["/bin/sh", "-c", _START],
        "networks": {NETWORK: {"ipv4_address": str(here.address)}},
        "mac_address": here.mac,
        "cap_drop": ["ALL"],
        "cap_add": list(CAPABILITIES),
        "sysctls": dict(SYSCTLS),
        "tmpfs": [f"{path}:{options}" for path, options in TMPFS.items()],
        "configs": [{"source": WIRE, "target": _LINES}],
        "healthcheck": {"test": ["CMD", "test", "-e", "/run/lab/up"], **READY},
    }
    hosts = {name: scenario.hosts[name] for name in scenario.used_hosts}
    return service, _lines(WireSetup(here, places, apart=apart(hosts)))


def _lines(setup: WireSetup) -> str:
    """One line for the shell of the wire that runs its tools one after another."""
    ports = setup.ports()
    ip = router.set_up_lines(_DEVICE, setup, ports)
    traffic = tc.set_up_lines(_DEVICE, {port: setup.hosts[port.host].link for port in ports})
    for a, b in setup.apart:
        one, other = setup.hosts[a].address, setup.hosts[b].address
        ip += [f"rule add from {one} to {other} blackhole", f"rule add from {other} to {one} blackhole"]
    routes = router.mtu_routes(setup, {name: at.link for name, at in setup.hosts.items()})
    ip += router.mtu_lines(routes, _DEVICE, set())
    batches = (("ip", ip), ("tc", traffic))
    made = " && ".join(f"printf '%s\\n' {shlex.join(lines)} | {tool} -batch -" for tool, lines in batches)
    return f"sh if {made}; then echo wire is set up; else echo wire is not set up; fi\n"


def host_keys(scenario: Scenario, name: str, places: Mapping[str, Attachment]) -> dict[str, Any]:
    """The keys that make a host send everything through the wire, and resolve the others' names."""
    own, here = places[name], attach_wire(SUBNET)
    device = f"$(ip -o -4 addr show to {own.address} | awk '{{print $2}}')"
    lines = [
        f"dev={device}",
        "while ip route del default 2>/dev/null; do :; done",
        'ethtool -K "$dev" tso off gso off gro off tx off',
        f'ip route replace {here.address}/32 dev "$dev" scope link src {own.address}',
        f'ip route replace {SUBNET} via {here.address} dev "$dev" src {own.address}',
        f'ip neigh replace {here.address} lladdr {here.mac} dev "$dev" nud permanent',
        "touch /run/joined",
    ]
    known = {alias: places[host].address for alias, host in scenario.names_at(name).items() if host in places}
    return {
        "networks": {NETWORK: {"ipv4_address": str(own.address)}},
        "mac_address": own.mac,
        "dns": ["127.0.0.1"],
        "extra_hosts": {alias: str(address) for alias, address in known.items()},
        "init": True,
        "command": ["/bin/sh", "-c", "set -e\n" + "\n".join(lines) + "\nexec sleep infinity\n"],
        "healthcheck": {"test": ["CMD", "test", "-e", "/run/joined"], **READY},
        "depends_on": {WIRE: {"condition": "service_healthy"}},
    }
