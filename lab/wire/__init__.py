"""The wire: the router between the hosts, which owns every link and speaks tc, ip and iptables."""

from collections.abc import Callable

from lab.clock import SYSTEM_CLOCK, Clock, Deadline
from lab.engine.base import Stream
from lab.evidence.model import WireEvent
from lab.wire.console import Console
from lab.wire.control import Control, Hello
from lab.wire.impairing import ImpairingWire
from lab.wire.router import WireSetup
from lab.wire.routing import RoutingWire
from lab.wire.wire import Wire

__all__ = ["Hello", "ImpairingWire", "RoutingWire", "Wire", "WireSetup", "open_wire"]


def open_wire(
    stream: Stream,
    timeout: float,
    name: str = "wire",
    *,
    clock: Clock = SYSTEM_CLOCK,
    on_event: Callable[[WireEvent], None] = lambda event: None,
) -> Wire:
    """Opens the wire once the kernel that its container chose is up; the container says whether it impairs.

    `on_event` gets each `WireEvent` once it is in effect. Raises `WireError` with the reason if no kernel
    here can do what the container was told.
    """
    ready = Deadline.after(timeout, f"{name}: {timeout:.0f} s to get ready", clock)
    control = Control(Console(stream, name, clock), name, clock, ready)
    return (RoutingWire if control.hello.router else ImpairingWire)(control, on_event)
