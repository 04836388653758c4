"""The counters of the wire's queues and interfaces, and what they lost without being told to."""

from __future__ import annotations

from collections.abc import Iterable

from lab.errors import WireError
from lab.evidence.model import Json, QueueCount
from lab.wire import router, tc
from lab.wire.control import Control

#: Two take 10 ms and are enough if nothing moves; a network that settled has at most a stray packet.
_READINGS = 20


def in_flight(control: Control) -> int:
    """Packets that wait in all queues. A root's number includes its child's."""
    return sum(tc.queued(found).waiting for found in control.qdiscs() if found.get("root"))


def queue_counts(control: Control, ports: Iterable[tc.Port]) -> list[QueueCount]:
    qdiscs = control.qdiscs()
    full = _queues_full(control)
    found = []
    for port in ports:
        root = tc.qdisc(qdiscs, port.device, "netem")
        if root is None:
            raise WireError(f"{port}: its netem is gone")
        counts = tc.queued(root)
        shaper = tc.qdisc(qdiscs, port.device, "tbf") or {}
        found.append(
            QueueCount(
                host=port.host,
                direction=port.direction,
                sent_packets=counts.packets,
                sent_bytes=counts.bytes,
                dropped=counts.dropped,
                overlimits=int(shaper.get("overlimits", 0)),
                queue_full=full.get(port.device, 0),
            )
        )
    return found


def interface_losses(control: Control) -> dict[str, int]:
    """Packets lost by the wire's interfaces since the kernel started, and between its two kernels."""
    outside, inside = both_sides(control)
    found = router.interface_drops(inside, "wire") | router.interface_drops(outside, "container")
    if outside:
        found |= router.lost_between(outside, inside, control.hello.device)
    return found


def queue_losses(control: Control, ports: Iterable[tc.Port]) -> dict[str, int]:
    """Packets lost because the queues of the interfaces, or of these links, were full."""
    found = {
        f"wire/{entry.get('dev')} queue": lost
        for entry in control.qdiscs()
        if entry.get("kind") == "pfifo" and entry.get("root") and (lost := tc.queued(entry).dropped)
    }
    full = _queues_full(control)
    found |= {f"wire/{port.device} queue": lost for port in ports if (lost := full.get(port.device, 0))}
    return found


def both_sides(control: Control) -> tuple[list[Json], list[Json]]:
    """The interfaces outside and inside user-mode Linux at one moment: read until nothing moves.

    A packet between the two readings, or still in the socket between the kernels, would count as lost. If the
    network never rests, these are the last readings.
    """
    if control.hello.kind != "uml":
        return [], control.ask("ip", "link show").json()
    before: list[dict[str, int]] | None = None
    outside: list[Json] = []
    inside: list[Json] = []
    for _ in range(_READINGS):
        outside = control.ask("out", "ip -j -s link show").json()
        inside = control.ask("ip", "link show").json()
        now = [router.packets(links, control.hello.device) for links in (outside, inside)]
        if now == before:
            break
        before = now
    return outside, inside


def _queues_full(control: Control) -> dict[str, int]:
    return tc.redirected(control.filters("ingress")) | tc.redirected(control.filters("egress"))
