"""The lab's own Docker engine for machines where none runs, and the choice of the engine to use."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from lab.clock import SYSTEM_CLOCK, Clock, Deadline
from lab.engine.docker import DockerEngine, connect
from lab.engine.endpoint import Endpoint, configured
from lab.engine.images import Progress
from lab.engine.state import locked, state_dir
from lab.errors import EngineError, LabEnvironmentError

#: A cold start takes 1 to 3 s, on a Linux in user mode 12 s.
START_PATIENCE = 60.0
#: dockerd gives containers 5 s (--shutdown-timeout), then ends.
STOP_PATIENCE = 20.0
#: With this Python: root's own knows nothing of a virtual environment.
_ENGINE_UP = shlex.join([sys.executable, "-m", "lab", "engine", "up"])
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class PrivateStatus(Struct, frozen=True):
    running: bool
    pid: int | None  #: of its dockerd, None where it does not run
    address: str  #: "unix:///run/lab/engine-1a2b3c4d/docker.sock"
    folder: Path
    log: Path


class PrivateEngine:
    """A dockerd with its own data, socket, pid file and containerd, and with no default bridge.

    It outlives the command that started it. `launcher` is put before its command line (tests start it in a
    network namespace of its own).
    """

    def __init__(
        self, folder: Path | None = None, *, launcher: Sequence[str] = (), clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.folder = folder if folder is not None else state_dir() / "engine"
        self._launcher = tuple(launcher)
        self._clock = clock
        # A socket's path has at most 107 bytes, and containerd's is a long one below the exec root.
        name = hashlib.sha256(os.fsencode(self.folder.absolute())).hexdigest()[:8]
        self.runtime = Path("/run/lab") / f"engine-{name}"
        self._socket = self.runtime / "docker.sock"
        self._pidfile = self.runtime / "docker.pid"
        self._log = self.folder / "dockerd.log"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(f"unix://{self._socket}", "the lab's own engine")

    def status(self) -> PrivateStatus:
        pid = self._pid()
        return PrivateStatus(pid is not None, pid, self.endpoint.address, self.folder, self._log)

    def up(self, progress: Progress = lambda line: None) -> DockerEngine:
        """Starts it where it does not run, and returns when its API answers."""
        with self._locked():
            if self._pid() is None:
                self._require()
                self.runtime.mkdir(parents=True, exist_ok=True)
                self._tidy()
                progress(f"engine: starting the lab's own dockerd (data in {self.folder})")
                self._start()
            return connect(self.endpoint)

    def down(self) -> bool:
        """Ends it and its containers; False where it did not run. Images and data stay."""
        with self._locked():
            pid = self._pid()
            if pid is not None:
                self._kill_containers()
                self._stop(pid)
            self._tidy()
            # What containers still have mounted there stays, and does no harm.
            shutil.rmtree(self.runtime, ignore_errors=True)
            return pid is not None

    def _stop(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(handle, signal.SIGTERM)
                if not _ended(handle, STOP_PATIENCE):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    _ended(handle, 5.0)
            finally:
                os.close(handle)

    def _kill_containers(self) -> None:
        """Otherwise dockerd asks each to stop and waits ten seconds. An engine that is stuck is not asked."""
        with contextlib.suppress(EngineError):
            engine = connect(self.endpoint)
            for container in engine.containers({}):
                if container.running:
                    engine.kill(container.id)
            engine.close()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with locked(self.folder / "lock"):
                yield
        except PermissionError as error:
            raise LabEnvironmentError(
                f"{self.folder}: no permission: {error}",
                hint="run it as root, or set LAB_STATE to a folder of yours",
            ) from error

    def _require(self) -> None:
        if os.geteuid() != 0:
            raise LabEnvironmentError("starting a Docker engine needs root", hint=f"sudo {_ENGINE_UP}")
        if shutil.which("dockerd", path=_search_path()) is None:
            raise LabEnvironmentError(
                "no Docker engine is installed (dockerd is not in PATH)",
                hint="apt-get install docker.io iptables",
            )

    def _pid(self) -> int | None:
        """The process of our dockerd; a pid file of a former boot may name any process by now."""
        try:
            pid = int(self._pidfile.read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if str(self._pidfile).encode() in arguments else None

    def _tidy(self) -> None:
        """Nothing of ours runs: what a killed dockerd left would stop the next one from starting."""
        self._socket.unlink(missing_ok=True)
        self._pidfile.unlink(missing_ok=True)
        for stale in (self.runtime / "exec" / "containerd").glob("*.pid"):
            stale.unlink(missing_ok=True)
        self._unmount()

    def _unmount(self) -> None:
        """dockerd mounts its data root onto itself; one that was killed did not undo that."""
        data = str(self.folder / "data")
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for _ in range(mounts.count(data)):
            subprocess.run(["umount", data], capture_output=True, timeout=10, check=False)

    def _argv(self) -> list[str]:
        return [
            *self._launcher,
            "dockerd",
            "--host",
            self.endpoint.address,
            "--data-root",
            str(self.folder / "data"),
            "--exec-root",
            str(self.runtime / "exec"),
            "--pidfile",
            str(self._pidfile),
            # Where the machine has a containerd that dockerd would use, their containers stay apart.
            "--containerd-namespace",
            "lab",
            "--containerd-plugins-namespace",
            "lab-plugins",
            # The lab gives every network its subnet, so nothing of the machine's addresses is taken here.
            "--bridge",
            "none",
            "--shutdown-timeout",
            "5",
        ]

    def _start(self) -> None:
        deadline = Deadline.after(START_PATIENCE, "start the lab's own dockerd", self._clock)
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                self._argv(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, "PATH": self._path_with_iptables()},
                start_new_session=True,
            )
        handle = os.pidfd_open(process.pid)
        try:
            # The socket is there early; a request to it is answered when the engine is ready. Until then a
            # look every 20 ms, woken at once when the process ends.
            while not self._socket.exists():
                if _ended(handle, 0.02) or deadline.expired():
                    break
            if self._socket.exists() and not _ended(handle, 0):
                connect(self.endpoint, patience=max(1.0, deadline.remaining())).close()
        except EngineError as error:
            process.kill()
            process.wait()
            raise self._failure(str(error)) from error
        finally:
            os.close(handle)
        if process.poll() is not None:
            raise self._failure(f"dockerd ended with exit status {process.returncode}")
        if deadline.expired():
            process.kill()
            process.wait()
            raise self._failure(f"dockerd was not ready within {START_PATIENCE:.0f} s")
        # It goes on without us; Python must not complain that nobody waited for it.
        process.returncode = 0

    def _path_with_iptables(self) -> str:
        """PATH, with iptables-legacy first under the name of iptables where the kernel has no nf_tables."""
        path = _search_path()
        legacy = shutil.which("iptables-legacy", path=path)
        found = shutil.which("iptables", path=path)
        if found is None or legacy is None or _works(found) or not _works(legacy):
            return path
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        for name in ("iptables", "iptables-save", "iptables-restore", "ip6tables"):
            old = shutil.which(name.replace("tables", "tables-legacy", 1), path=path)
            link = folder / name
            link.unlink(missing_ok=True)
            if old is not None:
                link.symlink_to(old)
        return f"{folder}:{path}"

    def _failure(self, what: str) -> LabEnvironmentError:
        try:
            text = self._log.read_text(errors="replace")
        except OSError:
            text = ""
        lines = text.strip().splitlines()
        # dockerd prints hundreds of irrelevant lines at a start; the last relevant ones are few.
        lines = [line for line in lines if "level=info" not in line][-8:] or lines[-8:]
        return LabEnvironmentError(
            "\n".join([f"the lab's own Docker engine did not start: {what}", *lines]), hint=_hint(text)
        )


def _search_path() -> str:
    """PATH as dockerd and its iptables need it: a user's PATH often lacks the sbin folders."""
    return f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}"


def _works(iptables: str) -> bool:
    try:
        done = subprocess.run(
            [iptables, "-t", "nat", "-S"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _ended(handle: int, seconds: float) -> bool:
    """Whether the process of a pidfd ends within this time."""
    return bool(select.select([handle], [], [], seconds)[0])


def _hint(log: str) -> str:
    """The known causes, recognized in dockerd's own words."""
    if "iptables" in log and ("not found" in log or "executable file" in log):
        return "apt-get install iptables"
    if "iptables" in log:
        return "dockerd could not set up iptables; see `iptables -S` and the kernel's modules"
    if "cgroup" in log.lower() and "mounted" in log:
        return (
            "mount the control groups: mount -t cgroup2 cgroup2 /sys/fs/cgroup, or, where the kernel has "
            "version 1, apt-get install cgroupfs-mount && cgroupfs-mount"
        )
    if "ermission denied" in log or "peration not permitted" in log:
        return "this machine does not let a Docker engine run; name another with DOCKER_HOST"
    return "name another engine with DOCKER_HOST, or see `lab doctor`"


def find_engine(
    progress: Progress = lambda line: None,
    *,
    address: str | None = None,
    environ: Mapping[str, str] = os.environ,
    private: PrivateEngine | None = None,
    start: bool = True,
) -> DockerEngine:
    """The engine that this run uses.

    One that answers is used unchanged: `address` (lab.yml's), DOCKER_HOST, the docker context, the default
    socket. Otherwise the lab's own, which is started where dockerd is installed and we are root (unless
    `start` is False). Otherwise an error with the one line to run. A named engine is never replaced.
    """
    endpoint = Endpoint(address, "lab.yml") if address else configured(environ)
    try:
        return connect(endpoint)
    except EngineError as error:
        if endpoint.named:
            raise EngineError(
                f"the engine that was asked for does not answer: {error}",
                hint=f"start it, or take it out of {endpoint.found} to use another",
            ) from error
        refused = error
    own = private if private is not None else PrivateEngine()
    if own.status().running:
        return connect(own.endpoint)
    if "ermission denied" in str(refused):
        raise EngineError(
            f"{endpoint.address}: permission denied", hint="run it with sudo, or join the group docker"
        ) from refused
    if os.geteuid() != 0:
        raise LabEnvironmentError(
            f"no Docker engine answers at {endpoint.address}, and starting one needs root",
            hint=f"sudo {_ENGINE_UP}",
        ) from refused
    if not start:
        raise LabEnvironmentError(
            f"no Docker engine answers at {endpoint.address}", hint=_ENGINE_UP
        ) from refused
    return own.up(progress)
