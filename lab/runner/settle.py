"""The end of the steps: wait until nothing is in flight, so that nothing on its way is called lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import permutations

from lab.clock import Clock, Deadline
from lab.link import Link, round_trip

_QUIET_AFTER_RTT = 0.05  #: seconds
_LONGEST = 3.0  #: seconds
_PERIOD = 0.01  #: seconds between two looks at the hosts' packet counters


def quiet_time(links: Iterable[Link]) -> float:
    """Seconds without a packet after which a network of these links is at rest."""
    pairs = permutations(links, 2)
    return max((round_trip(a, b).seconds for a, b in pairs), default=0.0) + _QUIET_AFTER_RTT


def settle(
    packets: Callable[[], Mapping[str, int]], in_flight: Callable[[], int], quiet: float, clock: Clock
) -> bool:
    """Waits until no host has sent or received for `quiet` seconds and the wire's queues are empty.

    `packets` gives each host's count of packets so far, `in_flight` how many the wire holds. At most 3 s;
    says whether the network came to rest.
    """
    deadline = Deadline.after(_LONGEST, "settling", clock)
    while not deadline.expired():
        calm = Deadline.after(quiet, "quiet", clock)
        last = packets()
        while not calm.expired() and not deadline.expired():
            clock.sleep(min(_PERIOD, calm.remaining()))
            now = packets()
            if now != last:
                last = now
                calm = Deadline.after(quiet, "quiet", clock)
        if calm.expired() and in_flight() == 0 and packets() == last:
            return True
    return False
