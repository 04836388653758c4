#!/usr/bin/env python3
"""The client of the article: asks for a line, sends it, prints the reply, until an empty line.

One file that needs only the standard library: it also runs inside the lab's hosts as `lab-client`.

    create a socket, connect it      connect()   SYN, SYN-ACK, ACK
    send what the person typed       sendall()   the kernel takes all of it, or the call raises
    receive the reply                recv(4096)  waits; gives at most 4,096 bytes
    close                            close()     FIN
"""

from __future__ import annotations

import argparse
import io
import os
import socket
import sys
from collections.abc import Sequence

HOST = "127.0.0.1"
PORT = 8001
BUFFER = 4096
PROMPT = "Value to send (an empty line ends): "

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(argv: Sequence[str] | None = None, prog: str = "lab-client") -> int:
    """Run the client; return its exit status. `argv` excludes the program's name; None is `sys.argv[1:]`."""
    options = parse(argv, prog)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Live output even when captured, and no crash if the terminal's encoding lacks a character.
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        return run(options.host, options.port, options.buffer, options.timeout)
    except KeyboardInterrupt:
        say("\nInterrupted.")
        return EXIT_INTERRUPTED


def parse(argv: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description="Send lines to a server and print its replies.")
    parser.add_argument("host", nargs="?", default=HOST, help="name or address (default %(default)s)")
    parser.add_argument("port", nargs="?", type=port, default=PORT, help="TCP port (default %(default)s)")
    parser.add_argument(
        "--buffer", type=at_least_one, default=BUFFER, metavar="N", help="recv(N) (default %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=None,
        metavar="S",
        help="seconds to wait in connect, send and recv, or none (default: none, wait forever)",
    )
    return parser.parse_args(argv)


def run(host: str, port: int, buffer: int, timeout: float | None) -> int:
    try:
        # socket() and connect(), for each address of the name until one answers.
        sock = socket.create_connection((host, port), timeout)
    except OSError as error:  # refused, unreachable, timed out, no such name …
        say(f"Connect to {host}:{port} failed: {why(error, timeout)}.")
        return EXIT_FAILED
    except UnicodeError:  # "a..b": a label is empty, or longer than 63 characters
        say(f"Connect to {host}:{port} failed: {host!r} cannot be a host name.")
        return EXIT_FAILED
    with sock:  # close(), whatever happens
        say(f"Connected to {host}:{port}.")
        return talk(sock, buffer, timeout)


def talk(sock: socket.socket, buffer: int, timeout: float | None) -> int:
    """Send lines and print replies until an empty line, the end of the input or a failure."""
    while line := ask():
        try:
            sock.sendall(line)
        except OSError as error:
            say(f"Send failed: {why(error, timeout)}.")
            return EXIT_FAILED
        say(f"Sent: {shown(line)}")
        try:
            reply = sock.recv(buffer)
        except OSError as error:
            say(f"Receive failed: {why(error, timeout)}.")
            return EXIT_FAILED
        if not reply:  # recv's only way to say "the other end has closed"
            say("The server has closed the connection.")
            return EXIT_FAILED
        say(f"Reply: {shown(reply)}")
    say("Connection closed.")
    return EXIT_OK


def ask() -> bytes:
    """The next line of the input without its newline, as bytes: what is typed is what is sent.

    b"" means an empty line or the end of the input. A line that no terminal echoes is printed after the
    prompt, so that a recorded session reads like a typed one.
    """
    put(PROMPT)
    line = sys.stdin.buffer.readline()
    if not line:
        say("")
    elif not sys.stdin.isatty():
        say(shown(line.removesuffix(b"\n")))
    return line.removesuffix(b"\n")


def why(error: OSError, timeout: float | None) -> str:
    """Why a call failed. A socket's own timeout has no errno; when the kernel gives up, it is ETIMEDOUT."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return f"timed out after {timeout:g} s"
    return error.strerror or str(error)


def shown(data: bytes) -> str:
    """Any bytes as one harmless line: whatever is not printable UTF-8 is escaped."""
    text = data.decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def say(text: str) -> None:
    put(text + "\n")


def put(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads stdout (`lab client | head`): no reason to drop the connection
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def port(text: str) -> int:
    value = int(text)
    if not 0 < value < 65536:
        raise argparse.ArgumentTypeError(f"{value} is not a port: 1 to 65535")
    return value


def at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is too small: 1 or more")
    return value


def seconds(text: str) -> float | None:
    if text == "none":
        return None
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a timeout: give seconds above 0, or none")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
