"""The wire as a router, in ip's words: its address, devices and neighbours, and the MTU of its links."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from typing import Literal

from msgspec import Struct

from lab.attachment import Address, Attachment
from lab.evidence.model import Json
from lab.link import DIRECTIONS, Link
from lab.wire.tc import Port

#: Routing tables of senders whose path is narrower than the interface: this plus the attachment's number.
_TABLE = 1_000


class WireSetup(Struct, frozen=True):
    """Everything the wire has to know before the first packet."""

    here: Attachment  #: the wire's own
    hosts: Mapping[str, Attachment]  #: by name, with their links
    arp: Literal["static", "dynamic"] = "static"
    drops: bool = False  #: load now what `drop` needs (0.1 s), not at the first one
    apart: Sequence[tuple[str, str]] = ()  #: hosts that share no network: nothing passes between them

    def ports(self) -> list[Port]:
        """Both directions of every host's link."""
        return [
            Port(host, at.address, direction, f"{direction}{at.number}")
            for host, at in self.hosts.items()
            for direction in DIRECTIONS
        ]


def set_up_lines(device: str, setup: WireSetup, ports: Iterable[Port]) -> list[str]:
    """Lines for ip: the wire's address, a device for every impaired port, and the hosts as neighbours.

    The default route is removed: packets for no host of the lab have no way out. Neighbours are fixed unless
    the scenario studies ARP; then host and wire ask each other, unimpaired.
    """
    lines = [
        f"addr replace {setup.here.address}/{setup.here.subnet.prefixlen} dev {device}",
        f"link set {device} up",
        "route flush exact default",
    ]
    for port in ports:
        lines += [f"link add {port.device} type ifb", f"link set {port.device} up"]
    if setup.arp == "static":
        lines += [
            f"neigh replace {at.address} lladdr {at.mac} dev {device} nud permanent"
            for at in setup.hosts.values()
        ]
    return lines


def forward_lines(setup: WireSetup) -> list[str]:
    """Lines for iptables-restore --noflush in a wire that only routes: it forwards only between hosts of the
    lab that share a network."""
    hosts = setup.hosts.values()
    accepted = (f"-A FORWARD -d {at.address}/32 -j ACCEPT" for at in hosts)
    return ["*filter", *apart_rules(setup), *accepted, "COMMIT"]


def apart_rules(setup: WireSetup) -> list[str]:
    """The rules of iptables that keep hosts apart, as `iptables-save` shows them."""
    pairs = [pair for a, b in setup.apart for pair in ((a, b), (b, a))]
    places = setup.hosts
    return [f"-A FORWARD -s {places[a].address}/32 -d {places[b].address}/32 -j DROP" for a, b in pairs]


def narrowest(source: Link, target: Link) -> int | None:
    """MTU of the path from one host to another; None: the interface's."""
    given = [side.mtu for side in (source.up, target.down) if side.mtu is not None]
    return min(given, default=None)


class MtuRoute(Struct, frozen=True):
    """A limit of `mtu` bytes for packets from `source` to `target`, as of a router: a larger one is
    fragmented, or answered with "fragmentation needed"."""

    table: int
    source: Address
    target: Address
    mtu: int


def mtu_routes(setup: WireSetup, links: Mapping[str, Link]) -> list[MtuRoute]:
    """One route for every ordered pair of hosts with a narrow path between them."""
    return [
        MtuRoute(_TABLE + source.number, source.address, target.address, mtu)
        for source, target in permutations(setup.hosts.values(), 2)
        if (mtu := narrowest(links[source.host], links[target.host])) is not None
    ]


def mtu_lines(routes: Iterable[MtuRoute], device: str, known: set[int]) -> list[str]:
    """Lines for ip; `known` are the tables that have their rule, these included at the end."""
    lines = []
    for route in routes:
        lines.append(f"route replace {route.target}/32 dev {device} table {route.table} mtu lock {route.mtu}")
        if route.table not in known:
            lines.append(f"rule add from {route.source}/32 lookup {route.table}")
        known.add(route.table)
    return lines


def mtu_differences(
    asked: Sequence[MtuRoute], routes: Mapping[int, Sequence[Mapping[str, Json]]]
) -> list[str]:
    """Differences between the routes that ip shows, by table, and those asked for."""
    wrong = []
    for route in asked:
        got = next(
            (_mtu(found) for found in routes.get(route.table, ()) if found.get("dst") == str(route.target)),
            None,
        )
        if got != route.mtu:
            wrong.append(f"mtu from {route.source} to {route.target}: asked {route.mtu}, got {got or 'none'}")
    return wrong


def _mtu(route: Mapping[str, Json]) -> int | None:
    metrics = route.get("metrics") or []
    return next((int(metric["mtu"]) for metric in metrics if "mtu" in metric), None)


def interface_drops(links: Iterable[Mapping[str, Json]], where: str) -> dict[str, int]:
    """Packets lost by each interface, from `ip -s link`: `where/name rx` or `tx` → packets, if above 0."""
    found = {}
    for link in links:
        stats = link.get("stats64") or link.get("stats") or {}
        for side in ("rx", "tx"):
            counts = stats.get(side) or {}
            lost = sum(int(counts.get(key, 0)) for key in ("dropped", "errors", "over_errors"))
            if lost:
                found[f"{where}/{link['ifname']} {side}"] = lost
    return found


def lost_between(
    outside: Iterable[Mapping[str, Json]], inside: Iterable[Mapping[str, Json]], device: str
) -> dict[str, int]:
    """Packets that the container's interface received and user-mode Linux did not, or the other way round.

    Each counts from its own start, so only the growth of these numbers means anything.
    """
    out, own = (packets(links, device) for links in (outside, inside))
    return {
        f"container/{device} to user-mode Linux": out["rx"] - own["rx"],
        f"container/{device} from user-mode Linux": own["tx"] - out["tx"],
    }


def packets(links: Iterable[Mapping[str, Json]], device: str) -> dict[str, int]:
    """Packets that an interface received (`rx`) and sent (`tx`), from `ip -s link`."""
    stats = next((link.get("stats64") or {} for link in links if link.get("ifname") == device), {})
    return {side: int((stats.get(side) or {}).get("packets", 0)) for side in ("rx", "tx")}
