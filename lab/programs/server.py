#!/usr/bin/env python3
"""The server of the article: prints each value it gets and replies OK, until the client is gone.

One file that needs only the standard library: it also runs inside the lab's hosts as `lab-server`.

    create a socket, give it a port  bind()          fails when the port is taken
    let clients in                   listen(5)       from now on the kernel completes handshakes by itself
    take the one that waited longest accept()
    limit the waiting                settimeout(10)
    read, print, reply               recv(1024), sendall(b"OK"), until recv gives b"": the client has closed

The article's server does this for one client after another, so a second client waits until the first has
left. The three other ways of serving (--serve thread, fork, event-loop) are the cures.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

PORT = 8001
BACKLOG = 5
TIMEOUT = 10.0
BUFFER = 1024
REPLY = b"OK"

EXIT_OK, EXIT_FAILED = 0, 1

# accept() passes on errors of the new connection; the listener itself is still good: see accept(2).
_LOST_BEFORE_ACCEPT = {errno.ECONNABORTED, errno.EPROTO, errno.EHOSTUNREACH, errno.ENETUNREACH}
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
ENDING = (signal.SIGINT, signal.SIGTERM)
_NO_ROOM_PAUSE = 0.1  # seconds; nothing signals that a descriptor is free again


class Stopped(BaseException):
    """A signal asked the server to end. Not an `Exception`, so that no handler of those catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True)
class Options:
    address: str  #: "" means all addresses
    port: int
    backlog: int
    timeout: float | None  #: seconds of silence after which a client is closed
    buffer: int
    serve: str
    clients: int | None  #: end after serving this many
    reuse_address: bool


def main(argv: Sequence[str] | None = None, prog: str = "lab-server") -> int:
    """Run the server; return its exit status. `argv` excludes the program's name; None is `sys.argv[1:]`."""
    options = parse(argv, prog)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Live output even when captured, and no crash if the terminal's encoding lacks a character.
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        with signals_end_it():
            return run(options)
    except Stopped as stopped:
        say(f"\nServer stopped by {signal.Signals(stopped.number).name}.")
        return 128 + stopped.number


def parse(argv: Sequence[str] | None, prog: str) -> Options:
    parser = argparse.ArgumentParser(prog=prog, description="Print what clients send and reply OK.")
    add = parser.add_argument
    add("--address", default="", metavar="A", help="name or address (default: all)")
    add("--port", type=whole(0, 65535), default=PORT, help="TCP port, 0: any (default %(default)s)")
    add("--backlog", type=whole(0), default=BACKLOG, metavar="N", help="listen(N) (default %(default)s)")
    silent = "seconds for which a client may stay silent, or none (default %(default)g)"
    add("--timeout", type=seconds, default=TIMEOUT, metavar="S", help=silent)
    add("--buffer", type=whole(1), default=BUFFER, metavar="N", help="recv(N) (default %(default)s)")
    ways = "one client at a time, a thread or a process for each, or all in one loop (default %(default)s)"
    add("--serve", choices=list(WAYS), default="sequential", help=ways)
    add("--clients", type=whole(1), default=None, metavar="N", help="end after N clients (default: never)")
    reuse = "bind despite old connections in TIME_WAIT, if the previous program had this option too"
    add("--reuse-address", action="store_true", help=reuse)
    return Options(**vars(parser.parse_args(argv)))


def run(options: Options) -> int:
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            options.address or "0.0.0.0", options.port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind)
    except (OSError, UnicodeError) as error:  # no such name; a name that cannot be one ("a..b")
        why = error.strerror if isinstance(error, OSError) else error
        say(f"Socket for {options.address or 'all addresses'} failed: {why or error}.")
        return EXIT_FAILED
    with listener:
        say("Socket created.")
        try:
            if options.reuse_address:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(options.backlog)  # with SO_REUSEADDR two can bind, and the second listen fails
        except OSError as error:
            say(f"Bind to {name(address)} failed: {error.strerror or error}.")
            if error.errno == errno.EADDRINUSE:
                say("Another program holds the port, or did within a minute and without --reuse-address.")
            return EXIT_FAILED
        say(f"Listening on {name(listener.getsockname())}.")
        try:
            WAYS[options.serve](listener, options)
        except OSError as error:  # of the listener itself; a client's errors end in serve()
            say(f"Server failed: {error.strerror or error}.")
            return EXIT_FAILED
    say("Server ends.")
    return EXIT_OK


# --- the four ways of serving -------------------------------------------------------------------------------


def sequential(listener: socket.socket, options: Options) -> None:
    """The article's way: while one client is served, the others wait in the listener's queue."""
    for client, peer in clients(listener, options):
        serve(client, peer, options)


def threads(listener: socket.socket, options: Options) -> None:
    """A thread for each client, all in one process: each blocks in its own recv."""
    started: list[threading.Thread] = []
    for client, peer in clients(listener, options):
        thread = threading.Thread(target=serve, args=(client, peer, options), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the limit of threads: it costs one client, not all of them
            client.close()
            say(f"Client {peer} is turned away: {error}.")
            continue
        started = [t for t in started if t.is_alive()] + [thread]
    for thread in started:
        thread.join()


def fork(listener: socket.socket, options: Options) -> None:
    """A process for each client: a crash of one leaves the others alone."""
    children: set[int] = set()
    try:
        for client, peer in clients(listener, options):
            try:
                with signals_held():  # a child that the parent does not know of yet would outlive it
                    pid = os.fork()
                    if pid == 0:
                        serve_as_child(listener, client, peer, options)
                    children.add(pid)
            except OSError as error:  # the limit of processes: it costs one client, not all of them
                client.close()
                say(f"Client {peer} is turned away: fork failed: {error.strerror}.")
                continue
            client.close()  # the child has its own descriptor; the FIN goes out when the last one closes
            children -= {child for child in children if os.waitpid(child, os.WNOHANG)[0]}
        while children:
            os.waitpid(min(children), 0)
            children.remove(min(children))
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)


def serve_as_child(listener: socket.socket, client: socket.socket, peer: str, options: Options) -> None:
    """The child's whole life; never returns."""
    status = EXIT_FAILED
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        listener.close()
        serve(client, peer, options)
        status = EXIT_OK
    except Stopped:
        pass  # the parent says so, once
    finally:
        os._exit(status)  # not sys.exit: the parent's cleanup is not the child's to run


def event_loop(listener: socket.socket, options: Options) -> None:
    """One thread for all: the kernel says which sockets are ready, and no call ever blocks."""
    conversations: dict[int, Conversation] = {}
    left = float("inf") if options.clients is None else options.clients
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector, closing_all(conversations):
        selector.register(listener, selectors.EVENT_READ)
        while conversations or left > 0:
            wait = min((c.deadline for c in conversations.values()), default=float("inf")) - time.monotonic()
            for key, _ in selector.select(None if wait == float("inf") else max(0.0, wait)):
                if key.fileobj is not listener:
                    conversations[key.fd].step(selector)
                elif (accepted := accept(listener)) is not None:
                    client, peer = accepted
                    client.setblocking(False)
                    conversations[client.fileno()] = Conversation(client, peer, options)
                    selector.register(client, selectors.EVENT_READ)
                    left -= 1
                    if left == 0:
                        selector.unregister(listener)
            for fd, conversation in list(conversations.items()):
                if conversation.over():
                    selector.unregister(fd)
                    conversation.client.close()
                    del conversations[fd]


@contextlib.contextmanager
def closing_all(conversations: dict[int, Conversation]) -> Iterator[None]:
    try:
        yield
    finally:
        for conversation in conversations.values():
            conversation.client.close()


Way = Callable[[socket.socket, Options], None]
WAYS: dict[str, Way] = {"sequential": sequential, "thread": threads, "fork": fork, "event-loop": event_loop}


# --- one client ---------------------------------------------------------------------------------------------


def serve(client: socket.socket, peer: str, options: Options) -> None:
    """Talk with one client until it leaves, stays silent too long or its connection breaks."""
    with client:
        client.settimeout(options.timeout)
        doing = "receive"
        try:
            while data := client.recv(options.buffer):
                say(f"Received from {peer}: {shown(data)}")
                doing = "reply"
                client.sendall(REPLY)
                doing = "receive"
        except OSError as error:  # silent for too long, or the peer has reset the connection
            say(ending(peer, doing, error, options))
        else:
            say(f"Client {peer} has left.")


class Conversation:
    """What `serve` does with one client, in steps that never block."""

    def __init__(self, client: socket.socket, peer: str, options: Options) -> None:
        self.client = client
        self.peer = peer
        self._options = options
        self._unsent = b""
        self._ended = False
        self._progress()

    def _progress(self) -> None:
        limit = self._options.timeout
        self.deadline = float("inf") if limit is None else time.monotonic() + limit

    def step(self, selector: selectors.BaseSelector) -> None:
        """Use a ready socket: send what waits, otherwise receive. Nothing is read while a reply waits,
        so a client that does not take its replies cannot fill our memory."""
        try:
            if not self._unsent:
                data = self.client.recv(self._options.buffer)
                if not data:
                    say(f"Client {self.peer} has left.")
                    self._ended = True
                    return
                say(f"Received from {self.peer}: {shown(data)}")
                self._unsent = REPLY
                self._progress()
            self._unsent = self._unsent[self.client.send(self._unsent) :]
            self._progress()
        except BlockingIOError:
            pass  # not ready after all: the selector will say when
        except OSError as error:
            self._lost(error)
            return
        selector.modify(self.client, selectors.EVENT_WRITE if self._unsent else selectors.EVENT_READ)

    def over(self) -> bool:
        """Whether it has ended or its time is up; says so if its time is up."""
        if not self._ended and time.monotonic() >= self.deadline:
            self._lost(TimeoutError("timed out"))
        return self._ended

    def _lost(self, error: OSError) -> None:
        say(ending(self.peer, "reply" if self._unsent else "receive", error, self._options))
        self._ended = True


def ending(peer: str, doing: str, error: OSError, options: Options) -> str:
    """How a conversation ended, if the client did not end it."""
    if isinstance(error, TimeoutError) and error.errno is None:  # when the kernel gives up, it is ETIMEDOUT
        what = "was silent" if doing == "receive" else "took no reply"
        return f"Client {peer} {what} for {options.timeout:g} s: closed."
    return f"Client {peer} is lost: {doing} failed: {error.strerror or error}."


def clients(listener: socket.socket, options: Options) -> Iterator[tuple[socket.socket, str]]:
    """Each client as it is accepted, first come, first served."""
    served = 0
    while options.clients is None or served < options.clients:
        accepted = accept(listener)
        if accepted is not None:
            served += 1
            yield accepted


def accept(listener: socket.socket) -> tuple[socket.socket, str] | None:
    """The next client and its name; None if no client was there after all."""
    try:
        client, address = listener.accept()
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno in _NO_ROOM:
            say(f"Accept failed: {error.strerror}.")
            time.sleep(_NO_ROOM_PAUSE)
            return None
        if error.errno in _LOST_BEFORE_ACCEPT:
            return None
        raise
    say(f"Client {name(address)} connected.")
    return client, name(address)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold back the signals that end the server until the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def signals_end_it() -> Iterator[None]:
    """Make SIGINT and SIGTERM raise `Stopped` wherever the program happens to be.

    SIGINT needs a handler too: a shell without job control starts `&` programs with SIGINT ignored. Outside
    the main thread Python allows no handlers."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def name(address: tuple[Any, ...]) -> str:
    host, number = address[:2]
    return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"


def shown(data: bytes) -> str:
    """Any bytes as one harmless line: whatever is not printable UTF-8 is escaped."""
    text = data.decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def say(text: str) -> None:
    try:
        sys.stdout.write(text + "\n")  # one write per line: lines of threads and processes do not mix
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads stdout (`lab server | head`): the clients are still there; go on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def whole(lowest: int, highest: int | None = None) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < lowest or (highest is not None and value > highest):
            limits = f"{lowest} or more" if highest is None else f"{lowest} to {highest}"
            raise argparse.ArgumentTypeError(f"{value} is not {limits}")
        return value

    return number


def seconds(text: str) -> float | None:
    if text == "none":
        return None
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a timeout: give seconds above 0, or none")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
