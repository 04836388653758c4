"""The hosts, the wire and the network of one case: brought up in parallel, taken down whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from lab.channel import Channel
from lab.clock import Deadline
from lab.engine.base import LABEL_RUN, ContainerSpec, Engine, NetworkSpec, Stream
from lab.engine.images import Images
from lab.engine.subnets import create_in_free_subnet
from lab.errors import EngineError, LabError
from lab.host import Host, HostSetup
from lab.runner.interrupt import Interrupt
from lab.runner.phases import Phases
from lab.runner.plan import HostPlan, Plan, place, wire_place
from lab.wire import Wire, WireSetup

_BRING_UP = 60.0  #: seconds for one container from create to ready; a busy machine boots the wire in 2.3 s
_HOST_CAPABILITIES = ("NET_ADMIN", "NET_RAW")


@dataclass
class Life:
    """One life of a host: a container from boot to its end."""

    container: str
    host: Host
    channel: Channel


@dataclass
class Testbed:
    """What stands. `lives` has the boots of each host in order; the last one may be dead."""

    engine: Engine
    plan: Plan
    images: Images
    subnet: IPv4Network
    network: str
    snaplen: int
    phases: Phases
    interrupt: Interrupt
    wire: Wire = field(init=False)
    wire_container: str = field(init=False)
    wire_stream: Stream = field(init=False)
    lives: dict[str, list[Life]] = field(default_factory=dict)

    def host(self, name: str) -> Host:
        """The present life of a host."""
        return self.lives[name][-1].host

    def address(self, name: str) -> str:
        return str(place(self.subnet, self._host_plan(name).number).address)

    def addresses(self) -> dict[str, str]:
        return {host.name: self.address(host.name) for host in self.plan.hosts}

    def _host_plan(self, name: str) -> HostPlan:
        return next(host for host in self.plan.hosts if host.name == name)

    def boot_host(self, name: str) -> Life:
        """A fresh container for a host, set up and ready to capture; appended to its lives."""
        plan = self._host_plan(name)
        boot = len(self.lives.get(name, ())) + 1
        suffix = f"-{boot}" if boot > 1 else ""
        where = place(self.subnet, plan.number)
        with self.phases(f"host {name}: create"):
            container = self.engine.create(
                ContainerSpec(
                    name=f"lab-{self.plan.run}-{name}{suffix}",
                    image=self.images.host.tag,
                    labels=self.plan.labels_of("host", name),
                    network=self.network,
                    address=where.address,
                    mac=where.mac,
                    hostname=name,
                    capabilities=_HOST_CAPABILITIES,
                    sysctls=plan.sysctls,
                    ulimits=plan.ulimits,
                )
            )
        self.interrupt.check()
        stream = self.engine.attach(container)
        channel = Channel(stream, name)
        with self.phases(f"host {name}: start"):
            self.engine.start(container)
        self.interrupt.check()
        host = Host(name, channel)
        life = Life(container, host, channel)
        self.lives.setdefault(name, []).append(life)
        with self.phases(f"host {name}: set up"):
            channel.wait_ready(_BRING_UP)
            wire = wire_place(self.subnet)
            host.set_up(
                HostSetup(
                    subnet=str(self.subnet),
                    address=str(where.address),
                    mac=where.mac,
                    wire_address=str(wire.address),
                    wire_mac=wire.mac,
                    peers=self.addresses(),
                    arp=self.plan.arp,
                )
            )
            host.start_capture(self.snaplen)
        return life

    def boot_wire(self) -> None:
        where = wire_place(self.subnet)
        with self.phases("wire: create"):
            container = self.engine.create(
                ContainerSpec(
                    name=f"lab-{self.plan.run}-wire",
                    image=self.images.wire.tag,
                    labels=self.plan.labels_of("wire"),
                    command=(self.plan.wire,),
                    network=self.network,
                    address=where.address,
                    mac=where.mac,
                    hostname="wire",
                    capabilities=_HOST_CAPABILITIES,
                    devices=("/dev/net/tun",),
                    sysctls={"net.ipv4.ip_forward": "1"},
                    tmpfs={"/dev/shm": "exec,size=1g", "/tmp": "exec,size=1g"},
                )
            )
        self.interrupt.check()
        self.wire_container = container
        self.wire_stream = self.engine.attach(container)
        with self.phases("wire: start"):
            self.engine.start(container)
        self.interrupt.check()
        self.wire = Wire(self.wire_stream)
        with self.phases("wire: boot"):
            self.wire.wait_ready(_BRING_UP)
        with self.phases("wire: set up"):
            hosts = {
                host.name: (str(p.address), p.mac)
                for host in self.plan.hosts
                for p in (place(self.subnet, host.number),)
            }
            self.wire.set_up(
                WireSetup(
                    subnet=str(self.subnet),
                    address=str(where.address),
                    mac=where.mac,
                    hosts=hosts,
                    links=self.plan.links,
                    arp=self.plan.arp,
                )
            )

    def abort(self) -> None:
        """Unblocks everything that waits for an agent: their channels end."""
        for lives in list(self.lives.values()):
            for life in lives:
                life.channel.close()
        if hasattr(self, "wire_stream"):
            self.wire_stream.close()


@contextmanager
def testbed(
    engine: Engine,
    images: Images,
    plan: Plan,
    pool: IPv4Network,
    snaplen: int,
    phases: Phases,
    interrupt: Interrupt,
    keep: Callable[[], bool],
) -> Iterator[Testbed]:
    """Everything of `plan` up and ready; taken down at the end unless `keep()` says otherwise."""
    with ExitStack() as stack:

        def take_down() -> None:
            if not keep():
                with phases("down"):
                    remove_run(engine, plan.run)

        stack.callback(take_down)  # before the do: a create whose answer is lost is found by its label
        with phases("network"):
            network, subnet = create_in_free_subnet(
                engine,
                pool,
                lambda free: NetworkSpec(f"lab-{plan.run}", free, plan.labels_of("network")),
            )
        interrupt.check()
        bed = Testbed(engine, plan, images, subnet, network, snaplen, phases, interrupt)
        stack.enter_context(interrupt.calling(bed.abort))
        stack.callback(bed.abort)
        with phases("bring-up"):
            in_parallel({"wire": bed.boot_wire, **{h.name: _booting(bed, h.name) for h in plan.hosts}})
        yield bed


def _booting(bed: Testbed, name: str) -> Callable[[], None]:
    def boot() -> None:
        bed.boot_host(name)

    return boot


def in_parallel(jobs: Mapping[str, Callable[[], None]]) -> None:
    """Runs all jobs in threads and waits for all; raises the first error with the others as its notes."""
    if len(jobs) == 1:
        next(iter(jobs.values()))()
        return
    with ThreadPoolExecutor(len(jobs), thread_name_prefix="lab") as pool:
        futures: dict[Future[None], str] = {pool.submit(job): name for name, job in jobs.items()}
        wait(futures)
    errors = [(name, error) for future, name in futures.items() if (error := future.exception())]
    if errors:
        first = errors[0][1]
        for name, error in errors[1:]:
            first.add_note(f"{name}: {error}")
        raise first


def remove_run(engine: Engine, run: str) -> None:
    """Every container and network that carries the label of this run; all are tried even if one fails."""
    jobs = {
        f"container {container.name}": _removing(engine.remove, container.id)
        for container in engine.containers({LABEL_RUN: run})
    }
    failed: list[str] = []
    lock = threading.Lock()

    def attempt(name: str, job: Callable[[], None]) -> None:
        try:
            job()
        except LabError as error:
            with lock:
                failed.append(f"{name}: {error}")

    threads = [threading.Thread(target=attempt, args=item) for item in jobs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for network in engine.networks():
        if network.labels.get(LABEL_RUN) == run:
            attempt(f"network {network.name}", _removing(engine.remove_network, network.id))
    if failed:
        raise EngineError(
            f"run {run}: not all could be removed: " + "; ".join(failed), hint="`lab clean` tries again"
        )


def _removing(remove: Callable[[str], None], identity: str) -> Callable[[], None]:
    return lambda: remove(identity)


__all__ = ["Deadline", "Life", "Testbed", "in_parallel", "remove_run", "testbed"]
