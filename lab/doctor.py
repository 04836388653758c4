"""What this machine can do for the lab, and how to mend what is missing: `lab doctor`.

`examine` looks (and starts one wire to see it work), `diagnose` judges what was seen, `render` prints it.
"""

from __future__ import annotations

import platform
import secrets
import select
import shutil
import textwrap
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from lab.attachment import attach_wire
from lab.clock import SYSTEM_CLOCK, Clock
from lab.engine.base import LABEL_ROLE, Engine, EngineInfo, NetworkSpec
from lab.engine.clean import Leftover, Owner, RunLock, leftovers
from lab.engine.images import present_images
from lab.engine.private import find_engine
from lab.engine.subnets import create_in_free_subnet, free_subnets
from lab.errors import LabError
from lab.quantities import duration, plural, size
from lab.site import Site
from lab.wire import open_wire
from lab.wire.container import wire_container

Level = Literal["ok", "warn", "bad"]
Progress = Callable[[str], None]

#: How many waits of 5 ms are measured: one second for each way of waiting.
TIMER_COUNT, TIMER_INTERVAL = 200, 0.005
#: An idle machine is 0.05 to 0.2 ms late. Tolerances start at 4 ms; a later machine needs more.
LATE_NS = 4_000_000
#: A run of a minute with full captures takes some 100 MB.
DISK_NEEDED = 2 * 10**9
_WIRE_PATIENCE = 30.0


class Finding(Struct, frozen=True):
    """One line of the diagnosis: what was found, and how to mend it if it is a problem."""

    name: str
    level: Level
    what: str
    mend: str = ""


class Lateness(Struct, frozen=True):
    """How late this machine's timers fire, in ns beyond the requested time."""

    way: str  #: "nanosleep", "epoll", "select"
    median_ns: int
    p99_ns: int
    max_ns: int


class WireTrial(Struct, frozen=True):
    """One wire that was started, or the reason why it could not be."""

    kind: Literal["kernel", "uml"] | None
    reason: str
    seconds: float = 0.0  #: from create to ready
    kernel: str = ""  #: uname -r where tc runs


class Disk(Struct, frozen=True):
    what: str  #: "the engine's data", "this folder"
    path: str
    free: int  #: bytes


class Machine(Struct, frozen=True):
    """Everything that `examine` looked at."""

    architecture: str  #: of the engine's machine if it is local
    wire_wanted: str
    pool: IPv4Network
    lateness: Sequence[Lateness]
    disks: Sequence[Disk]
    engine: EngineInfo | None = None
    engine_error: str = ""
    engine_hint: str = ""
    storage_driver: str = ""
    images: Sequence[tuple[str, str | None]] = ()
    wire: WireTrial | None = None  #: None where the image is not built or no engine answers
    free_subnets: int = 0
    runs: Sequence[Leftover] = ()


def examine(site: Site, progress: Progress = lambda line: None) -> Machine:
    """Examine the machine: 3 s for the timers and up to 3 s for a wire. Nothing is built or kept."""
    progress("measuring this machine's timers (3 s)")
    late = [measure_lateness(way) for way in WAYS]
    disks = [Disk("this folder", str(Path.cwd()), shutil.disk_usage(Path.cwd()).free)]
    machine = Machine(platform.machine(), site.wire, site.pool, late, disks)
    try:
        engine = find_engine(progress, address=site.engine_address, start=False)
    except LabError as error:
        return replace(machine, engine_error=str(error), engine_hint=error.hint)
    try:
        root, driver = engine.storage()
        if engine.info().address.startswith("unix:") and Path(root).exists():
            disks.append(Disk("the engine's data", root, shutil.disk_usage(root).free))
        images = present_images(engine)
        wire = None
        if all(identity is not None for _, identity in images):
            progress("starting one wire")
            wire = try_wire(engine, images[2][0], site)
        return replace(
            machine,
            architecture=_architecture(engine.info()),
            disks=disks,
            engine=engine.info(),
            storage_driver=driver,
            images=images,
            wire=wire,
            free_subnets=sum(1 for _ in free_subnets(site.pool, engine.networks())),
            runs=leftovers(engine),
        )
    finally:
        engine.close()


def _architecture(info: EngineInfo) -> str:
    """The architecture of the engine's machine: its version ends in linux/ARCH if it names no product."""
    return info.operating_system.rpartition("/")[2] if "/" in info.operating_system else platform.machine()


#: Ways to wait for so many seconds, each made when it is measured.
WAYS: dict[str, Callable[[], Callable[[float], object]]] = {
    "nanosleep": lambda: time.sleep,
    "epoll": lambda: select.epoll().poll,
    "select": lambda: partial(select.select, [], [], []),
}


def measure_lateness(
    way: str, *, count: int = TIMER_COUNT, interval: float = TIMER_INTERVAL, clock: Clock = SYSTEM_CLOCK
) -> Lateness:
    """How much later than asked `count` waits of `interval` seconds ended."""
    wait = WAYS[way]()
    late = []
    for _ in range(count):
        begun = clock.monotonic_ns()
        wait(interval)
        late.append(clock.monotonic_ns() - begun - int(interval * 1e9))
    return lateness_of(way, late)


def lateness_of(way: str, late: Sequence[int]) -> Lateness:
    ordered = sorted(late)
    return Lateness(
        way, ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], ordered[-1]
    )


def try_wire(engine: Engine, image: str, site: Site) -> WireTrial:
    """Start a wire as a run would, and remove it again."""
    run = f"doctor-{secrets.token_hex(3)}"
    try:
        with ExitStack() as stack:
            lock = stack.enter_context(RunLock.take(run))
            labels = {**lock.labels(), LABEL_ROLE: "wire"}
            network, subnet = create_in_free_subnet(
                engine, site.pool, lambda free: NetworkSpec(f"lab-{run}", free, labels)
            )
            stack.callback(engine.remove_network, network)
            begun = time.monotonic()
            container = engine.create(
                wire_container(
                    name=f"lab-{run}-wire",
                    image=image,
                    labels=labels,
                    network=network,
                    here=attach_wire(subnet),
                    kind=site.wire,
                )
            )
            stack.callback(engine.remove, container)
            stream = engine.attach(container)
            stack.callback(stream.close)
            engine.start(container)
            wire = open_wire(stream, _WIRE_PATIENCE)
            stack.callback(wire.close)
            hello = wire.hello
            return WireTrial(hello.kind, hello.reason, time.monotonic() - begun, hello.kernel)
    except LabError as error:
        return WireTrial(None, str(error))


def diagnose(machine: Machine) -> list[Finding]:
    """Judge what was seen. `bad` means that `lab run` cannot work here."""
    found = [_engine(machine)]
    if machine.engine is not None:
        found += [*_storage(machine), _images(machine)]
    found += [*_wire(machine), *_timers(machine)]
    if machine.engine is not None:
        found += [_subnets(machine), *_runs(machine)]
    return [*found, *(_disk(disk) for disk in machine.disks)]


def _engine(machine: Machine) -> Finding:
    info = machine.engine
    if info is None:
        return Finding("engine", "bad", machine.engine_error, machine.engine_hint)
    return Finding(
        "engine",
        "ok",
        f"Docker {info.version} (API {info.api_version}) at {info.address}, kernel {info.kernel}",
    )


def _storage(machine: Machine) -> list[Finding]:
    if machine.storage_driver != "vfs":
        return []
    return [
        Finding(
            "storage",
            "warn",
            "the engine copies every image whole (storage driver vfs): containers start slowly",
            "put the engine's data on a file system that overlayfs can use, such as ext4",
        )
    ]


def _images(machine: Machine) -> Finding:
    missing = [tag for tag, identity in machine.images if identity is None]
    if missing:
        return Finding("images", "warn", f"to be built: {', '.join(missing)}", "lab images (a minute)")
    return Finding("images", "ok", ", ".join(tag for tag, _ in machine.images))


def _wire(machine: Machine) -> list[Finding]:
    x86 = machine.architecture in ("x86_64", "amd64")
    trial = machine.wire
    if trial is None:
        what = "not tried: it needs an engine and the images"
        if not x86:
            what += f"; user-mode Linux is for x86-64 only, not for {machine.architecture}"
        return [Finding("wire", "warn", what, "lab images, then lab doctor")]
    if trial.kind is None:
        mend = "load the module sch_netem (Debian: linux-image-amd64, Ubuntu: linux-modules-extra)"
        if x86:
            mend += ", or mend what keeps user-mode Linux from starting"
        else:
            mend += f"; user-mode Linux, the other way, is for x86-64 only, not for {machine.architecture}"
        return [Finding("wire", "bad", f"none works here ({machine.wire_wanted}): {trial.reason}", mend)]
    took = f"kernel {trial.kernel}, up in {trial.seconds:.1f} s"
    if trial.kind == "kernel":
        return [
            Finding("netem", "ok", "in the machine's kernel"),
            Finding("wire", "ok", f"kernel: {trial.reason} ({took})"),
        ]
    netem = Finding(
        "netem",
        "warn",
        "not used in the machine's kernel; user-mode Linux has it",
        "nothing need be done; a wire without user-mode Linux is faster: modprobe sch_netem",
    )
    asked = Finding("netem", "ok", "in user-mode Linux, as lab.yml asks for")
    return [
        asked if machine.wire_wanted == "uml" else netem,
        Finding("wire", "ok", f"uml: {trial.reason} ({took})"),
    ]


def _timers(machine: Machine) -> list[Finding]:
    if not machine.lateness:
        return []
    each = [
        f"{late.way} {duration(late.median_ns)}, {duration(late.p99_ns)}, {duration(late.max_ns)}"
        for late in machine.lateness
    ]
    what = f"late by (median, p99, longest): {'; '.join(each)}"
    worst = max(late.p99_ns for late in machine.lateness)
    if worst <= LATE_NS:
        return [Finding("timers", "ok", what)]
    mend = f"a machine less busy; or in lab.yml: tolerance: {{machine: {-(-worst // 1_000_000)}ms}}"
    return [Finding("timers", "warn", what, mend)]


def _subnets(machine: Machine) -> Finding:
    total = 2 ** max(0, 24 - machine.pool.prefixlen)
    what = f"{machine.free_subnets} of {total} subnets of {machine.pool} are free"
    if machine.free_subnets == 0:
        return Finding("addresses", "bad", what, "another pool in lab.yml, or lab clean")
    if machine.free_subnets < 8:
        return Finding("addresses", "warn", what, "another pool in lab.yml, or lab clean")
    return Finding("addresses", "ok", what)


def _runs(machine: Machine) -> list[Finding]:
    mends: dict[Owner, tuple[Level, str, str]] = {
        Owner.DEAD: ("warn", "left by a run that died", "the next lab run removes it, or lab clean"),
        Owner.KEPT: ("ok", "left running on purpose", ""),
        Owner.ALIVE: ("ok", "running now", ""),
        Owner.UNKNOWN: ("warn", "of another machine, or of an owner that cannot be seen", "lab clean --all"),
    }
    found = []
    for run in machine.runs:
        level, text, mend = mends[run.owner]
        found.append(Finding("runs", level, f"{run.run}: {len(run.containers)} containers, {text}", mend))
    return found or [Finding("runs", "ok", "nothing is left of former runs")]


def _disk(disk: Disk) -> Finding:
    what = f"{size(disk.free)} free for {disk.what} ({disk.path})"
    if disk.free < DISK_NEEDED:
        return Finding("disk", "warn", what, "remove old run folders, or docker system prune")
    return Finding("disk", "ok", what)


def render(findings: Sequence[Finding], *, width: int = 80) -> str:
    """Plain text, no line longer than `width` where words allow it; ends with a newline."""
    lines: list[str] = []
    indent = " " * 16
    wrap = partial(textwrap.wrap, width=width, break_long_words=False, break_on_hyphens=False)
    for finding in findings:
        head = f"{finding.level:<5}{finding.name:<11}"
        lines += wrap(finding.what, initial_indent=head, subsequent_indent=indent) or [head.rstrip()]
        if finding.mend:
            lines += wrap(f"mend: {finding.mend}", initial_indent=indent, subsequent_indent=f"{indent}      ")
    bad = sum(finding.level == "bad" for finding in findings)
    warn = sum(finding.level == "warn" for finding in findings)
    summary = "the lab can run here" if not bad else f"the lab cannot run here: {bad} to mend"
    lines.append(f"{summary} ({plural(warn, 'remark')})" if warn else summary)
    return "\n".join(lines) + "\n"
