"""Where two strings of bytes part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.checks.parting import first_difference, parting


@pytest.mark.parametrize(
    ("wanted", "got", "text"),
    [
        (b"abc", b"abc", ""),
        (b"GET /", b"GET/", "byte 3, after b'GET': b'/', and not b' /' (1 byte is missing there)"),
        (b"abcdef", b"adef", "byte 1, after b'a': b'def', and not b'bcdef' (2 bytes are missing there)"),
        (b"abc", b"ab", "byte 2, after b'ab': the end, and not b'c'"),
        (b"", b"\x00\xff", "byte 0: b'\\x00\\xff', and not the end"),
        (b"x" * 2000 + b"a", b"x" * 2000 + b"b", "byte 2,000, after b'xxxxxxxx': b'b', and not b'a'"),
    ],
)
def test_in_words(wanted: bytes, got: bytes, text: str) -> None:
    assert parting(wanted, got) == (f"the first difference is at {text}" if text else "")


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_up_to_there_they_are_equal(same: bytes, a: bytes, b: bytes) -> None:
    at = first_difference(same + a, same + b)
    if at is None:
        assert a == b
    else:
        assert at >= len(same)
        assert (same + a)[:at] == (same + b)[:at]
        assert (same + a)[at : at + 1] != (same + b)[at : at + 1]
