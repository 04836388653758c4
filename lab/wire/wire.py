"""What every wire does: come up, take requests, record them. Its class decides whether it impairs."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from lab.errors import WireError
from lab.evidence.model import DropCount, QueueCount, WireEvent, WireFacts
from lab.link import Direction, Link
from lab.packet_words import PacketMatch
from lab.wire import counting
from lab.wire.control import Control, Hello
from lab.wire.router import WireSetup

Both = Literal["up", "down", "both"]


class Wire(ABC):
    """The wire of one lab, over the stream of its container. Thread-safe.

    Whatever cannot be applied exactly as asked raises `WireError` with the link, what was asked and what the
    kernel reports. An event's moment is that of the read-back, on the clock of the lab's machine: 1 to 5 ms
    after the request was written, or 10 to 20 ms for a cut.
    """

    def __init__(self, control: Control, on_event: Callable[[WireEvent], None]) -> None:
        self._control = control
        self._on_event = on_event
        self._lock = threading.RLock()
        self._setup: WireSetup | None = None
        self._lost_before: dict[str, int] = {}  #: overruns while it came up
        self.links: dict[str, Link] = {}  #: the present link of each host
        self.events: list[WireEvent] = []

    @property
    def hello(self) -> Hello:
        return self._control.hello

    def set_up(self, setup: WireSetup) -> None:
        """Sets addresses, neighbours, and every link as in its attachment; reads all of it back."""
        with self._lock:
            self._setup = setup
            self.links = {host: place.link for host, place in setup.hosts.items()}
            self._build(setup)
            self._lost_before = self._overruns()

    # --- changing ---

    @abstractmethod
    def change(self, host: str, link: Link, step: str | None = None) -> None:
        """Makes `link`, already merged, the whole of the host's link from now on. What is queued stays."""

    @abstractmethod
    def cut(self, host: str, direction: Both = "both", step: str | None = None) -> None:
        """Cuts a host's cable: nothing passes, what was on it is lost. Silent: no ICMP, no carrier change."""

    @abstractmethod
    def restore(self, host: str, direction: Both = "both", step: str | None = None) -> None:
        """Ends a `cut`. A host without power stays cut off."""

    @abstractmethod
    def power(self, host: str, state: Literal["off", "on"], step: str | None = None) -> None:
        """Cuts a host off while it has no power, independently of `cut`."""

    @abstractmethod
    def partition(self, a: str, b: str, step: str | None = None) -> None:
        """Stops all packets between two hosts in the middle of the network: those past the middle arrive."""

    @abstractmethod
    def heal(self, a: str, b: str, step: str | None = None) -> None:
        """Ends a `partition`."""

    @abstractmethod
    def drop(
        self,
        source: str,
        target: str,
        match: PacketMatch | Sequence[str],
        count: int,
        step: str | None = None,
    ) -> str:
        """Drops exactly the next `count` packets from source to target that match; returns the rule's id.

        The next are the first that reach the wire after this. They are counted and dropped after the source's
        `up` and before the target's `down`, so a packet that `up` loses does not count.
        """

    # --- asking ---

    @abstractmethod
    def confirm(self) -> None:
        """Reads every link back once more. Raises `WireError` if one is no longer as asked."""

    @abstractmethod
    def in_flight(self) -> int:
        """Packets that now wait in the queues of all links."""

    @abstractmethod
    def counters(self) -> tuple[tuple[DropCount, ...], tuple[QueueCount, ...]]:
        """The counters so far: of drop rules, cuts and partitions, and of each direction of each link."""

    def overruns(self) -> dict[str, int]:
        """Packets that an interface or a queue of the wire lost unasked since it was set up, by place.

        If it is empty, every missing packet was dropped because the scenario said so.
        """
        with self._lock:
            lost_now = self._overruns()
        before = self._lost_before
        return {
            where: lost - before.get(where, 0)
            for where, lost in lost_now.items()
            if lost > before.get(where, 0)
        }

    def facts(self) -> WireFacts:
        """All facts for the result, with the present counters. `confirm` reads the links a last time."""
        with self._lock:
            here = self._known().here
            drops, queues = self.counters()
            return WireFacts(
                kind=self.hello.kind,
                reason=self.hello.reason,
                kernel=self.hello.kernel,
                address=str(here.address),
                mac=here.mac,
                readback=tuple(self._control.readback),
                drops=drops,
                queues=queues,
                commands=tuple(self._control.commands),
                overruns=self.overruns(),
            )

    def close(self) -> None:
        """Ends the wire. May be called twice."""
        self._control.console.close()

    # --- for the classes ---

    @abstractmethod
    def _build(self, setup: WireSetup) -> None:
        """Creates what `set_up` asks for, and reads it back."""

    def _overruns(self) -> dict[str, int]:
        """Counters since the kernel started that grow when the wire itself loses a packet, by place."""
        return counting.interface_losses(self._control)

    def _known(self, *hosts: str) -> WireSetup:
        """The set-up. Raises `WireError` before `set_up`, or if it does not know one of these hosts."""
        if self._setup is None:
            raise WireError(f"{self._control.name}: not set up yet", hint="call set_up first")
        for host in hosts:
            if host not in self._setup.hosts:
                known = ", ".join(self._setup.hosts)
                raise WireError(f"{self._control.name}: no host {host!r}: the hosts are {known}")
        return self._setup

    def _tell(self, event: WireEvent) -> None:
        self.events.append(event)
        self._on_event(event)

    def _tell_apart(self, setup: WireSetup) -> None:
        """Emits which hosts are kept apart, once they are."""
        for pair in setup.apart:
            self._tell(WireEvent(self._control.clock.wall_ns(), "apart", None, between=pair))

    def _tell_links(self, sides: Iterable[tuple[str, Direction]], wall_ns: int, step: str | None) -> None:
        """Emits that these directions of links are as asked since that moment."""
        for host, side in sides:
            self._tell(
                WireEvent(
                    wall_ns=wall_ns,
                    action="link",
                    step=step,
                    host=host,
                    direction=side,
                    impairment=self.links[host].side(side),
                )
            )


def as_asked(differences: Sequence[str]) -> None:
    """Raises `WireError` if what the kernel has differs from what was asked."""
    if differences:
        raise WireError(
            "the link is not as asked: " + "; ".join(differences),
            hint="the kernel that impairs (see the result's `wire`) does something else with this option",
        )
