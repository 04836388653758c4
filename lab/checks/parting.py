"""Where two byte strings differ, in words: the offset, the bytes around it, wanted and got."""

from __future__ import annotations

from itertools import compress, count
from operator import ne

_AROUND = 8  #: bytes that are shown on either side


def first_difference(wanted: bytes, got: bytes) -> int | None:
    """The offset of the first byte that differs, or of the earlier end; None if they are equal."""
    at = next(compress(count(), map(ne, wanted, got)), None)
    if at is None and len(wanted) != len(got):
        return min(len(wanted), len(got))
    return at


def parting(wanted: bytes, got: bytes) -> str:
    """`the first difference is at byte 3, after b'GET': b'/', and not b' /' (1 byte is missing there)`.

    Bytes are counted from 0. "" where they are equal.
    """
    at = first_difference(wanted, got)
    if at is None:
        return ""
    before = f", after {got[max(0, at - _AROUND) : at]!r}" if at else ""
    text = f"the first difference is at byte {at:,}{before}: {_from(got, at)}, and not {_from(wanted, at)}"
    missing = len(wanted) - len(got)
    if missing > 0 and at < len(got) and wanted[at + missing :] == got[at:]:
        noun = "1 byte is" if missing == 1 else f"{missing:,} bytes are"
        text += f" ({noun} missing there)"
    return text


def _from(data: bytes, at: int) -> str:
    return repr(data[at : at + _AROUND]) if at < len(data) else "the end"
