"""Two hosts with their agents and a plain router between them where the wire would be."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network

from lab.attachment import attach_all, attach_wire
from lab.engine.base import LABEL_RUN, ContainerSpec, Engine, NetworkSpec
from lab.errors import SubnetTaken
from lab.host import HOST_CAPABILITIES, Host, HostReadback, HostSetup, Identity, Programs
from lab.host.programs import Started
from lab.link import PLAIN


@dataclass
class Pair:
    """A running pair; `ids` are the containers by name."""

    client: Host
    server: Host
    ids: dict[str, str]
    setups: dict[str, HostSetup]
    facts: dict[str, HostReadback]


def no_programs(identity: Identity) -> Started:
    """Where a host's programs would be started."""
    raise AssertionError(f"a program was asked for, {identity}")


def _network(engine: Engine, stack: ExitStack, labels: dict[str, str], name: str) -> tuple[str, IPv4Network]:
    for number in range(200, 250):
        subnet = IPv4Network(f"198.18.{number}.0/24")
        try:
            network = engine.create_network(NetworkSpec(name, subnet, labels))
        except SubnetTaken:
            continue
        stack.callback(engine.remove_network, network)
        return network, subnet
    raise AssertionError("no free subnet")


@contextmanager
def agent_pair(engine: Engine, image: str, *, open_files: int | None = None) -> Iterator[Pair]:
    """client .10 and server .11, joined through a router .2 that does nothing but forward."""
    name = f"agent-test-{uuid.uuid4().hex[:8]}"
    labels = {LABEL_RUN: name}
    with ExitStack() as stack:
        network, subnet = _network(engine, stack, labels, name)
        gate = attach_wire(subnet)
        ends = attach_all(subnet, {"client": PLAIN, "server": PLAIN})
        places = {"wire": gate, **ends}
        hosts: dict[str, Host] = {}
        ids: dict[str, str] = {}
        for who, here in places.items():
            spec = ContainerSpec(
                f"{name}-{who}",
                image,
                labels,
                network=network,
                address=here.address,
                mac=here.mac,
                hostname=who,
                capabilities=HOST_CAPABILITIES,
                sysctls={"net.ipv4.ip_forward": "1"} if who == "wire" else {},
            )
            ids[who] = engine.create(spec)
            stack.callback(engine.remove, ids[who])
            stream = engine.attach(ids[who])
            hosts[who] = stack.enter_context(Host(stream, who, Programs(who, no_programs)))
            engine.start(ids[who])
        setups, facts = {}, {}
        for who in ("client", "server"):
            hosts[who].wait_ready()
            setups[who] = HostSetup(ends[who], gate, ends, open_files=open_files)
            facts[who] = hosts[who].set_up(setups[who])
        yield Pair(hosts["client"], hosts["server"], ids, setups, facts)
