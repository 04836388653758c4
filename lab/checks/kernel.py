"""The schedule of the kernel's timers: SYNs computed from live sysctls, and the back-off of data.

Source: net/ipv4/tcp_timer.c of Linux 6.5 and later (`tcp_write_timeout`, `retransmits_timed_out`,
`tcp_model_timeout`, `tcp_retransmit_timer`); compared with runs on Linux 6.18 in the unit tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from msgspec import Struct

from lab.tolerance import Tolerance

MS = 1_000_000
S = 1_000_000_000

INITIAL_RTO_NS = 1 * S  #: TCP_TIMEOUT_INIT, RFC 6298; no sysctl
RTO_MAX_NS = 120 * S  #: where net.ipv4.tcp_rto_max_ms does not exist
RTO_MIN_NS = 200 * MS  #: where net.ipv4.tcp_rto_min_us does not exist
DEFAULT_SYN_RETRIES = 6

SYN_RETRIES = "net.ipv4.tcp_syn_retries"
SYN_LINEAR = "net.ipv4.tcp_syn_linear_timeouts"
RTO_MAX = "net.ipv4.tcp_rto_max_ms"
RTO_MIN = "net.ipv4.tcp_rto_min_us"

#: The sysctls behind the schedules: a host reads those that its kernel has.
SYSCTLS = (SYN_RETRIES, SYN_LINEAR, RTO_MAX, RTO_MIN)


class SynPlan(Struct, frozen=True):
    """When the kernel sends each unanswered SYN, and when connect() gives up, from the first SYN."""

    sends_ns: tuple[int, ...]  #: 0 first
    gives_up_ns: int

    @property
    def gaps_ns(self) -> tuple[int, ...]:
        return tuple(b - a for a, b in pairwise(self.sends_ns))

    def bounds(self, tolerance: Tolerance) -> tuple[int, int]:
        """When connect() may give up: every timer may be late, and is armed by the one before."""
        steps = (*self.gaps_ns, self.gives_up_ns - self.sends_ns[-1])
        late = sum(tolerance.bounds(step)[1] - tolerance.machine_ns for step in steps)
        return max(0, self.gives_up_ns - tolerance.early_ns), late + tolerance.machine_ns


class SynSettings(Struct, frozen=True):
    """The settings that determine the SYN schedule of one socket."""

    retries: int  #: TCP_SYNCNT of the socket, otherwise tcp_syn_retries
    linear: int  #: tcp_syn_linear_timeouts; 0 where the kernel has none (before 6.5)
    rto_max_ns: int = RTO_MAX_NS
    user_timeout_ns: int = 0  #: TCP_USER_TIMEOUT; 0 is none

    @classmethod
    def of(
        cls, sysctls: Mapping[str, str], *, syncnt: int | None = None, user_timeout_ns: int = 0
    ) -> SynSettings:
        """From a host's live sysctls and the options set on the socket."""
        return cls(
            syncnt or int(sysctls.get(SYN_RETRIES, DEFAULT_SYN_RETRIES)),
            int(sysctls.get(SYN_LINEAR, 0)),
            int(sysctls[RTO_MAX]) * MS if RTO_MAX in sysctls else RTO_MAX_NS,
            user_timeout_ns,
        )

    def __str__(self) -> str:
        text = f"{self.retries} SYN retries, {self.linear} linear timeouts"
        return text + (f", TCP_USER_TIMEOUT {self.user_timeout_ns // MS} ms" if self.user_timeout_ns else "")


def syn_plan(settings: SynSettings) -> SynPlan:
    """The schedule of a connect() that nothing answers.

    At each timer the kernel gives up if it has retransmitted `retries + linear` times, or if the time of
    `retries` doublings (2^(retries+1) - 1 s) or the user timeout is over; otherwise it sends again. The
    timeout doubles after every timer except the first `linear` ones.
    """
    limit = settings.user_timeout_ns or _model_timeout(settings)
    sends = [0]
    rto = at = INITIAL_RTO_NS
    while True:
        resent = len(sends) - 1
        over = resent > 0 and at >= limit  # never before a retransmission
        if over or resent >= settings.retries + settings.linear:
            return SynPlan(tuple(sends), at)
        sends.append(at)
        if len(sends) - 1 > settings.linear:
            rto = min(2 * rto, settings.rto_max_ns)
        wait = rto
        if settings.user_timeout_ns:  # the next timer is not later than the user timeout; past it, at once
            wait = min(rto, max(settings.user_timeout_ns - at, 1 * MS))
        at += wait


def _model_timeout(settings: SynSettings) -> int:
    """`tcp_model_timeout`: how long the first transmission and `retries` doublings take."""
    doublings = (settings.rto_max_ns // INITIAL_RTO_NS).bit_length() - 1  # ilog2
    if settings.retries <= doublings:
        return ((2 << settings.retries) - 1) * INITIAL_RTO_NS
    return ((2 << doublings) - 1) * INITIAL_RTO_NS + (settings.retries - doublings) * settings.rto_max_ns


class Backoff(Struct, frozen=True):
    """The kernel's back-off, by the gaps between the transmissions of one data segment."""

    first: int | None  #: index of the gap that is the RTO itself; None if the gaps fit no back-off
    bounds_ns: tuple[tuple[int, int], ...]  #: earliest and latest of each gap, by the best reading
    bad: int | None  #: index of the first gap outside its bounds; None if all hold


def backoff(gaps_ns: Sequence[int], sysctls: Mapping[str, str], tolerance: Tolerance) -> Backoff:
    """Hold the gaps of one segment's transmissions against exponential back-off.

    The retransmission timeout (RTO) comes from the round trips that the kernel measured, which no sysctl
    shows. So it is taken from the gaps: it is at least tcp_rto_min, and each gap after it is twice the last,
    up to tcp_rto_max. One gap may come before it: that of the tail loss probe, which is not later than the
    RTO. A measured RTO may itself be late, so the next gap may be that much shorter than its double.
    """
    as_rto = _backoff_from(0, gaps_ns, sysctls, tolerance)
    if as_rto.bad is None or len(gaps_ns) < 3:
        return as_rto
    after_probe = _backoff_from(1, gaps_ns, sysctls, tolerance)
    return after_probe if after_probe.bad is None else as_rto


def _backoff_from(
    first: int, gaps_ns: Sequence[int], sysctls: Mapping[str, str], tolerance: Tolerance
) -> Backoff:
    longest = int(sysctls[RTO_MAX]) * MS if RTO_MAX in sysctls else RTO_MAX_NS
    shortest = int(sysctls[RTO_MIN]) * 1_000 if RTO_MIN in sysctls else RTO_MIN_NS
    rto = gaps_ns[first]
    # The true RTO; the measured one may be late.
    truly = max(
        shortest,
        min(rto - tolerance.late_ns, round(rto / (1 + tolerance.late_share))) - tolerance.machine_ns,
    )
    bounds: list[tuple[int, int]] = []
    for index in range(len(gaps_ns)):
        if index < first:
            bounds.append((0, tolerance.bounds(rto)[1]))
        elif index == first:
            bounds.append((shortest - tolerance.early_ns, tolerance.bounds(longest)[1]))
        else:
            factor = 2 ** (index - first)
            low = tolerance.bounds(min(truly * factor, longest))[0]
            bounds.append((low, tolerance.bounds(min(rto * factor, longest))[1]))
    bad = first_outside(gaps_ns, bounds)
    return Backoff(None if bad is not None else first, tuple(bounds), bad)


def first_outside(gaps_ns: Sequence[int], bounds: Sequence[tuple[int, int]]) -> int | None:
    """The index of the first gap outside its bounds, as far as there are both; None if all hold."""
    pairs = enumerate(zip(gaps_ns, bounds, strict=False))
    return next((i for i, (gap, (low, high)) in pairs if not low <= gap <= high), None)
