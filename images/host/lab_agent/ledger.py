"""What each TCP stream has carried so far, in memory shared by the agent and one of its processes.

A killed process cannot report, but the agent still reads what it noted here. A slot holds two copies and the
index of the valid one, so a reader (or a kill) between two writes finds a complete copy.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from typing import NamedTuple

_ENTRY = struct.Struct("=QQ32s32s")
_SLOT = 8 + 2 * _ENTRY.size
SLOTS = 65536  # pages exist only once touched


class Entry(NamedTuple):
    sent: int
    received: int
    sent_sha256: str
    received_sha256: str


class Ledger:
    """The shared memory, created before the fork; the process writes, the agent reads."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOTS * _SLOT)

    def write(self, slot: int, sent: int, received: int, sent_digest: bytes, received_digest: bytes) -> None:
        base = slot * _SLOT
        turn = 1 - self._memory[base]
        _ENTRY.pack_into(
            self._memory, base + 8 + turn * _ENTRY.size, sent, received, sent_digest, received_digest
        )
        self._memory[base] = turn

    def read(self, slot: int) -> Entry:
        base = slot * _SLOT
        while True:
            turn = self._memory[base]
            raw = _ENTRY.unpack_from(self._memory, base + 8 + turn * _ENTRY.size)
            if self._memory[base] == turn:
                sent, received, sent_digest, received_digest = raw
                return Entry(sent, received, sent_digest.hex(), received_digest.hex())

    def close(self) -> None:
        self._memory.close()


class Stream:
    """The running hashes of one TCP socket, with each byte counted once. One thread at a time per side."""

    def __init__(self, ledger: Ledger, slot: int) -> None:
        self._ledger = ledger
        self._slot = slot
        self._sent = hashlib.sha256()
        self._received = hashlib.sha256()
        self.sent_bytes = 0
        self.received_bytes = 0
        self._note()

    def sent(self, data: bytes | memoryview) -> None:
        self._sent.update(data)
        self.sent_bytes += len(data)
        self._note()

    def received(self, data: bytes | memoryview) -> None:
        self._received.update(data)
        self.received_bytes += len(data)
        self._note()

    def _note(self) -> None:
        self._ledger.write(
            self._slot, self.sent_bytes, self.received_bytes, self._sent.digest(), self._received.digest()
        )
