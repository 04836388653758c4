"""The hosts, the wire and the network of one case: brought up in parallel, taken down whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network
from itertools import islice

from lab.engine.base import LABEL_RUN, ContainerSpec, Engine, NetworkSpec, Stream
from lab.engine.clean import remove_objects
from lab.engine.images import Images
from lab.engine.subnets import free_subnets
from lab.errors import EngineError, LabEnvironmentError, SubnetTaken
from lab.evidence.model import CaptureFacts
from lab.host import HOST_CAPABILITIES, Host, HostReadback, HostSetup, PowerOff, launcher
from lab.limits import Limits
from lab.link import Link
from lab.session.interrupt import Interrupt
from lab.session.phases import Phases
from lab.session.plan import HostPlan, Plan, place, wire_place
from lab.wire import Wire, WireSetup
from lab.wire.container import wire_container

_BRING_UP = 60.0  #: seconds for one container from start to ready; a busy machine boots the wire in 2.3 s
_SUBNETS = 64  #: how many free subnets are tried before the pool counts as full


@dataclass
class Life:
    """One life of a host: a container from boot to its end."""

    container: str
    host: Host
    setup: HostSetup
    readback: HostReadback
    remains: PowerOff | None = None  #: what it told when its power went
    capture: CaptureFacts | None = None  #: once its capture has stopped


@dataclass
class Testbed:
    """What stands. `lives` has the boots of each host in order; the last one may be without power."""

    engine: Engine
    plan: Plan
    images: Images
    subnet: IPv4Network
    network: str
    snaplen: int
    phases: Phases
    interrupt: Interrupt
    limits: Limits
    wire: Wire = field(init=False)
    lives: dict[str, list[Life]] = field(default_factory=dict)
    links: dict[str, Link] = field(init=False)  #: as they are now
    off: set[str] = field(default_factory=set)  #: hosts without power
    _streams: list[Stream] = field(default_factory=list)
    #: A wire that boots a kernel is the longest way: it does so while the hosts' containers start, which
    #: would else all wait for each other in the engine.
    _wire_started: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.links = self.plan.links

    def host(self, name: str) -> Host:
        """The present life of a host."""
        return self.lives[name][-1].host

    def on(self) -> dict[str, Host]:
        """The hosts that have power."""
        return {name: lives[-1].host for name, lives in self.lives.items() if name not in self.off}

    def _host_plan(self, name: str) -> HostPlan:
        return next(host for host in self.plan.hosts if host.name == name)

    def _started(self, spec: ContainerSpec, what: str) -> tuple[str, Stream]:
        """Created, attached, started."""
        with self.phases(f"{what}: create"):
            container = self.engine.create(spec)
        self.interrupt.check()
        if what != "wire" and self.plan.wire_kind != "route":
            self._wire_started.wait()
        with self.phases(f"{what}: start"):
            stream = self.engine.attach(container)
            self._streams.append(stream)
            self.engine.start(container)
        self.interrupt.check()
        return container, stream

    def boot_host(self, name: str) -> None:
        """A fresh container for a host, set up and capturing; appended to its lives."""
        plan = self._host_plan(name)
        boot = len(self.lives.get(name, ())) + 1
        where, wire = place(self.subnet, plan.number), wire_place(self.subnet)
        container, stream = self._started(
            ContainerSpec(
                name=f"lab-{self.plan.run}-{name}" + (f"-{boot}" if boot > 1 else ""),
                image=self.images.host.tag,
                labels=self.plan.labels_of("host", name),
                network=self.network,
                address=where.address,
                mac=where.mac,
                hostname=name,
                capabilities=HOST_CAPABILITIES,
                no_new_privileges=True,
                sysctls=plan.sysctls,
                outlives_lab=self.plan.keep,
            ),
            f"host {name}",
        )
        with self.phases(f"host {name}: set up"):
            launch = launcher(
                self.engine,
                container,
                image=self.images.host.tag,
                name=f"lab-{self.plan.run}-{name}" + (f"-{boot}" if boot > 1 else ""),
                labels=self.plan.labels_of("programs"),
                limits=self.limits,
                outlives_lab=self.plan.keep,
                opened=self._streams.append,
            )
            host = Host(stream, name, launch, self.limits)
            host.prepare_programs(plan.programs)
            host.wait_ready(_BRING_UP)
            setup = HostSetup(
                subnet=self.subnet,
                address=where.address,
                mac=where.mac,
                wire_address=wire.address,
                wire_mac=wire.mac,
                peers={h.name: place(self.subnet, h.number).address for h in self.plan.hosts},
                arp=self.plan.arp,
                open_files=plan.ulimits.get("nofile"),
            )
            readback = host.set_up(setup)
            host.start_capture(self.snaplen)
        self.lives.setdefault(name, []).append(Life(container, host, setup, readback))

    def reach(self, name: str) -> None:
        """Returns when frames of a host get to the wire and back; the wire must be set up."""
        with self.phases(f"host {name}: reach"):
            life = self.lives[name][-1]
            life.host.programs_ready()
            life.host.pin(self.plan.cpu)
            life.host.reach(life.setup)

    def boot_wire(self) -> None:
        """The wire's container, its kernel, and every link as configured."""
        where = wire_place(self.subnet)
        spec = wire_container(
            name=f"lab-{self.plan.run}-wire",
            image=self.images.wire.tag,
            labels=self.plan.labels_of("wire"),
            network=self.network,
            address=where.address,
            mac=where.mac,
            kind=self.plan.wire_kind,
            cpu=self.plan.cpu,
            outlives_lab=self.plan.keep,
        )
        try:
            _, stream = self._started(spec, "wire")
        finally:
            self._wire_started.set()
        self.wire = Wire(stream)
        with self.phases("wire: boot"):
            self.wire.wait_ready(_BRING_UP)
        with self.phases("wire: set up"):
            places = {host.name: place(self.subnet, host.number) for host in self.plan.hosts}
            self.wire.set_up(
                WireSetup(
                    subnet=self.subnet,
                    address=where.address,
                    mac=where.mac,
                    hosts={name: (at.address, at.mac) for name, at in places.items()},
                    links=self.plan.links,
                    arp=self.plan.arp,
                    drops=self.plan.drops,
                )
            )

    def power_off(self, name: str, step: str) -> None:
        """The host falls silent: its interface goes down first, so that its dying kernel sends no FIN."""
        life = self.lives[name][-1]
        life.remains = life.host.power_off()
        self.off.add(name)
        self.wire.power(name, "off", step=step)
        life.capture = life.host.stop_capture(len(self.lives[name]))
        self.engine.kill(life.container)
        life.host.close()

    def power_on(self, name: str, step: str) -> None:
        """A fresh boot at the same address and MAC; the wire lets it be reached once its capture runs."""
        if name not in self.off:
            return
        self.boot_host(name)
        self.reach(name)
        self.off.discard(name)
        self.wire.power(name, "on", step=step)

    def abort(self) -> None:
        """Unblocks everything that waits for an agent: their streams end."""
        for stream in list(self._streams):
            stream.close()


@contextmanager
def testbed(
    engine: Engine,
    images: Images,
    plan: Plan,
    pool: IPv4Network,
    snaplen: int,
    phases: Phases,
    interrupt: Interrupt,
    limits: Limits,
    keep: Callable[[], bool],
    meanwhile: Callable[[], None],
) -> Iterator[Testbed]:
    """Everything of `plan` up and ready; taken down at the end unless `keep()` says otherwise.

    `meanwhile` is called while the containers start.
    """
    with ExitStack() as stack:

        def take_down() -> None:
            if not keep():
                with phases("down"):
                    remove_run(engine, plan.run)

        stack.callback(take_down)  # before the do: a create whose answer is lost is found by its label
        with phases("network"):
            network, subnet = _network(engine, plan, pool)
        interrupt.check()
        bed = Testbed(engine, plan, images, subnet, network, snaplen, phases, interrupt, limits)
        stack.callback(bed.abort)
        stack.enter_context(interrupt.calling(bed.abort))
        with phases("bring-up"):
            names = [host.name for host in plan.hosts]
            boots = {name: partial(bed.boot_host, name) for name in names}
            in_parallel({"wire": bed.boot_wire, **boots, "imports": meanwhile})
            in_parallel({name: partial(bed.reach, name) for name in names})
        yield bed


def _network(engine: Engine, plan: Plan, pool: IPv4Network) -> tuple[str, IPv4Network]:
    for subnet in islice(free_subnets(pool, engine.networks()), _SUBNETS):
        try:
            spec = NetworkSpec(f"lab-{plan.run}", subnet, plan.labels_of("network"))
            return engine.create_network(spec), subnet
        except SubnetTaken:
            continue  # another run was faster
    raise LabEnvironmentError(
        f"no free /24 in the pool {pool}",
        hint="remove networks that nobody needs (`docker network ls`), or name another pool in lab.yml",
    )


def in_parallel(jobs: Mapping[str, Callable[[], None]]) -> None:
    """Runs all jobs in threads and waits for all; raises the first error with the others as its notes."""
    if not jobs:
        return  # a case without hosts has nothing to do side by side
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
    containers = {c.id: c.name for c in engine.containers({LABEL_RUN: run})}
    networks = {n.id: n.name for n in engine.networks() if n.labels.get(LABEL_RUN) == run}
    swept = remove_objects(engine, containers, networks)
    if swept.failures:
        raise EngineError(
            f"run {run}: not all could be removed: {'; '.join(swept.failures)}",
            hint="`lab clean` tries again",
        )
