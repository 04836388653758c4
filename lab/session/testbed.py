"""The hosts, the wire and the network of one lab: brought up in parallel, taken down whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from lab.attachment import Attachment, attach_all, attach_wire, prefix_length
from lab.engine.base import ContainerSpec, Engine, NetworkSpec, Stream
from lab.engine.clean import remove_run
from lab.engine.images import Images
from lab.engine.subnets import create_in_free_subnet
from lab.errors import EngineError, SysctlRefused
from lab.evidence.model import CaptureFacts
from lab.host import HOST_CAPABILITIES, Host, HostReadback, HostSetup, PowerOff, Programs, launcher
from lab.scenario.model import apart, names_at
from lab.session.events import Events
from lab.session.host_files import fill_programs
from lab.session.interrupt import Interrupt
from lab.session.plan import Plan
from lab.session.services import Services
from lab.site import Site
from lab.wire import Wire, WireSetup, open_wire
from lab.wire.container import wire_container

_BRING_UP = 60.0  #: seconds for one container from start to ready; a busy machine boots the wire in 2.3 s

Job = tuple[str, Callable[[], None]]  #: what for, and what to do


@dataclass
class Boot:
    """A host from power on to power off: one container."""

    container: str
    host: Host
    setup: HostSetup
    readback: HostReadback
    power_off: PowerOff | None = None  #: the last that was read of it, once its power is off
    off_by: str = ""  #: id of the step that took its power
    capture: CaptureFacts | None = None  #: once its capture has stopped


@dataclass
class Testbed:
    """What is up. `boots` has the boots of each host in order; the last one may be without power."""

    engine: Engine
    plan: Plan
    images: Images
    network: str
    attachments: dict[str, Attachment]
    wire_attachment: Attachment
    site: Site
    events: Events
    interrupt: Interrupt
    services: Services
    wire: Wire = field(init=False)
    boots: dict[str, list[Boot]] = field(default_factory=dict)
    off: set[str] = field(default_factory=set)  #: hosts without power
    _streams: list[Stream] = field(default_factory=list)
    _of_programs: list[Programs] = field(default_factory=list)
    #: A wire that boots a kernel is the longest way: it does so while the hosts' containers start, which
    #: would otherwise all wait for each other in the engine.
    _wire_started: threading.Event = field(default_factory=threading.Event)

    def host(self, name: str) -> Host:
        """The host as it was booted last."""
        return self.boots[name][-1].host

    def on(self) -> dict[str, Host]:
        """The hosts that have power."""
        return {name: boots[-1].host for name, boots in self.boots.items() if name not in self.off}

    def _started(
        self, spec: ContainerSpec, what: str, created: Callable[[str], None] = lambda container: None
    ) -> tuple[str, Stream]:
        """Creates, attaches and starts it; `created` is called after the first of these."""
        with self.events.phase(f"{what}: create"):
            container = self.engine.create(spec)
        created(container)
        self.interrupt.check()
        if what != "wire" and self.plan.wire_kind != "route":
            self._wire_started.wait()
        with self.events.phase(f"{what}: start"):
            stream = self.engine.attach(container)
            self._streams.append(stream)
            try:
                self.engine.start(container)
            except SysctlRefused as error:
                raise SysctlRefused(error.sysctl, error.why, spec.hostname or "") from error
        self.interrupt.check()
        return container, stream

    def boot_host(self, name: str) -> None:
        """A fresh container for a host, set up and capturing; appended to its boots."""
        spec = self.plan.hosts[name]
        here = self.attachments[name]
        number = len(self.boots.get(name, ())) + 1
        full_name = f"lab-{self.plan.run}-{name}" + (f"-{number}" if number > 1 else "")
        running = threading.Event()
        programs: list[Programs] = []
        try:
            container, stream = self._started(
                ContainerSpec(
                    name=full_name,
                    image=self.images.host.tag,
                    labels=self.plan.labels_of("host", name),
                    network=self.network,
                    address=here.address,
                    mac=here.mac,
                    hostname=name,
                    capabilities=HOST_CAPABILITIES,
                    no_new_privileges=True,
                    sysctls=spec.sysctls,
                    outlives_lab=self.plan.keep,
                ),
                f"host {name}",
                lambda beside: programs.append(self._programs(name, full_name, beside, running)),
            )
        finally:
            running.set()
        with self.events.phase(f"host {name}: set up"):
            host = Host(stream, name, programs[0])
            host.wait_ready(_BRING_UP)
            setup = HostSetup(
                here=here,
                wire=self.wire_attachment,
                peers={other: self.attachments[to] for other, to in names_at(self.plan.hosts, name).items()},
                arp=self.plan.arp,
                open_files=spec.ulimits.get("nofile"),
                snaplen=self.site.snaplen,
            )
            readback = host.set_up(setup)
        self.boots.setdefault(name, []).append(Boot(container, host, setup, readback))

    def _programs(self, host: str, full_name: str, beside: str, running: threading.Event) -> Programs:
        """The programs of a host whose container was created: theirs are created while others start."""
        launch = launcher(
            self.engine,
            beside,
            running,
            image=self.images.host.tag,
            name=full_name,
            labels=self.plan.labels_of("programs"),
            limits=self.site.limits,
            policy=self.site.policy,
            outlives_lab=self.plan.keep,
            opened=self._streams.append,
            fill=lambda container, identity: fill_programs(
                self.engine, container, identity, self.plan.hosts[host].files
            ),
        )
        programs = Programs(host, launch, self.site.limits)
        self._of_programs.append(programs)
        programs.prepare(self.plan.programs.get(host, ()))
        return programs

    def leave_programs(self) -> None:
        """Returns when no container for programs is under way any more."""
        for programs in self._of_programs:
            programs.leave()

    def reach(self, name: str) -> None:
        """Returns when frames of a host get to the wire and back; the wire must be set up."""
        with self.events.phase(f"host {name}: reach"):
            boot = self.boots[name][-1]
            boot.host.programs_ready()
            cpu = boot.host.pin(self.plan.cpu)
            boot.host.reach(boot.setup)
        self.services.boot(name, boot.container, boot.host, cpu)

    def boot_wire(self) -> None:
        """The wire's container, its kernel, and every link as configured."""
        spec = wire_container(
            name=f"lab-{self.plan.run}-wire",
            image=self.images.wire.tag,
            labels=self.plan.labels_of("wire"),
            network=self.network,
            here=self.wire_attachment,
            kind=self.plan.wire_kind,
            cpu=self.plan.cpu,
            outlives_lab=self.plan.keep,
        )
        try:
            _, stream = self._started(spec, "wire")
        finally:
            self._wire_started.set()
        with self.events.phase("wire: boot"):
            self.wire = open_wire(stream, _BRING_UP, on_event=self.events.emit)
        with self.events.phase("wire: set up"):
            self.wire.set_up(
                WireSetup(
                    self.wire_attachment,
                    self.attachments,
                    self.plan.arp,
                    self.plan.drops,
                    apart(self.plan.hosts),
                )
            )

    def power_off(self, name: str, step: str) -> None:
        """The host falls silent: its interface goes down first, so that its dying kernel sends no FIN."""
        boot = self.boots[name][-1]
        boot.host.freeze_programs()  # otherwise they would print that their network has gone
        boot.power_off, boot.off_by = boot.host.power_off(), step
        self.off.add(name)
        self.wire.power(name, "off", step=step)
        self.services.end_host(name, step, boot.power_off.moment.wall_ns)
        boot.host.kill_programs()
        boot.capture = boot.host.stop_capture(len(self.boots[name]))
        self.engine.kill(boot.container)
        boot.host.close()

    def power_on(self, name: str, step: str) -> None:
        """A fresh boot at the same address and MAC; the wire lets it be reached once its capture runs."""
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
    site: Site,
    events: Events,
    interrupt: Interrupt,
    keep: Callable[[], bool],
    meanwhile: Callable[[], None],
) -> Iterator[Testbed]:
    """Everything of `plan` up and ready; taken down at the end unless `keep()` says otherwise.

    `meanwhile` is called while the containers start.
    """
    with ExitStack() as stack:

        def take_down() -> None:
            if not keep():
                with events.phase("down"):
                    take_down_run(engine, plan.run)

        stack.callback(take_down)  # before the do: a create whose answer is lost is found by its label
        with events.phase("network"):
            network, subnet = create_in_free_subnet(
                engine,
                site.pool,
                lambda free: NetworkSpec(f"lab-{plan.run}", free, plan.labels_of("network")),
                new_prefix=prefix_length(len(plan.hosts)),
            )
        interrupt.check()
        services = Services(plan, images.host.tag, engine, interrupt, site.limits)
        bed = Testbed(
            engine,
            plan,
            images,
            network,
            attach_all(subnet, plan.links),
            attach_wire(subnet),
            site,
            events,
            interrupt,
            services,
        )
        stack.callback(bed.leave_programs)
        stack.callback(services.close)
        stack.callback(bed.abort)
        stack.enter_context(interrupt.calling(bed.abort))
        with events.phase("bring-up"):
            boots = [(name, partial(bed.boot_host, name)) for name in plan.hosts]
            in_parallel([("wire", bed.boot_wire), *boots, ("", meanwhile), ("volumes", services.prepare)])
            in_parallel([(name, partial(bed.reach, name)) for name in plan.hosts])
        yield bed


def in_parallel(jobs: Sequence[Job]) -> None:
    """Runs all jobs in threads and waits for all; raises the first error with the others as its notes."""
    if not jobs:
        return  # a lab without hosts has nothing to do side by side
    with ThreadPoolExecutor(len(jobs), thread_name_prefix="lab") as pool:
        futures: list[tuple[str, Future[None]]] = [(what, pool.submit(job)) for what, job in jobs]
        wait([future for _, future in futures])
    errors = [(what, error) for what, future in futures if (error := future.exception())]
    if errors:
        first = errors[0][1]
        for what, error in errors[1:]:
            first.add_note(f"{what}: {error}")
        raise first


def take_down_run(engine: Engine, run: str) -> None:
    """Removes everything that carries the label of this run. Raises where something stays."""
    swept = remove_run(engine, run)
    if swept.failures:
        raise EngineError(
            f"run {run}: not all could be removed: {'; '.join(swept.failures)}",
            hint="`lab clean` tries again",
        )
