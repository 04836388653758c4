"""The article's client and server on loopback: every message, every failure path, any bytes."""

from __future__ import annotations

import io
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.programs import client, server

ENOUGH = 5.0  # seconds; a bound for things that take milliseconds
PROGRAMS = Path(server.__file__).parent


def options(**changes: object) -> server.Options:
    made = vars(server.parse([], "lab-server")) | {"port": 0, "address": "127.0.0.1"} | changes
    return server.Options(**made)


class Serving:
    """A way of serving, running in a thread; `said` is what it prints, line by line."""

    def __init__(self, listener: socket.socket, said: queue.SimpleQueue[str]) -> None:
        self.port: int = listener.getsockname()[1]
        self._said = said
        self._talking = 0

    def hears(self) -> str:
        line = self._said.get(timeout=ENOUGH)
        if line.endswith(" connected."):
            self._talking += 1
        elif line.startswith("Client "):
            self._talking -= 1
        return line

    def until_all_have_left(self) -> None:
        while self._talking:
            self.hears()

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), ENOUGH)
        me = f"127.0.0.1:{made.getsockname()[1]}"
        assert self.hears() == f"Client {me} connected."
        return made


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, way: str, **changes: object) -> Iterator[Serving]:
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    monkeypatch.setattr(server, "say", said.put)

    def work(listener: socket.socket) -> None:
        with suppress(OSError):  # shutdown of the listener ends accept() with EINVAL
            server.WAYS[way](listener, options(serve=way, **changes))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=work, args=(listener,))
        thread.start()
        try:
            srv = Serving(listener, said)
            yield srv
            srv.until_all_have_left()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(ENOUGH)
            assert not thread.is_alive()


IN_THREADS = ["sequential", "thread", "event-loop"]  # fork is tried as a program, below


def test_defaults_are_the_articles() -> None:
    asked = client.parse([], "lab-client")
    assert (asked.host, asked.port, asked.buffer, asked.timeout) == ("127.0.0.1", 8001, 4096, None)
    assert server.parse([], "lab-server") == server.Options(
        address="",
        port=8001,
        backlog=5,
        timeout=10.0,
        buffer=1024,
        serve="sequential",
        clients=None,
        reuse_address=False,
    )


@pytest.mark.parametrize(
    ("program", "argv", "message"),
    [
        (client, ["h", "0"], "0 is not a port: 1 to 65535"),
        (client, ["h", "x"], "invalid port value: 'x'"),
        (client, ["--buffer", "0"], "0 is too small: 1 or more"),
        (client, ["--timeout", "0"], "0 is not a timeout"),
        (client, ["--timeout", "inf"], "inf is not a timeout"),
        (server, ["--port", "65536"], "65536 is not 0 to 65535"),
        (server, ["--backlog", "-1"], "-1 is not 0 or more"),
        (server, ["--timeout", "nan"], "nan is not a timeout"),
        (server, ["--serve", "x"], "invalid choice: 'x'"),
    ],
)
def test_bad_arguments_are_named(
    program: object, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parse = client.parse if program is client else server.parse
    with pytest.raises(SystemExit) as ended:
        parse(argv, "lab")
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


# --- the server ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", IN_THREADS)
def test_server_prints_each_value_and_replies(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    with serving(monkeypatch, way) as srv:
        for _ in range(2):  # the next client after the first has left
            with srv.connect() as c:
                me = f"127.0.0.1:{c.getsockname()[1]}"
                for value in ("hello", "world"):
                    c.sendall(value.encode())
                    assert c.recv(4096) == b"OK"
                    assert srv.hears() == f"Received from {me}: {value}"
            assert srv.hears() == f"Client {me} has left."


@pytest.mark.parametrize("way", IN_THREADS)
def test_recv_takes_at_most_the_buffer(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    with serving(monkeypatch, way, buffer=4) as srv, srv.connect() as c:
        c.sendall(b"truncated")
        got = [srv.hears().rpartition(": ")[2] for _ in range(3)]
        assert got == ["trun", "cate", "d"]


@pytest.mark.parametrize("way", IN_THREADS)
def test_a_silent_client_is_closed_and_the_next_is_served(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    with serving(monkeypatch, way, timeout=0.02) as srv:
        with srv.connect() as silent:
            assert silent.recv(1) == b""
            assert srv.hears().endswith(" was silent for 0.02 s: closed.")
        with srv.connect() as c:
            c.sendall(b"x")
            assert c.recv(9) == b"OK"


@pytest.mark.parametrize("way", IN_THREADS)
def test_a_client_that_takes_no_reply_is_closed(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(server, "REPLY", b"x" * 30_000_000)  # more than any socket buffers hold
    with serving(monkeypatch, way, timeout=0.05) as srv, srv.connect() as c:
        c.sendall(b"x")
        assert ": x" in srv.hears()
        assert srv.hears().endswith(" took no reply for 0.05 s: closed.")


@pytest.mark.parametrize("way", IN_THREADS)
def test_a_reset_is_said_and_survived(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    with serving(monkeypatch, way) as srv:
        with srv.connect() as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert srv.hears().endswith(" is lost: receive failed: Connection reset by peer.")
        with srv.connect() as c:
            c.sendall(b"x")
            assert c.recv(9) == b"OK"


def test_sequential_starves_the_second_client_and_the_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for way in IN_THREADS:
        with serving(monkeypatch, way) as srv, ExitStack() as stack:
            first = stack.enter_context(srv.connect())
            second = stack.enter_context(socket.create_connection(("127.0.0.1", srv.port), ENOUGH))
            second.sendall(b"me too")
            if way == "sequential":
                second.settimeout(0.02)
                with pytest.raises(TimeoutError):
                    second.recv(9)
                first.close()
                second.settimeout(ENOUGH)
            assert second.recv(9) == b"OK"


@settings(max_examples=40, deadline=None)
@given(data=st.binary(min_size=1, max_size=200))
def test_any_bytes_are_shown_as_one_harmless_line(data: bytes) -> None:
    for text in (server.shown(data), client.shown(data)):
        assert text.isprintable()


@pytest.mark.parametrize("way", IN_THREADS)
def test_any_bytes_are_answered(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    with serving(monkeypatch, way) as srv, srv.connect() as c:

        @settings(max_examples=15, deadline=None)
        @given(data=st.binary(min_size=1, max_size=1024))
        def answered(data: bytes) -> None:
            c.sendall(data)
            assert c.recv(9) == b"OK"
            assert srv.hears().endswith(server.shown(data))

        answered()


def test_a_held_port_is_reported_and_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        assert server.main(["--address", "127.0.0.1", "--port", str(port)]) == 1
    assert capsys.readouterr().out == (
        "Socket created.\n"
        f"Bind to 127.0.0.1:{port} failed: Address already in use.\n"
        "Another program holds the port, or did within a minute and without --reuse-address.\n"
    )


def test_reuse_address_binds_beside_time_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # which has SO_REUSEADDR, too
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as c:
            accepted, _ = listener.accept()
            accepted.close()  # closes first: TIME_WAIT is on the server's side
            assert c.recv(1) == b""
    assert server.main(["--address", "127.0.0.1", "--port", str(port)]) == 1
    with pytest.MonkeyPatch.context() as patch:
        served: list[str] = []
        patch.setitem(server.WAYS, "sequential", lambda listener, options: served.append(options.serve))
        assert server.main(["--address", "127.0.0.1", "--port", str(port), "--reuse-address"]) == 0
    assert served == ["sequential"]


def test_a_foreign_address_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert server.main(["--address", "192.0.2.1", "--port", "0"]) == 1
    assert "Bind to 192.0.2.1:0 failed: Cannot assign requested address.\n" in capsys.readouterr().out


def test_an_address_that_cannot_be_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert server.main(["--address", "a..b", "--port", "0"]) == 1
    assert capsys.readouterr().out.startswith("Socket for a..b failed: ")


def test_out_of_descriptors_is_said_and_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    pauses: list[float] = []
    monkeypatch.setattr(server, "say", said.append)
    monkeypatch.setattr("time.sleep", pauses.append)

    class Full:
        def accept(self) -> None:
            raise OSError(24, "Too many open files")

    assert server.accept(Full()) is None  # type: ignore[arg-type]
    assert said == ["Accept failed: Too many open files."]
    assert pauses == [0.1]


@pytest.mark.parametrize("way", ["sequential", "fork"])
def test_server_as_a_program(way: str) -> None:
    """The file alone, with no lab beside it; SIGTERM ends it, and its children."""
    argv = [sys.executable, "-I", "-S", str(PROGRAMS / "server.py"), "--port", "0", "--serve", way]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as program, ExitStack() as stack:
        assert program.stdout is not None
        assert program.stdout.readline() == "Socket created.\n"  # live, although it is a pipe
        port = int(program.stdout.readline().rstrip(".\n").rpartition(":")[2])
        first = stack.enter_context(socket.create_connection(("127.0.0.1", port), ENOUGH))
        first.sendall(b"one")
        assert first.recv(9) == b"OK"
        second = stack.enter_context(socket.create_connection(("127.0.0.1", port), ENOUGH))
        if way == "fork":
            second.sendall(b"two")
            assert second.recv(9) == b"OK"
        os.kill(program.pid, signal.SIGTERM)
        out, _ = program.communicate(timeout=ENOUGH)
        assert program.returncode == 128 + signal.SIGTERM
        assert out.endswith("\nServer stopped by SIGTERM.\n")
        with suppress(ConnectionResetError):
            assert first.recv(9) == b""  # the child that served it has ended too


FORKS_AND_IS_SIGNALLED = """
import os, runpy, signal, sys

def fork(real=os.fork):
    pid = real()
    if pid:
        os.kill(os.getpid(), signal.SIGTERM)
    return pid

os.fork = fork
sys.argv = [sys.argv[1], "--port", "0", "--serve", "fork"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_signal_right_after_the_fork_ends_the_child_too() -> None:
    argv = [sys.executable, "-c", FORKS_AND_IS_SIGNALLED, str(PROGRAMS / "server.py")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as program, ExitStack() as stack:
        stack.callback(program.kill)
        assert program.stdout is not None
        program.stdout.readline()
        port = int(program.stdout.readline().rstrip(".\n").rpartition(":")[2])
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port), ENOUGH))
        with suppress(ConnectionResetError):
            assert client.recv(9) == b""  # the child that has it is gone
        out, _ = program.communicate(timeout=ENOUGH)
        assert program.returncode == 128 + signal.SIGTERM
        assert out.endswith("\nServer stopped by SIGTERM.\n")


def test_clients_ends_it_when_they_are_served(capfd: pytest.CaptureFixture[str]) -> None:
    for way in server.WAYS:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            peers = [socket.create_connection(listener.getsockname(), ENOUGH) for _ in range(2)]
            for peer in peers:
                peer.sendall(b"x")
                peer.shutdown(socket.SHUT_WR)
            server.WAYS[way](listener, options(serve=way, clients=2))
            assert [peer.recv(9) for peer in peers] == [b"OK", b"OK"]
            for peer in peers:
                peer.close()
        assert capfd.readouterr().out.count(" has left.\n") == 2


def test_ctrl_c_ends_the_server(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(listener: socket.socket, options: server.Options) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setitem(server.WAYS, "sequential", interrupted)
    assert server.main(["--port", "0"]) == 130
    assert capsys.readouterr().out.endswith("\nServer stopped by SIGINT.\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- the client ---------------------------------------------------------------------------------------------


class Peer:
    """What a test's own server side does with one client, and what it got."""

    def __init__(self) -> None:
        self.got = b""
        self.left = threading.Event()  #: on loopback the FIN or RST is delivered before close() returns
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]


@contextmanager
def replying(replies: list[bytes], *, reset: bool = False) -> Iterator[Peer]:
    """Answers one client with these; then closes, or resets."""
    peer = Peer()

    def work() -> None:
        accepted, _ = peer.listener.accept()
        with accepted:
            for reply in replies:
                data = accepted.recv(65536)
                peer.got += data
                if not data:
                    return
                accepted.sendall(reply)
            if reset:
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.left.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield peer
    finally:
        thread.join(ENOUGH)
        peer.listener.close()
        assert not thread.is_alive()


def typed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_session_line_for_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed(monkeypatch, b"hello\n\xffx\n\nnever sent\n")
    with replying([b"OK", b"\x1b[2J"]) as peer:
        assert client.main(["127.0.0.1", str(peer.port)]) == 0
    assert peer.got == b"hello\xffx"
    assert capsys.readouterr().out == (
        f"Connected to 127.0.0.1:{peer.port}.\n"
        "Value to send (an empty line ends): hello\n"
        "Sent: hello\n"
        "Reply: OK\n"
        "Value to send (an empty line ends): \\xffx\n"
        "Sent: \\xffx\n"
        "Reply: \\x1b[2J\n"
        "Value to send (an empty line ends): \n"
        "Connection closed.\n"
    )


@pytest.mark.parametrize("data", [b"", b"last line without newline"])
def test_end_of_input_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    typed(monkeypatch, data)
    with replying([b"OK"]) as peer:
        assert client.main(["127.0.0.1", str(peer.port)]) == 0
    assert peer.got == data
    assert capsys.readouterr().out.endswith("ends): \nConnection closed.\n")


@settings(max_examples=20, deadline=None)
@given(lines=st.lists(st.binary(min_size=1, max_size=50).filter(lambda line: b"\n" not in line), max_size=3))
def test_any_bytes_go_out_as_typed(lines: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch, replying([b"\xff"] * 3) as peer:
        typed(patch, b"\n".join(lines))
        patch.setattr(client, "put", lambda text: None)
        assert client.main(["127.0.0.1", str(peer.port)]) == 0
    assert peer.got == b"".join(lines)


def test_refused_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert client.main(["127.0.0.1", str(port)]) == 1
    assert capsys.readouterr().out == f"Connect to 127.0.0.1:{port} failed: Connection refused.\n"


def test_a_name_that_cannot_be_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert client.main(["a..b"]) == 1
    assert capsys.readouterr().out == "Connect to a..b:8001 failed: 'a..b' cannot be a host name.\n"


def test_connect_that_times_out_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as waiting:
        waiting.connect(full.getsockname())  # fills the queue of backlog + 1: the next SYN gets no answer
        port = full.getsockname()[1]
        assert client.main(["127.0.0.1", str(port), "--timeout", "0.02"]) == 1
    assert capsys.readouterr().out == f"Connect to 127.0.0.1:{port} failed: timed out after 0.02 s.\n"


def test_a_failed_send_is_reported_and_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, b"hello\nmore\n")
    with replying([], reset=True) as peer:
        ask = client.ask

        def ask_after_the_reset() -> bytes:
            assert peer.left.wait(ENOUGH)
            return ask()

        monkeypatch.setattr(client, "ask", ask_after_the_reset)
        assert client.main(["127.0.0.1", str(peer.port)]) == 1
    assert capsys.readouterr().out.endswith("Send failed: Connection reset by peer.\n")


def test_a_failed_receive_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, b"hello\n")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert client.main(["127.0.0.1", str(mute.getsockname()[1]), "--timeout", "0.02"]) == 1
    assert capsys.readouterr().out.endswith("Sent: hello\nReceive failed: timed out after 0.02 s.\n")


def test_a_server_that_leaves_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, b"hello\nmore\n")
    with replying([b"OK", b""]) as peer:
        assert client.main(["127.0.0.1", str(peer.port)]) == 1
    assert capsys.readouterr().out.endswith("Sent: more\nThe server has closed the connection.\n")


def test_ctrl_c_ends_the_client(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "ask", interrupted)
    with replying([b"OK"]) as peer:
        assert client.main(["127.0.0.1", str(peer.port)]) == 130
    assert capsys.readouterr().out.endswith("\nInterrupted.\n")


def test_client_as_a_program_talks_to_a_closed_pipe() -> None:
    """The file alone; its output goes to a program that has left, and the server still gets the value."""
    with replying([b"OK"]) as peer:
        read, write = os.pipe()
        os.close(read)
        argv = [sys.executable, "-I", "-S", str(PROGRAMS / "client.py"), "127.0.0.1", str(peer.port)]
        ended = subprocess.run(
            argv, input=b"hello\n", stdout=write, stderr=subprocess.PIPE, timeout=ENOUGH, check=False
        )
        os.close(write)
    assert (ended.returncode, ended.stderr, peer.got) == (0, b"", b"hello")
