"""Waits for descriptors with a deadline in nanoseconds; needs no descriptor of its own to be woken.

select.poll counts in milliseconds and select.select takes no descriptor above 1023, so this calls ppoll(2)
through ctypes. A signal that is blocked except inside ppoll ends a wait early, so it cannot be lost and no
pipe is needed: a process that has run out of descriptors can still wait and be cancelled.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import time
from collections.abc import Sequence

POLLIN = select.POLLIN
POLLOUT = select.POLLOUT
WAKE = signal.SIGRTMAX

_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29


class _PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_libc = ctypes.CDLL(None, use_errno=True)
_ppoll = _libc.ppoll
_ppoll.argtypes = (ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p)
_NO_SIGNALS = ctypes.create_string_buffer(128)  # an empty sigset_t, as large as glibc's


def prepare_process() -> None:
    """Once, before any thread: block the wake-up signal, make timers exact, die with the parent."""
    signal.signal(WAKE, _nothing)
    signal.pthread_sigmask(signal.SIG_BLOCK, [WAKE])
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # ns; inherited by threads. The default is 50 µs
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def wait_fd(fd: int, events: int, until_ns: int | None) -> bool:
    """Block until `fd` has one of `events`, an error or a hang-up: True; False if woken or out of time.

    `until_ns` is on CLOCK_MONOTONIC; None means forever.
    """
    return bool(wait_fds([fd], events, until_ns)[0])


def wait_fds(fds: Sequence[int], events: int, until_ns: int | None) -> list[int]:
    """Block until one of `fds` has one of `events`, an error or a hang-up; return the events of each.

    All are 0 if woken or out of time. A descriptor that is not open has POLLNVAL.
    """
    entries = (_PollFd * len(fds))(*(_PollFd(fd, events, 0) for fd in fds))
    span = None
    if until_ns is not None:
        seconds, nanoseconds = divmod(max(0, until_ns - time.monotonic_ns()), 1_000_000_000)
        span = ctypes.byref(_TimeSpec(seconds, nanoseconds))
    ready = _ppoll(ctypes.byref(entries), len(fds), span, ctypes.byref(_NO_SIGNALS))
    if ready < 0 and (code := ctypes.get_errno()) != errno.EINTR:
        raise OSError(code, os.strerror(code))
    return [entry.revents if ready > 0 else 0 for entry in entries]


def _nothing(number: int, frame: object) -> None:
    """Handle the signal, so that it interrupts ppoll and does nothing else."""
