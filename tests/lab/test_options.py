"""Each socket option of the reference, set and read on a real host; the table says why one cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab.engine.base import Engine
from lab.engine.images import Images
from lab.evidence.model import CallRecord
from lab.host import CallSpec, Host
from lab.socket_options import OPTIONS
from tests.lab.agent_pair import agent_pair

pytestmark = pytest.mark.docker

#: Values for options that cannot be read before they are set.
VALUES: dict[str, Any] = {
    "SO_CNX_ADVICE": 1,
    "TCP_FASTOPEN_KEY": {"hex": "00112233445566778899aabbccddeeff"},
}


@pytest.fixture(scope="module")
def client(engine: Engine, images: Images) -> Iterator[Host]:
    with agent_pair(engine, images.host.tag) as pair:
        yield pair.client


def do(host: Host, call: str, **arguments: Any) -> CallRecord:
    step = f"{call}-{arguments}"
    return host.call(CallSpec(step, call, {key.rstrip("_"): v for key, v in arguments.items()})).result(10)


def set_and_read(host: Host, name: str, kind: str) -> CallRecord:
    """The call on a fresh socket that failed, or the last one."""
    socket, option = f"{name}-{kind}", OPTIONS[name]
    do(host, "socket", kind=kind, as_=socket)
    if name in VALUES:
        written = do(host, "setsockopt", on=socket, option=name, value=VALUES[name])
        if written.error is not None or option.access == "set":
            return written
    read = do(host, "getsockopt", on=socket, option=name)
    if read.error is not None or option.access == "get" or name in VALUES:
        return read
    again = {"hex": read.result} if option.kind == "bytes" else read.result
    if option.kind == "timeval":
        again = {"hex": bytes(16).hex()}
    return do(host, "setsockopt", on=socket, option=name, value=again)


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if not option.needs])
def test_an_option_is_set_and_read(name: str, client: Host) -> None:
    """On one kind of socket at least."""
    tried = [set_and_read(client, name, kind) for kind in ("tcp", "udp")]
    errors = [record.error.message for record in tried if record.error is not None]
    assert len(errors) < 2, errors


@pytest.mark.parametrize(
    ("name", "value"),
    [("TCP_KEEPIDLE", 7), ("TCP_CONGESTION", "reno"), ("SO_LINGER", {"onoff": 1, "seconds": 3})],
)
def test_what_is_read_is_what_was_set(name: str, value: object, client: Host) -> None:
    do(client, "socket", kind="tcp", as_=f"c-{name}")
    do(client, "setsockopt", on=f"c-{name}", option=name, value=value)
    assert do(client, "getsockopt", on=f"c-{name}", option=name).result == value
