"""Starts tcpdump in a container without CAP_SETGID: a filter pretends that setgroups(2) succeeds.

As root, Debian's tcpdump always calls setgroups(2) before it captures, even with `-Z root`, and gives up if
that fails ("Couldn't change to 'root' …: Operation not permitted", 4.99.3). The lab's hosts have only
NET_ADMIN and NET_RAW, so a seccomp filter tells tcpdump that the call succeeded. Its groups stay as they are,
and it gains nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Sequence

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

# linux/filter.h, linux/seccomp.h, linux/audit.h; the numbers of setgroups in each syscall table
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _SUCCEED_WITHOUT_DOING_IT = 0x7FFF0000, 0x00050000
_ARCHITECTURES = {"x86_64": (0xC000003E, 116), "aarch64": (0xC00000B7, 159)}
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _filter() -> bytes | None:
    known = _ARCHITECTURES.get(os.uname().machine)
    if known is None:
        return None
    architecture, setgroups = known
    code = (
        (_LOAD, 0, 0, _OFFSET_ARCHITECTURE),
        (_JUMP_EQUAL, 0, 3, architecture),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_JUMP_EQUAL, 0, 1, setgroups),
        (_RETURN, 0, 0, _SUCCEED_WITHOUT_DOING_IT),
        (_RETURN, 0, 0, _ALLOW),
    )
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def spawn(argv: Sequence[str], stderr: int, signals: Sequence[signal.Signals]) -> int:
    """Fork and exec `argv` under the filter, with nothing on stdin and stdout; return its pid.

    `signals` get their default handling. Status 127 is "not found".
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1):
            os.dup2(null, number)
        os.dup2(stderr, 2)
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in signals:
            signal.signal(number, signal.SIG_DFL)
        instructions = _filter()
        if instructions is not None:
            libc = ctypes.CDLL(None, use_errno=True)
            memory = ctypes.create_string_buffer(instructions, len(instructions))
            program = _Program(len(instructions) // 8, ctypes.cast(memory, ctypes.c_void_p))
            libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
        os.execvpe(argv[0], list(argv), {**os.environ, "LC_ALL": "C"})
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        sys.stderr.flush()
    finally:
        os._exit(127)
