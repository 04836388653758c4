"""The end of the steps: wait until nothing is in flight, so that nothing on its way is called lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import permutations

from lab.clock import NS, Clock, Deadline
from lab.link import Link, round_trip

_QUIET_AFTER_RTT = 0.05  #: seconds
_LONGEST = 3.0  #: seconds
_LOOK = 0.01  #: seconds between two looks at the queues of the wire


def quiet_time(links: Iterable[Link]) -> float:
    """Seconds without a packet after which a network of these links is at rest."""
    pairs = permutations(links, 2)
    return max((round_trip(a, b).seconds for a, b in pairs), default=0.0) + _QUIET_AFTER_RTT


def settle(
    quiet_ns: Callable[[], int],
    in_flight: Callable[[], int],
    quiet: float,
    wait: Callable[[float], None],
    clock: Clock,
) -> bool:
    """Waits until no host has sent or received for `quiet` seconds and the wire's queues are empty.

    `quiet_ns` says for how long all hosts have been quiet, `in_flight` how many packets the wire holds.
    At most 3 s; says whether the network came to rest.
    """
    deadline = Deadline.after(_LONGEST, "settling", clock)
    while not deadline.expired():
        missing = quiet - quiet_ns() / NS
        if missing > 0:
            wait(min(missing, deadline.remaining()))
        elif in_flight() > 0:
            wait(min(_LOOK, deadline.remaining()))
        else:
            return True
    return False
