"""What the agent may do and who may touch it: user, capabilities, no new privileges, not dumpable.

A process that is not dumpable is closed to others of its user: without SYS_PTRACE nobody can attach to it or
open its descriptors, environment or memory in /proc.
"""

from __future__ import annotations

import ctypes
import os
import struct

AGENT_UID = 61000  #: the user of the agent and all that it starts, in a container; no one else has it

NET_ADMIN, NET_RAW, SETUID = 12, 13, 7  # linux/capability.h
#: Files that the set-up writes: the names of the lab's hosts.
ITS_FILES = ("/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf")

_PR_SET_KEEPCAPS = 8
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 47, 2, 4
_VERSION_3 = 0x20080522

#: No other user of the container may reach the agent, but it needs these for set-up, power and captures.
OWN = (NET_ADMIN, NET_RAW)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(*words: int) -> None:
    padded = [ctypes.c_ulong(word) for word in (*words, 0, 0, 0, 0)[:5]]
    if _libc().prctl(*padded) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl{words}: {os.strerror(code)}")


def _capset(capabilities: tuple[int, ...], *, inherited: bool) -> None:
    """Make exactly these capabilities permitted and effective."""
    low = sum(1 << number for number in capabilities)
    head = ctypes.create_string_buffer(struct.pack("=Ii", _VERSION_3, 0))
    body = ctypes.create_string_buffer(struct.pack("=6I", low, low, low if inherited else 0, 0, 0, 0))
    if _libc().capset(head, body) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"capset {capabilities}: {os.strerror(code)}")


def effective() -> int:
    """The calling process's effective capabilities, as a set of bits."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        (line,) = [line for line in status if line.startswith("CapEff:")]
    return int(line.split()[1], 16)


def close_to_others() -> None:
    """Make the process not dumpable, and keep programs that it starts from gaining privileges."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)


def become_agent() -> None:
    """In a container, become a user of the agent's own, with what set-up and captures need.

    ip, tc, ethtool and tcpdump inherit the ambient capabilities; the processes that make calls give them up.
    Elsewhere, or if the container may not change its user, the user stays the same.
    """
    if os.getpid() == 1 and os.getuid() == 0 and effective() >> SETUID & 1:
        for path in ITS_FILES:
            os.chmod(path, 0o666)  # nobody else is in this container
        _prctl(_PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(AGENT_UID, AGENT_UID, AGENT_UID)
        os.setresuid(AGENT_UID, AGENT_UID, AGENT_UID)
        _capset(OWN, inherited=True)
        for number in OWN:
            _prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, number)
    close_to_others()


def give_up_all() -> None:
    """Give up all capabilities for good, in the processes that make the scenario's calls."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    _capset((), inherited=False)
    _prctl(_PR_SET_DUMPABLE, 0)
