"""The kernel's schedules against what Linux 6.18 did (seconds and SYNs measured on loopback)."""

from __future__ import annotations

import pytest

from lab.checks.kernel import S, SynSettings, backoff, syn_plan
from lab.tolerance import Tolerance

MS = 1_000_000


@pytest.mark.parametrize(
    ("retries", "linear", "user_ms", "syns", "measured"),
    [
        (1, 4, 0, 3, 3.05),
        (2, 4, 0, 6, 7.14),
        (2, 0, 0, 3, 7.19),
        (3, 4, 0, 8, 19.43),
        (3, 0, 0, 4, 15.29),
        (1, 0, 0, 2, 3.038),
        (2, 1, 0, 4, 8.125),
        (2, 2, 0, 5, 9.148),
        (2, 4, 500, 2, 1.030),
        (3, 0, 2500, 2, 2.535),
        (3, 4, 2500, 3, 2.525),
    ],
)
def test_schedule_is_what_linux_did(
    retries: int, linear: int, user_ms: int, syns: int, measured: float
) -> None:
    plan = syn_plan(SynSettings(retries, linear, user_timeout_ns=user_ms * MS))
    assert len(plan.sends_ns) == syns
    low, high = plan.bounds(Tolerance())
    assert low <= measured * S <= high
    assert high < 1.15 * plan.gives_up_ns + 50 * MS  # the tolerance is not a licence


def test_defaults_as_the_kernel_documents_them() -> None:
    new = syn_plan(SynSettings.of({"net.ipv4.tcp_syn_linear_timeouts": "4"}))
    assert [at // S for at in new.sends_ns] == [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67]
    assert new.gives_up_ns == 131 * S
    old = syn_plan(SynSettings.of({"net.ipv4.tcp_syn_retries": "6"}))
    assert [at // S for at in old.sends_ns] == [0, 1, 3, 7, 15, 31, 63]
    assert old.gives_up_ns == 127 * S


def test_a_sockets_own_count_goes_before_the_sysctl() -> None:
    sysctls = {"net.ipv4.tcp_syn_retries": "6", "net.ipv4.tcp_syn_linear_timeouts": "0"}
    assert syn_plan(SynSettings.of(sysctls, syncnt=1)).gives_up_ns == 3 * S


def test_longest_timeout_is_capped() -> None:
    plan = syn_plan(SynSettings(8, 0))
    assert [gap // S for gap in plan.gaps_ns] == [1, 2, 4, 8, 16, 32, 64, 120]
    short = syn_plan(SynSettings.of({"net.ipv4.tcp_syn_retries": "4", "net.ipv4.tcp_rto_max_ms": "2000"}))
    assert [gap // S for gap in short.gaps_ns] == [1, 2, 2, 2]


def ms(*gaps: float) -> list[int]:
    return [round(gap * MS) for gap in gaps]


@pytest.mark.parametrize(
    "gaps",
    [
        ms(212, 424, 848, 1696),
        ms(208, 214, 424, 860),  # a tail loss probe, then the RTO
        ms(230, 412, 840),  # the first was late, the rest on time
        ms(30, 240, 490, 960),
    ],
)
def test_back_off_is_recognised(gaps: list[int]) -> None:
    assert backoff(gaps, {}, Tolerance()).bad is None


@pytest.mark.parametrize(
    ("gaps", "bad"),
    [
        (ms(212, 212, 212, 212), 1),  # no doubling
        (ms(212, 424, 700), 2),
        (ms(212, 424, 1200), 2),
        (ms(50, 100, 200, 400), 0),  # shorter than any RTO
        (ms(212, 212), 1),  # a probe and an RTO: no doubling seen
        (ms(900, 210, 420), 1),  # a probe comes no later than the RTO
    ],
)
def test_what_is_not_back_off_is_not(gaps: list[int], bad: int) -> None:
    assert backoff(gaps, {}, Tolerance()).bad == bad


def test_back_off_obeys_the_sysctls() -> None:
    sysctls = {"net.ipv4.tcp_rto_min_us": "50000", "net.ipv4.tcp_rto_max_ms": "1000"}
    assert backoff(ms(60, 120, 240, 480, 960, 1000), sysctls, Tolerance()).bad is None
    assert backoff(ms(60, 120, 240, 480, 960, 1920), sysctls, Tolerance()).bad == 5
