"""Runs on a host: sends, receives and times packets, and prints one JSON object. Its clock is
CLOCK_MONOTONIC, shared by all containers of a machine: times at two hosts differ by a one-way delay.

    sink PORT QUIET                         numbered datagrams, until SIGTERM and then QUIET s of silence
    send HOST PORT COUNT INTERVAL SIZE
    echo PORT | rtt HOST PORT COUNT INTERVAL
    take PORT | bulk HOST PORT BYTES        one TCP stream
"""

from __future__ import annotations

import json
import select
import signal
import socket
import sys
import time


def sink(port: int, quiet: float) -> dict[str, object]:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
    udp.bind(("", port))
    arrived: list[tuple[int, int]] = []
    done: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: done.append(time.monotonic_ns()))
    last = 0
    while True:
        ready, _, _ = select.select([udp], [], [], quiet / 4)
        now = time.monotonic_ns()
        if ready:
            arrived.append((int.from_bytes(udp.recv(65_536)[:8], "big"), now))
            last = now
        elif done and now - max(last, done[0]) >= quiet * 1e9:
            return {"arrived": arrived}


def send(host: str, port: int, count: int, interval: float, size: int) -> dict[str, object]:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect((host, port))
    sent = []
    rest = b"x" * (size - 8)
    next_ns = time.monotonic_ns()
    for number in range(count):
        while (left := next_ns - time.monotonic_ns()) > 0:
            time.sleep(left / 1e9)
        sent.append(time.monotonic_ns())
        udp.send(number.to_bytes(8, "big") + rest)
        next_ns += int(interval * 1e9)
    return {"sent": sent}


def echo(port: int) -> dict[str, object]:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", port))
    seen = 0
    while True:
        data, peer = udp.recvfrom(65_536)
        if data == b"end":
            return {"seen": seen}
        seen += 1
        udp.sendto(data, peer)


def rtt(host: str, port: int, count: int, interval: float) -> dict[str, object]:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect((host, port))
    udp.settimeout(5.0)
    times = []
    for number in range(count):
        begin = time.monotonic_ns()
        udp.send(number.to_bytes(8, "big"))
        udp.recv(65_536)
        times.append(time.monotonic_ns() - begin)
        time.sleep(interval)
    udp.send(b"end")
    return {"rtt": times}


def take(port: int) -> dict[str, object]:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", port))
    listener.listen(1)
    stream, _ = listener.accept()
    got, begin = 0, time.monotonic_ns()
    buffer = bytearray(1 << 20)
    while size := stream.recv_into(buffer):
        got += size
    return {"bytes": got, "ns": time.monotonic_ns() - begin}


def bulk(host: str, port: int, size: int) -> dict[str, object]:
    stream = socket.create_connection((host, port))
    block = b"x" * (1 << 16)
    begin = time.monotonic_ns()
    left = size
    while left > 0:
        left -= stream.send(block[:left])
    stream.shutdown(socket.SHUT_WR)
    stream.recv(1)
    return {"ns": time.monotonic_ns() - begin}


def main(verb: str, *words: str) -> None:
    if verb == "sink":
        found = sink(int(words[0]), float(words[1]))
    elif verb == "send":
        found = send(words[0], int(words[1]), int(words[2]), float(words[3]), int(words[4]))
    elif verb == "echo":
        found = echo(int(words[0]))
    elif verb == "rtt":
        found = rtt(words[0], int(words[1]), int(words[2]), float(words[3]))
    elif verb == "take":
        found = take(int(words[0]))
    else:
        found = bulk(words[0], int(words[1]), int(words[2]))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
