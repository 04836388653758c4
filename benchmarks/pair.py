"""A client, a server and the wire between them, for measurements and tests without a runner."""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from itertools import count
from pathlib import Path
from typing import Any

from lab.attachment import Address, attach_all, attach_wire
from lab.engine.base import ContainerSpec, Engine, NetworkSpec
from lab.engine.images import Images
from lab.engine.subnets import create_in_free_subnet
from lab.evidence.model import RunRecord
from lab.host import HOST_CAPABILITIES, Host, HostSetup, RunSpec
from lab.host.programs import Programs, launcher
from lab.limits import DEFAULT as LIMITS
from lab.link import PLAIN, Link
from lab.policy import Policy
from lab.units import Duration
from lab.wire import Wire, WireSetup, open_wire
from lab.wire.container import Kind, wire_container

POOL = IPv4Network("198.18.0.0/15")
PORT = 9_000
_PROBE = (Path(__file__).parent / "probe.py").read_text()
_PATIENCE = 120.0
_CPU = os.getpid()  #: as in a run: one for everything that moves packets; another lab has another


@dataclass
class Pair:
    """A running pair. `wire` is None if the two are joined directly."""

    engine: Engine
    hosts: dict[str, Host]
    addresses: dict[str, Address]
    containers: dict[str, str]
    wire: Wire | None
    _steps: Iterator[int] = field(default_factory=count)

    @property
    def through(self) -> Wire:
        assert self.wire is not None
        return self.wire

    def start(self, host: str, *argv: str, timeout: float = _PATIENCE) -> Future[RunRecord]:
        """Starts a program on a host."""
        spec = RunSpec(f"run{next(self._steps)}", argv, timeout=Duration.of_seconds(timeout))
        return self.hosts[host].run(spec)

    def probe(self, host: str, *arguments: object, timeout: float = _PATIENCE) -> Future[RunRecord]:
        """Starts `probe.py` on a host."""
        return self.start(host, "python3", "-c", _PROBE, *map(str, arguments), timeout=timeout)

    def ping(self, *options: str, source: str = "client", target: str = "server") -> str:
        record = self.start(source, "ping", *options, str(self.addresses[target])).result(_PATIENCE)
        return record.stdout + record.stderr

    def datagrams(
        self,
        number: int,
        *,
        interval: float = 0.0,
        source: str = "client",
        target: str = "server",
        quiet: float = 0.5,
        size: int = 64,
    ) -> dict[str, Any]:
        """Sends numbered datagrams: {sent: [ns], arrived: [[number, ns], …]} on one monotonic clock.

        The receiver listens until nothing has come for `quiet` seconds after the last one was sent.
        """
        port = PORT + next(self._steps)
        step = f"sink{port}"
        argv = ("python3", "-c", _PROBE, "sink", str(port), str(quiet))
        sink = self.hosts[target].run(RunSpec(step, argv, timeout=Duration.of_seconds(_PATIENCE)))
        self.hosts[target].wait_for(30.0, listening=port, kind="udp")
        found = result(self.probe(source, "send", self.addresses[target], port, number, interval, size))
        self.hosts[target].signal_run(step, "TERM")
        return found | result(sink)


def result(running: Future[RunRecord]) -> dict[str, Any]:
    """The output of a probe, once it has ended."""
    record = running.result(_PATIENCE)
    if record.exit_code != 0:
        raise RuntimeError(f"{record.command[3:]} on {record.host}: {record.error} {record.stderr}")
    found: dict[str, Any] = json.loads(record.stdout)
    return found


def _remove_later(stack: ExitStack, engine: Engine, container: str) -> None:
    stack.callback(engine.remove, container)


@contextmanager
def wired_pair(
    engine: Engine,
    images: Images,
    links: Mapping[str, Link] | None = None,
    *,
    kind: Kind = "auto",
    wired: bool = True,
) -> Iterator[Pair]:
    """Client .10 and server .11 through a wire .2 or, with `wired` False, on one bridge (plain veth)."""
    name = f"pair-{uuid.uuid4().hex[:8]}"
    labels = {"lab.bench": name}
    with ExitStack() as stack:
        network, subnet = create_in_free_subnet(engine, POOL, lambda free: NetworkSpec(name, free, labels))
        stack.callback(engine.remove_network, network)
        ends = attach_all(subnet, {who: (links or {}).get(who, PLAIN) for who in ("client", "server")})
        router = attach_wire(subnet)
        hosts: dict[str, Host] = {}
        containers: dict[str, str] = {}
        wire: Wire | None = None
        specs = [
            ContainerSpec(
                name=f"{name}-{who}",
                image=images.host.tag,
                labels=labels,
                network=network,
                address=ends[who].address,
                mac=ends[who].mac,
                hostname=who,
                capabilities=HOST_CAPABILITIES,
            )
            for who in ("client", "server")
        ]
        if wired:
            spec = wire_container(
                name=f"{name}-wire",
                image=images.wire.tag,
                labels=labels,
                network=network,
                here=router,
                kind=kind,
                cpu=_CPU,
            )
            containers["wire"] = engine.create(spec)
            stack.callback(engine.remove, containers["wire"])
            attached = engine.attach(containers["wire"])
            stack.callback(attached.close)
            engine.start(containers["wire"])
        for who, host_spec in zip(("client", "server"), specs, strict=True):
            containers[who] = engine.create(host_spec)
            stack.callback(engine.remove, containers[who])
            running = threading.Event()
            launch = launcher(
                engine,
                containers[who],
                running,
                image=images.host.tag,
                name=f"{name}-{who}",
                labels=labels,
                limits=LIMITS,
                policy=Policy(),
                outlives_lab=False,
                opened=lambda stream: None,
                fill=lambda container, identity: _remove_later(stack, engine, container),
            )
            stream = engine.attach(containers[who])
            hosts[who] = stack.enter_context(Host(stream, who, Programs(who, launch)))
            engine.start(containers[who])
            running.set()
        if wired:
            wire = open_wire(attached, 60.0)
            wire.set_up(WireSetup(router, ends))
        for who, other in (("client", "server"), ("server", "client")):
            hosts[who].wait_ready()
            hosts[who].set_up(HostSetup(ends[who], router if wired else ends[other], ends))
            if wired:
                hosts[who].pin(_CPU)
        yield Pair(engine, hosts, {who: at.address for who, at in ends.items()}, containers, wire)
