"""Every socket call of a scenario, by a real agent on this machine's loopback; the failures too."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import pytest

from lab.errors import UsageError
from lab.evidence.model import CallRecord
from lab.host import CallSpec, Host, Programs
from lab.host.channel import AgentRefused
from lab.units import Duration
from tests.process.agent_process import PipeStream, launcher

PATIENCE = 5.0
LOCAL = "127.0.0.1"


class Caller:
    """Makes calls in one process of the agent, whose sockets are all closed by `reset`."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.process = "main"
        self._steps = 0

    def spec(self, call: str, arguments: dict[str, Any], timeout: str | None) -> CallSpec:
        self._steps += 1
        # `as_` and `from_port`: Python keywords cannot be argument names
        args = {key.rstrip("_"): value for key, value in arguments.items()}
        limit = None if timeout is None else Duration.parse(timeout)
        return CallSpec(f"steps[{self._steps}]", call, args, self.process, limit)

    def do(self, call: str, timeout: str | None = None, **arguments: Any) -> CallRecord:
        return self.host.call(self.spec(call, arguments, timeout)).result(PATIENCE)

    def fails(self, call: str, timeout: str | None = None, **arguments: Any) -> str:
        record = self.do(call, timeout, **arguments)
        assert record.error is not None, f"{call} succeeded: {record}"
        return record.error.name

    def ok(self, call: str, timeout: str | None = None, **arguments: Any) -> CallRecord:
        record = self.do(call, timeout, **arguments)
        assert record.error is None, record.error
        return record

    def begin(self, call: str, **arguments: Any) -> Any:
        """A call that blocks: its spec's step and its future, once it is blocked."""
        spec = self.spec(call, arguments, None)
        future = self.host.call(spec)
        self.host.begun(spec.step, PATIENCE)
        return spec.step, future

    def listen(self) -> int:
        """A listener `srv` on a free port."""
        self.ok("bind", as_="srv", port=0, address=LOCAL)
        record = self.ok("listen", on="srv", backlog=5)
        assert record.local is not None
        return record.local.port

    def pair(self) -> int:
        """A connection: `c` at the client's end, `s` at the server's."""
        port = self.listen()
        self.ok("connect", to=[LOCAL, port], as_="c")
        self.ok("accept", on="srv", as_="s")
        return port

    def udp(self) -> int:
        record = self.ok("bind", as_="u", kind="udp", port=0, address=LOCAL)
        assert record.local is not None
        return record.local.port


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    stream, programs = PipeStream(), list[PipeStream]()
    with Host(stream, "h", Programs("h", launcher(programs))) as host:
        host.wait_ready()
        yield host
    for one in (stream, *programs):
        one.release()
    assert stream.process.returncode == 0
    assert stream.stderr_tail() == ""


@pytest.fixture
def caller(host: Host) -> Iterator[Caller]:
    yield Caller(host)
    host.limit_open_files(64)  # a new life of every process …
    host.limit_open_files(None)


def test_a_connection_from_its_first_call_to_its_last(caller: Caller) -> None:
    port = caller.listen()
    connect = caller.ok("connect", to=[LOCAL, port], as_="c")
    accept = caller.ok("accept", on="srv", as_="s")
    assert connect.remote is not None
    assert connect.remote.port == port
    assert accept.peer == connect.local
    assert (accept.socket, accept.kind) == ("s", "tcp")
    sent = caller.ok("sendall", on="c", data="hello world")
    assert (sent.result, sent.length, sent.data) == (None, 11, None)
    assert sent.sha256 == hashlib.sha256(b"hello world").hexdigest()
    assert caller.ok("peek", on="s", size=5).data == b"hello"
    assert caller.ok("recv", on="s", size=5).data == b"hello"
    assert caller.ok("recv_exactly", on="s", size=6).data == b" world"
    assert caller.ok("send", on="s", data={"hex": "00ff"}).result == 2
    assert caller.ok("recv", on="c", size=100).data == b"\x00\xff"
    caller.ok("shutdown", on="c", how="write")
    end = caller.ok("recv", on="s", size=5)
    assert (end.data, end.eof) == (b"", True)
    closed = caller.ok("close", on="c")
    assert closed.local == connect.local
    streams = {stream.socket: stream for stream in caller.host.streams()[-2:]}
    assert streams["c"].sent_sha256 == streams["s"].received_sha256 == sent.sha256
    assert streams["s"].received_bytes == 11  # the peeked ones once
    assert streams["c"].received_bytes == streams["s"].sent_bytes == 2


def test_descriptors_begin_at_three_and_close_frees_them(caller: Caller) -> None:
    assert caller.ok("socket", as_="a").fd == 3
    assert caller.ok("socket", as_="b", kind="udp").fd == 4
    caller.ok("close", on="a")
    assert caller.ok("socket", as_="a").fd == 3
    assert caller.ok("socket", as_="c").fd == 5


def test_connect_refused(caller: Caller) -> None:
    port = caller.listen()
    caller.ok("close", on="srv")
    record = caller.do("connect", to=[LOCAL, port], as_="c")
    assert record.error is not None
    assert (record.error.name, record.error.errno) == ("ECONNREFUSED", 111)
    assert record.elapsed_ns > 0
    assert record.start_wall_ns <= record.end_wall_ns


def test_a_name_without_address(caller: Caller) -> None:
    assert caller.fails("connect", to=["no such name", 80], as_="c") == "gaierror"


def test_timeout_is_neither_early_nor_late(caller: Caller) -> None:
    caller.pair()
    record = caller.do("recv", on="s", size=5, timeout="30ms")
    assert record.error is not None
    assert (record.error.name, record.error.errno) == ("timeout", None)
    # 1 ms late is the aim (seen: 0.2 ms); a machine that runs other tests is given 20
    assert 30_000_000 <= record.elapsed_ns < 50_000_000
    assert caller.fails("accept", on="srv", as_="t", timeout="5ms") == "timeout"


def test_settimeout_holds_for_each_call_and_a_calls_own_goes_before(caller: Caller) -> None:
    caller.pair()
    caller.ok("settimeout", on="s", value=5_000_000)
    assert caller.fails("recv", on="s", size=5) == "timeout"
    assert caller.do("recv", on="s", size=5, timeout="20ms").elapsed_ns >= 20_000_000
    caller.ok("settimeout", on="s", value=0)
    assert caller.fails("recv", on="s", size=5) == "EAGAIN"
    caller.ok("settimeout", on="s", value=None)
    _, future = caller.begin("recv", on="s", size=5)
    caller.ok("send", on="c", data="x")
    assert future.result(PATIENCE).data == b"x"


def test_a_non_blocking_connect_is_in_progress(caller: Caller) -> None:
    """A full accept queue on the loopback leaves the connect undecided."""
    caller.ok("bind", as_="srv", port=0, address=LOCAL)
    record = caller.ok("listen", on="srv", backlog=0)
    assert record.local is not None
    target = [LOCAL, record.local.port]
    caller.ok("connect", to=target, as_="first")
    caller.ok("socket", as_="c")
    caller.ok("settimeout", on="c", value=0)
    assert caller.fails("connect", to=target, on="c") == "EINPROGRESS"
    assert caller.fails("connect", to=target, on="c") == "EALREADY"
    caller.ok("accept", on="srv", as_="s")


def test_a_closed_socket_and_an_unknown_one(caller: Caller) -> None:
    caller.ok("socket", as_="a")
    caller.ok("close", on="a")
    assert caller.fails("recv", on="a", size=1) == "EBADF"
    assert caller.fails("close", on="a") == "EBADF"
    error = caller.do("recv", on="b", size=1).error
    assert error is not None
    assert (error.name, error.message.partition(":")[0]) == ("EBADF", "no socket b")
    caller.ok("socket", as_="a")
    with pytest.raises(AgentRefused, match="the name 'a' is taken"):
        caller.do("socket", as_="a")


def test_send_after_the_peer_closed_epipe(caller: Caller) -> None:
    caller.pair()
    caller.ok("close", on="s")
    assert caller.ok("recv", on="c", size=1).eof
    caller.ok("send", on="c", data="first")
    assert caller.fails("send", on="c", data="second") == "EPIPE"


def test_close_with_unread_data_resets(caller: Caller) -> None:
    caller.pair()
    caller.ok("sendall", on="c", data="unread")
    caller.ok("close", on="s")
    assert caller.fails("recv", on="c", size=1) == "ECONNRESET"


def test_linger_zero_resets(caller: Caller) -> None:
    caller.pair()
    caller.ok("setsockopt", on="c", option="SO_LINGER", value={"onoff": 1, "seconds": 0})
    assert caller.ok("getsockopt", on="c", option="SO_LINGER").result == {"onoff": 1, "seconds": 0}
    caller.ok("close", on="c")
    assert caller.fails("recv", on="s", size=1) == "ECONNRESET"


def test_a_port_is_held_by_one(caller: Caller) -> None:
    port = caller.listen()
    assert caller.fails("listen", as_="other", port=port, address=LOCAL) == "EADDRINUSE"
    assert caller.fails("connect", to=[LOCAL, port], as_="c", from_port=port) == "EADDRINUSE"


def test_options_by_name(caller: Caller) -> None:
    caller.pair()
    for option, value in (("TCP_NODELAY", 1), ("TCP_USER_TIMEOUT", 3000), ("TCP_SYNCNT", 2), ("IP_TTL", 9)):
        caller.ok("setsockopt", on="c", option=option, value=value)
        assert caller.ok("getsockopt", on="c", option=option).result == value
    caller.ok("setsockopt", on="c", option="SO_RCVBUF", value=10000)
    assert caller.ok("getsockopt", on="c", option="SO_RCVBUF").result == 20000  # the kernel doubles it
    assert isinstance(caller.ok("getsockopt", on="c", option="TCP_CONGESTION").result, str)
    assert caller.ok("getsockopt", on="c", option="TCP_INFO").result["snd_cwnd"] > 0
    assert caller.fails("setsockopt", on="c", option="TCP_MAXSEG", value=1) == "EINVAL"
    with pytest.raises(UsageError, match="'SO_NONESUCH' is not a socket option"):
        caller.do("setsockopt", on="c", option="SO_NONESUCH", value=1)
    with pytest.raises(UsageError, match="SO_LINGER takes"):
        caller.do("setsockopt", on="c", option="SO_LINGER", value=1)


def test_recv_exactly_and_drain_at_the_end_of_a_stream(caller: Caller) -> None:
    caller.pair()
    caller.ok("sendall", on="c", data="abc")
    caller.ok("close", on="c")
    short = caller.do("recv_exactly", on="s", size=5)
    assert short.error is not None
    assert (short.error.name, short.data, short.eof) == ("EOF", b"abc", True)
    assert "3 of 5 bytes" in short.error.message
    drained = caller.ok("drain", on="s")
    assert (drained.length, drained.data, drained.eof) == (0, b"", True)


def test_a_time_out_of_recv_exactly_is_the_total_and_keeps_what_came(caller: Caller) -> None:
    caller.pair()
    caller.ok("sendall", on="c", data="abc")
    record = caller.do("recv_exactly", on="s", size=5, timeout="10ms")
    assert record.error is not None
    assert (record.error.name, record.data, record.length) == ("timeout", b"abc", 3)
    assert record.error.message.endswith("; 3 of 5 bytes had come and are no longer in the socket")


def test_much_data_is_made_sent_and_hashed_in_pieces(caller: Caller) -> None:
    """20 MB do not fit into what a call holds whole, and random pieces must join to randbytes()."""
    caller.pair()
    size = 20_000_003
    _, drain = caller.begin("drain", on="s")
    sent = caller.ok("sendall", on="c", data={"random": size, "seed": 7})
    caller.ok("close", on="c")
    received = drain.result(PATIENCE)
    expected = random.Random(7).randbytes(size)
    assert sent.sha256 == received.sha256 == hashlib.sha256(expected).hexdigest()
    assert received.data == expected[: 64 << 10]
    assert received.length == sent.length == size


def test_repeated_data(caller: Caller) -> None:
    caller.pair()
    _, drain = caller.begin("drain", on="s")
    caller.ok("sendall", on="c", data={"repeat": "äb", "times": 100_000})
    caller.ok("shutdown", on="c", how="write")
    assert drain.result(PATIENCE).sha256 == hashlib.sha256("äb".encode() * 100_000).hexdigest()


def test_send_takes_what_fits_unless_it_may_block_for_ever(caller: Caller) -> None:
    caller.pair()
    size = 12_000_000
    data = {"repeat": "x", "times": size}
    part = caller.ok("send", on="c", data=data, timeout="1s")
    assert 0 < part.result < size
    sent = int(part.result)
    for timeout, error in (("0s", "EAGAIN"), ("5ms", "timeout")):
        # The kernel finds some more room while it tunes its buffers, but not for ever.
        for _ in range(200):
            record = caller.do("send", on="c", data=data, timeout=timeout)
            if record.error is not None:
                assert record.error.name == error
                break
            assert 0 < record.result < size
            sent += record.result
        else:
            pytest.fail(f"200 sends of 12 MB never gave {error}")
    left = caller.do("sendall", on="c", data=data, timeout="5ms")
    assert left.error is not None
    assert left.error.name == "timeout"
    assert left.length is not None
    assert left.length < size
    sent += left.length
    _, blocked = caller.begin("send", on="c", data=data)
    _, reader = caller.begin("recv_exactly", on="s", size=sent + size)
    assert blocked.result(PATIENCE).result == size
    assert reader.result(PATIENCE).error is None


def test_datagrams(caller: Caller) -> None:
    port = caller.udp()
    assert caller.ok("sendto", on="v", to=[LOCAL, port], data="0123456789").result == 10
    cut = caller.ok("recvfrom", on="u", size=4)
    assert (cut.data, cut.truncated) == (b"0123", True)
    assert cut.peer is not None
    caller.ok("sendto", on="v", to=[LOCAL, port], data="")
    empty = caller.ok("recvfrom", on="u", size=4)
    assert (empty.data, empty.truncated, empty.eof) == (b"", False, False)
    most = {"repeat": "x", "times": 65_507}
    assert caller.ok("sendto", on="v", to=[LOCAL, port], data=most).result == 65_507
    more = {"repeat": "x", "times": 65_508}
    assert caller.fails("sendto", on="v", to=[LOCAL, port], data=more) == "EMSGSIZE"


def test_a_connected_datagram_socket_learns_of_a_closed_port(caller: Caller) -> None:
    port = caller.udp()
    caller.ok("close", on="u")
    caller.ok("connect", to=[LOCAL, port], as_="c", kind="udp")
    caller.ok("send", on="c", data="x")
    assert caller.fails("recv", on="c", size=1) == "ECONNREFUSED"


def test_ipv6(caller: Caller) -> None:
    record = caller.ok("listen", as_="srv", port=0, family="ipv6", address="::1")
    assert record.local is not None
    caller.ok("connect", to=["::1", record.local.port], as_="c")
    accept = caller.ok("accept", on="srv", as_="s")
    assert accept.peer is not None
    assert accept.peer.address == "::1"


def test_close_under_a_blocked_recv_sends_no_fin_till_it_is_over(caller: Caller) -> None:
    caller.pair()
    _, blocked = caller.begin("recv", on="s", size=5)
    closed = caller.ok("close", on="s")
    assert closed.notes[0].startswith("recv was in progress on this socket in another thread")
    assert caller.fails("recv", on="c", size=1, timeout="10ms") == "timeout"  # no FIN came
    assert caller.fails("recv", on="s", size=1) == "EBADF"  # for everyone else it is closed
    caller.ok("send", on="c", data="late")
    assert blocked.result(PATIENCE).data == b"late"
    assert caller.ok("recv", on="c", size=1).eof


def test_shutdown_wakes_a_blocked_recv(caller: Caller) -> None:
    caller.pair()
    _, blocked = caller.begin("recv", on="s", size=5)
    caller.ok("shutdown", on="s", how="read")
    assert blocked.result(PATIENCE).eof


def test_descriptors_run_out_and_come_back(caller: Caller) -> None:
    caller.host.limit_open_files(10)
    record = caller.do("socket", as_="s", count=20)
    assert record.error is not None
    assert (record.error.name, record.result) == ("EMFILE", 7)  # 3 to 9
    assert caller.fails("listen", as_="t", port=0) == "EMFILE"
    caller.ok("close", on="s3")
    assert caller.ok("socket", as_="again").fd == 6
    # accept(2) takes a descriptor before it looks for a connection; a wait and its cancelling need none.
    caller.ok("listen", on="s0", port=0, address=LOCAL)
    assert caller.fails("accept", on="s0", as_="a") == "EMFILE"
    caller.ok("close", on="s1")
    caller.ok("bind", as_="u", kind="udp", port=0, address=LOCAL)
    assert caller.fails("recv", on="u", size=1, timeout="1ms") == "timeout"
    step, blocked = caller.begin("recv", on="u", size=1)
    assert caller.host.cancel(step) == 1
    assert blocked.result(PATIENCE).error.name == "cancelled"


def test_accept_without_a_free_descriptor_leaves_the_connection_in_the_queue(caller: Caller) -> None:
    caller.host.limit_open_files(6)
    port = caller.listen()
    caller.ok("connect", to=[LOCAL, port], as_="c")
    caller.ok("socket", as_="last")
    assert caller.fails("accept", on="srv", as_="s") == "EMFILE"
    caller.ok("close", on="last")
    caller.ok("accept", on="srv", as_="s")
