"""What a program on a host can try to get past the wire or at its agent: a `run` step runs it there.

It prints one JSON object: what was tried → what came of it. It is bounded in time and count, and sends only
to the addresses it is given. It stands alone: the host has Python and nothing of the tests.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable

SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
SOL_SOCKET_BINDTODEVICE, IP_PKTINFO, MSG_DONTROUTE = 25, 8, 4
PORT = 7999
DATA = b"escaped"

outcomes: dict[str, str] = {}


def attempt(name: str, action: Callable[..., object], *args: object, **more: object) -> None:
    """Notes `refused: …`, or what the action gave."""
    try:
        outcomes[name] = f"done: {action(*args, **more)}"
    except (OSError, ValueError) as error:
        outcomes[name] = f"refused: {error}"


def udp(to: str, *options: tuple[int, int, object], ancillary: bool = False, flags: int = 0) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for level, option, value in options:
            sock.setsockopt(level, option, value)  # type: ignore[call-overload]
        if ancillary:
            here = struct.pack("=I4s4s", socket.if_nametoindex("eth0"), bytes(4), bytes(4))
            return sock.sendmsg([DATA], [(socket.IPPROTO_IP, IP_PKTINFO, here)], flags, (to, PORT))
        return sock.sendto(DATA, flags, (to, PORT))


def tcp(to: str, device: bool) -> object:
    with socket.socket() as sock:
        if device:
            sock.setsockopt(socket.SOL_SOCKET, SOL_SOCKET_BINDTODEVICE, b"eth0")
        sock.settimeout(0.5)
        sock.connect((to, PORT))
        return "connected"


def raw_frame(payload: bytes, target_mac: bytes, bypass: bool = False) -> object:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, int(bypass))
        sock.bind(("eth0", 0))
        with open("/sys/class/net/eth0/address", encoding="ascii") as file:
            own = bytes.fromhex(file.read().strip().replace(":", ""))
        return sock.send(target_mac + own + payload)


def six(to: str, kind: socket.SocketKind) -> object:
    with socket.socket(socket.AF_INET6, kind) as sock:
        sock.settimeout(0.5)
        sock.connect((to, PORT, 0, socket.if_nametoindex("eth0")))
        return sock.send(DATA)


def command(*argv: str) -> object:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=5, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return done.stdout.strip()


def query(server: str) -> object:
    """Whether a name of the outside is resolved; loopback only."""
    name = b"".join(bytes([len(part)]) + part for part in (b"example", b"org")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.sendto(
            struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1), (server, 53)
        )
        answer = sock.recv(512)
    if struct.unpack_from(">H", answer, 6)[0] == 0:
        raise ValueError("no answer in it")
    return "resolved"


def ptrace_attach() -> object:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, 1, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "attached"


def read(path: str) -> object:
    with open(path, "rb") as file:
        return len(file.read(64))


def write(path: str, data: bytes) -> object:
    with open(path, "ab") as file:
        return file.write(data)


def forge() -> object:
    with open("/proc/1/fd/1", "wb") as file:
        return file.write(b'{"id":1,"ok":{"exit_code":0}}\n')


def processes() -> object:
    """What else is to be seen here: this program and its agent, or there is something to attack."""
    seen = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            seen.append(file.read().decode(errors="replace").replace("\0", " "))
    others = [line for line in seen if "tcpdump" in line or line.endswith("-m lab_agent ")]
    if not others:
        raise ValueError("only programs")
    return others


def own_address() -> str:
    addresses = json.loads(str(command("ip", "-j", "-4", "addr", "show", "dev", "eth0")))
    return str(addresses[0]["addr_info"][0]["local"])


def ways_out(peer: str, machine: list[str], other_lab: str, link_local: str) -> None:
    device = (socket.SOL_SOCKET, SOL_SOCKET_BINDTODEVICE, b"eth0")
    anybody = (socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    own = own_address()
    machine = [*machine, own.rpartition(".")[0] + ".1"]
    for name, to in [("peer", peer), ("other lab", other_lab), *(("machine " + one, one) for one in machine)]:
        attempt(f"route to {name}", command, "ip", "route", "add", f"{to}/32", "dev", "eth0")
        neighbour = f"ip neigh replace {to} lladdr 02:00:00:00:00:01 dev eth0".split()
        attempt(f"neighbour {name}", command, *neighbour)
        attempt(f"udp by device to {name}", udp, to, device)
        attempt(f"udp by pktinfo to {name}", udp, to, ancillary=True)
        attempt(f"udp without routing to {name}", udp, to, flags=MSG_DONTROUTE)
        if name != "peer":
            attempt(f"udp to {name}", udp, to)
            attempt(f"tcp to {name}", tcp, to, device=False)
            attempt(f"tcp by device to {name}", tcp, to, device=True)
    attempt("broadcast", udp, "255.255.255.255", anybody, device)
    attempt("broadcast of the subnet", udp, own.rpartition(".")[0] + ".255", anybody, device)
    member = (socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
    attempt("multicast", udp, "224.0.0.251", member)
    attempt("multicast by device", udp, "239.1.2.3", device)
    attempt("raw frame", raw_frame, b"\x08\x00" + DATA, b"\xff" * 6)
    arp = struct.pack(
        ">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, b"\x02" * 6, socket.inet_aton(peer), b"\xff" * 6, bytes(4)
    )
    attempt("spoofed ARP", raw_frame, b"\x08\x06" + arp, b"\xff" * 6)
    attempt("raw IP", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 255).close())
    for to in (link_local, "ff02::1"):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            attempt(f"IPv6 {kind.name} to {to}", six, to, kind)
    attempt("a filter taken away", command, "tc", "qdisc", "del", "dev", "eth0", "clsact")
    attempt("DNS", query, "127.0.0.11")


def at_the_agent() -> None:
    attempt("processes", processes)
    attempt("descriptors of the agent", os.readlink, "/proc/1/fd/0")
    attempt("environment of the agent", read, "/proc/1/environ")
    attempt("memory of the agent", read, "/proc/1/mem")
    attempt("attach to the agent", ptrace_attach)
    attempt("a record on the agent's stdout", forge)
    attempt("the capture", os.truncate, "/var/lib/lab/capture.pcap", 1 << 30)
    os.kill(1, 9)  # the kernel keeps it from process 1 of a PID namespace
    # The files of the agent's code are this container's own: what is written here no one runs.
    attempt("code of the agent", write, "/usr/local/lib/lab/lab_agent/main.py", b"raise SystemExit\n")


def mac_of(address: str) -> bytes:
    """As the lab gives it."""
    return b"\x02\xc6" + socket.inet_aton(address)


def with_net_raw(peer: str, bypass: bool) -> None:
    """A datagram in a frame straight to the other host."""
    ends = socket.inet_aton(own_address()) + socket.inet_aton(peer)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + 8 + len(DATA), 1, 0, 64, 17, 0) + ends
    total = sum(struct.unpack(">10H", head))
    checksum = ~(total % 0xFFFF) & 0xFFFF
    head = head[:10] + struct.pack(">H", checksum) + head[12:]
    datagram = struct.pack(">HHHH", PORT, PORT, 8 + len(DATA), 0) + DATA
    attempt("raw frame", raw_frame, b"\x08\x00" + head + datagram, mac_of(peer), bypass)


def with_net_admin(peer: str, machine: list[str]) -> None:
    """A way around the wire, made of all that NET_ADMIN gives."""
    attempt("filter", command, "tc", "qdisc", "del", "dev", "eth0", "clsact")
    for to in (peer, *machine):
        attempt(f"route to {to}", command, "ip", "route", "replace", f"{to}/32", "dev", "eth0")
    attempt(
        "neighbour", command, "ip", "neigh", "replace", peer, "lladdr", mac_of(peer).hex(":"), "dev", "eth0"
    )
    for to in (peer, *machine):
        attempt(f"udp to {to}", udp, to)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    asked["peer"] = socket.gethostbyname("server")
    if asked["what"] == "out":
        ways_out(asked["peer"], asked["machine"], asked["other_lab"], asked["link_local"])
    elif asked["what"] == "agent":
        at_the_agent()
    elif asked["what"] == "raw":
        with_net_raw(asked["peer"], asked["bypass"])
    else:
        with_net_admin(asked["peer"], asked["machine"])
    print(json.dumps(outcomes, indent=1))
