"""A server that answers over a slow link: what a test of your own looks like."""

from __future__ import annotations

import pytest

import lab

SLOW = {"client": {"link": {"delay": "50ms"}}}


@pytest.mark.lab("compose/pair.yml", hosts=SLOW)
def test_a_connection_takes_a_round_trip(net: lab.Lab) -> None:
    net["server"].listen(8001)
    client = net["client"].connect("server:8001", timeout="1s")
    assert 0.1 <= client.last.elapsed < 0.2  # 50 ms there, 50 ms back
    net.check("handshake", from_="client", to="server:8001")


@pytest.mark.lab("compose/pair.yml", hosts=SLOW)
def test_a_stream_keeps_no_borders(net: lab.Lab) -> None:
    listener = net["server"].listen(8001)
    client = net["client"].connect("server:8001", timeout="1s")
    server = listener.accept(timeout="1s")
    client.sendall(b"hello ")
    client.sendall(b"world")
    assert server.recv_exactly(11, timeout="1s") == b"hello world"


@pytest.mark.lab("compose/pair.yml")
def test_nobody_listens(net: lab.Lab) -> None:
    with pytest.raises(ConnectionRefusedError):
        net["client"].connect("server:8001", timeout="1s")


@pytest.mark.lab("compose/pair.yml")
def test_a_server_that_says_nothing(net: lab.Lab) -> None:
    net["server"].listen(8001)
    client = net["client"].connect("server:8001", timeout="1s")
    with pytest.raises(TimeoutError) as raised:
        client.recv(10, timeout=0.3)
    assert raised.value.errno is None  # the socket's own time-out, not the kernel's ETIMEDOUT
    assert 0.29 <= client.last.elapsed < 0.5
