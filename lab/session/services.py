"""All services of a lab: made ready in the order of their dependencies, ended with their hosts."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from lab.clock import Deadline
from lab.engine.base import ContainerSpec, Engine, Limits
from lab.engine.context import pack
from lab.engine.service import fill_volume
from lab.errors import UsageError
from lab.evidence.model import LogRecord, ServiceRecord
from lab.host import Host
from lab.limits import Limits as SiteLimits
from lab.place import Place
from lab.scenario.services import ServiceSpec
from lab.session import service_files
from lab.session.inside import Signaller
from lab.session.interrupt import Interrupt
from lab.session.plan import Plan
from lab.session.service import NotReady, Service
from lab.session.service_words import health_of
from lab.verdict import Finding, Verdict

Key = tuple[str, str]  #: host and service
LOOK = 1.0  #: seconds between two looks at what the services take; each costs the engine 10 ms
LABEL_SERVICE = "lab.service"  #: name of the service, in the scenario's words


def not_ready(error: NotReady, source: str, place: Place) -> Finding:
    """What did not get ready, as a finding of the step or the service that wanted it."""
    return Finding(
        "service.ready",
        source,
        place,
        Verdict.FAIL,
        error.goal,
        error.status,
        reason=f"{error}\n{error.hint}",
    )


@dataclass
class Services:
    """The programs beside the agents."""

    plan: Plan
    host_image: str
    engine: Engine
    interrupt: Interrupt
    site_limits: SiteLimits
    all: dict[Key, Service] = field(default_factory=dict)
    _volumes: set[str] = field(default_factory=set)
    _closed: threading.Event = field(default_factory=threading.Event)
    _watcher: threading.Thread | None = None
    _beside: dict[str, tuple[str, Host, int]] = field(default_factory=dict)  #: agent's container, agent, CPU

    def __post_init__(self) -> None:
        name, labels = f"lab-{self.plan.run}-signal", self.plan.labels_of("signal")
        signaller = Signaller(self.engine, self.host_image, name, labels)
        for key in self.plan.start_order:
            host, service = key
            spec = self.plan.hosts[host].services[service]
            self.all[key] = Service(
                host,
                spec,
                self.plan.service_images[key],
                self.engine,
                self.interrupt,
                key in self.plan.jobs,
                partial(self._container, key),
                partial(self._put_files, spec),
                signaller,
                self.site_limits,
            )

    def prepare(self) -> None:
        """Makes and fills the volumes, before any service starts."""
        for service in self.all.values():
            for folder in service_files.volumes_of(self.plan.run, service.host, service.spec):
                if folder.volume in self._volumes:
                    continue
                labels = self.plan.labels_of("volume", service.host)
                self.engine.create_volume(folder.volume, labels)
                self._volumes.add(folder.volume)
                if folder.source is not None:
                    with pack(folder.source, what=str(folder.source)).archive as archive:
                        fill_volume(self.engine, folder.volume, archive, image=service.image, labels=labels)

    def of(self, host: str, name: str | None = None) -> Service:
        """The service of this name, or the only one of the host."""
        found = {of: service for (at, of), service in self.all.items() if at == host}
        if name is None and len(found) == 1:
            (name,) = found
        if name not in found:
            there = f"there are {', '.join(found)}" if found else "it has none"
            wanted = f"no service {name!r}" if name is not None else f"{len(found)} services"
            raise UsageError(f"{host} has {wanted}; {there}", hint="name the one that is meant")
        return found[name]

    # --- starting ---

    def boot(self, host: str, container: str, agent: Host, cpu: int) -> None:
        """The host's agent is up: its services may be started beside it."""
        self._beside[host] = (container, agent, cpu)

    def start(self, keys: Iterable[Key], deadline: Deadline) -> list[NotReady]:
        """Starts services side by side, each when those that it needs have got so far; until all are ready.

        What did not get ready is returned; what breaks the lab is raised.
        """
        wanted = [key for key in self.plan.start_order if key in set(keys)]
        if not wanted:
            return []
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="service-limits", daemon=True)
            self._watcher.start()
        with ThreadPoolExecutor(len(wanted), thread_name_prefix="service") as pool:
            jobs = [pool.submit(self._start, self.all[key], deadline) for key in wanted]
        failed = []
        for job in jobs:
            try:
                job.result()
            except NotReady as error:
                failed.append(error)
        return failed

    def _watch(self) -> None:
        """Looks, once a second, whether a service takes more than it may."""
        while not self._closed.wait(LOOK):
            for service in self.all.values():
                service.look()

    def close(self) -> None:
        """Stops watching the services. May be called twice."""
        self._closed.set()
        if self._watcher is not None:
            self._watcher.join()

    def first(self) -> list[Key]:
        """Those that are started before the first step."""
        return [key for key, service in self.all.items() if service.spec.autostart]

    def _start(self, service: Service, deadline: Deadline) -> None:
        for need in service.spec.depends_on:
            other = self.all[need.host, need.service]
            if not other.wait_for(need.condition, deadline) and need.required:
                service.begun.set()
                text = f"{service.name}: it needs {other.name} ({need.condition}), but {other.status()}"
                raise NotReady(
                    service.spec, text, goal=need.condition, status=other.status(), hint="see there"
                )
        service.start()
        service.wait_ready(self._beside[service.host][1], deadline)

    def end_host(self, host: str, step: str, wall_ns: int) -> None:
        """The host lost its power at this moment: its services end, without a word to anybody."""
        for service in self.on(host):
            service.power_off(step, wall_ns)

    def on(self, host: str) -> list[Service]:
        return [service for (at, _), service in self.all.items() if at == host]

    # --- containers ---

    def _container(self, key: Key, number: int) -> ContainerSpec:
        host, name = key
        spec = self.all[key].spec
        beside, _, cpu = self._beside[host]
        part = "" if name == host else f"-{name}"
        return ContainerSpec(
            name=f"lab-{self.plan.run}-{host}-service{part}-{number}",
            image=self.all[key].image,
            labels={**self.plan.labels_of("service", host), LABEL_SERVICE: name},
            command=spec.command,
            entrypoint=spec.entrypoint,
            join=beside,
            environment=spec.environment,
            working_dir=spec.working_dir,
            user=spec.user,
            groups=spec.groups,
            mounts=tuple(folder.mount for folder in service_files.volumes_of(self.plan.run, host, spec)),
            tmpfs=service_files.tmpfs_of(spec),
            ulimits={name: (limit.soft, limit.hard) for name, limit in spec.ulimits.items()},
            init=spec.init,
            stop_signal=spec.stop_signal,
            healthcheck=health_of(spec),
            read_only=spec.read_only,
            capabilities=spec.capabilities,
            no_new_privileges=True,
            cpu=cpu,
            limits=Limits(
                self.site_limits.memory.bytes,
                self.site_limits.pids,
                self.site_limits.file_size.bytes,
                log=2 * self.site_limits.logs.bytes,  # the engine keeps half of it at least
                layer=self.site_limits.disk.bytes,
            ),
            stdin=False,
        )

    def _put_files(self, spec: ServiceSpec, container: str, before: str | None) -> None:
        """Puts the single files into a new container; what the service may write is kept from the last."""
        files = []
        for file in service_files.files_of(spec):
            if before is not None and not file.read_only:
                file = service_files.kept(file, self.engine, before)
            files.append(file)
        if files:
            self.engine.put_archive(container, "/", service_files.archive_of(files))

    # --- evidence ---

    def records(self) -> tuple[ServiceRecord, ...]:
        return tuple(record for service in self.all.values() for record in service.records())

    def lines(self) -> tuple[LogRecord, ...]:
        found = [line for service in self.all.values() for line in service.lines()]
        return tuple(sorted(found, key=lambda line: line.wall_ns))
