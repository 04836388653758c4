"""Joins the host to the wire and reads all of it back: routes, static ARP, MTU, offloads off, names."""

from __future__ import annotations

import json
import socket
from typing import Any

from .guard import only_to_the_wire
from .tools import ToolFailed, Tools

#: Offloads that must be off, so that a packet is the same in a capture, in netem and on the wire.
OFFLOADS = {
    "tcp-segmentation-offload": "tso",
    "generic-segmentation-offload": "gso",
    "generic-receive-offload": "gro",
    "tx-checksumming": "tx",
}

#: No DNS query leaves the host: every name of the lab is in /etc/hosts, and no other name is known. Docker's
#: own resolver knows only running hosts, and takes ten seconds over a host without power.
_NO_RESOLVER = {
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
    # for what does not read nsswitch.conf (musl, Go): nothing listens at the default, 127.0.0.1
    "/etc/resolv.conf": "options timeout:1 attempts:1\n",
}
HOSTS = "/etc/hosts"


class NotAsAsked(Exception):
    """The kernel's state is not what was asked for."""


class Network:
    """The host's one interface, found by MAC or address, never by name."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.interface = ""
        self.guarded = False  #: whether only what goes to the wire can leave

    def _find(self, links: list[Any], mac: str, address: str) -> str:
        """The name of the interface with this MAC, or else with this address."""
        for link in links:
            if str(link.get("address", "")).lower() == mac.lower():
                return str(link["ifname"])
        for link in links:
            if any(info.get("local") == address for info in link["addr_info"]):
                return str(link["ifname"])
        there = ", ".join(f"{link['ifname']} {link.get('address', '')}" for link in links)
        raise NotAsAsked(f"no interface has the MAC {mac} or the address {address}; there are: {there}")

    def set_up(self, args: dict[str, Any]) -> None:
        """Set up the interface: a capture can begin. Raises `ToolFailed` or `NotAsAsked`."""
        (links,) = self._show("addr show")
        self.interface = name = self._find(links, args["mac"], args["address"])
        switches = [word for short in OFFLOADS.values() for word in (short, "off")]
        self._tools.run(["ethtool", "-K", name, *switches])
        mtu = [] if args["mtu"] is None else ["mtu", str(args["mtu"])]
        self._tools.run(["ip", "link", "set", "dev", name, "up", *mtu])
        self.guarded = only_to_the_wire(self._tools, name, args["wire_mac"], args["wire_address"])

    def join(self, args: dict[str, Any]) -> dict[str, Any]:
        """Join the host to the wire: routes, static ARP and names; return the facts as read back.

        Raises `ToolFailed` or `NotAsAsked`.
        """
        name = self._ready()
        (routes,) = self._show("route show")
        lines = ["route del default" for route in routes if route["dst"] == "default"]
        wire, subnet, own = args["wire_address"], args["subnet"], args["address"]
        # First the route to the wire, then all else through it: the second replaces the on-link route.
        lines.append(f"route replace {wire}/32 dev {name} scope link src {own}")
        lines.append(f"route replace {subnet} via {wire} dev {name} src {own}")
        if args["arp"] == "static":
            lines.append(f"neigh replace {wire} lladdr {args['wire_mac']} dev {name} nud permanent")
        self._tools.run(["ip", "-batch", "-"], "\n".join(lines) + "\n")
        self._name(args["peers"])
        return self._read_back(args)

    def _ready(self) -> str:
        if not self.interface:
            raise ToolFailed("the host was not set up: its interface is unknown")
        return self.interface

    def _name(self, peers: dict[str, str]) -> None:
        """Write the names of all hosts of the lab, whatever their state, and no others."""
        resolve_nothing()
        with open(HOSTS) as file:
            known = file.read().splitlines()  # Docker's: localhost, and the host itself
        own = [line for line in known if not set(line.split()[1:]) & set(peers)]
        lines = [f"{address}\t{name}" for name, address in peers.items()]
        _write(HOSTS, "\n".join([*own, *lines]) + "\n")  # in place: it is a mount and cannot be replaced

    def _show(self, *commands: str) -> list[list[dict[str, Any]]]:
        """What `ip` prints for each command; nothing is an empty list."""
        printed = self._tools.run(["ip", "-j", "-batch", "-"], "".join(f"{one}\n" for one in commands))
        return [json.loads(line) for line in printed.splitlines() if line]

    def _read_back(self, args: dict[str, Any]) -> dict[str, Any]:
        name = self.interface
        facts: dict[str, Any] = {"interface": name, "guarded": self.guarded}
        problems: list[str] = []
        facts["offloads"] = offloads = self._offloads()
        for feature in OFFLOADS:
            if offloads.get(feature):
                problems.append(f"{feature} of {name} is still on after it was switched off")
        routes, (link,), neighbours = self._show(
            "route show", f"link show dev {name}", f"neigh show dev {name}"
        )
        facts["routes"] = [_route_text(route) for route in routes]
        wanted = {
            args["wire_address"]: (None, "the route to the wire"),
            args["subnet"]: (args["wire_address"], "the route to all other hosts"),
        }
        for route in routes:
            if route["dst"] not in wanted:
                problems.append(f"a route bypasses the wire: {_route_text(route)}")
        for target, (gateway, what) in wanted.items():
            if not any(r["dst"] == target and r.get("gateway") == gateway for r in routes):
                there = "; ".join(facts["routes"]) or "no routes"
                problems.append(f"{what} ({target}) is missing in: {there}")
        for peer, address in args["peers"].items():
            try:
                found = socket.gethostbyname(peer)
            except OSError as error:
                found = str(error)
            if found != address:
                problems.append(f"the name {peer} resolves to {found}, not {address}")
        facts["mtu"], facts["mac"] = link["mtu"], link["address"]
        if args["mtu"] not in (None, link["mtu"]):
            problems.append(f"the MTU of {name} is {link['mtu']}, not {args['mtu']}")
        if link["address"].lower() != args["mac"].lower():
            problems.append(f"the MAC of {name} is {link['address']}, not {args['mac']}")
        permanent = {n["dst"]: n["lladdr"] for n in neighbours if "PERMANENT" in n["state"]}
        facts["neighbours"] = permanent
        wire, mac = args["wire_address"], args["wire_mac"]
        if args["arp"] == "static" and permanent.get(wire, "").lower() != mac.lower():
            problems.append(f"no permanent ARP entry {wire} → {mac}; there are: {permanent}")
        if problems:
            raise NotAsAsked("; ".join(problems))
        return facts

    def _offloads(self) -> dict[str, bool]:
        text = self._tools.run(["ethtool", "-k", self.interface])
        found: dict[str, bool] = {}
        for line in text.splitlines():
            feature, _, value = line.partition(":")
            if feature in OFFLOADS:
                found[feature] = value.split()[0] == "on"
        missing = set(OFFLOADS) - set(found)
        if missing:
            raise NotAsAsked(f"ethtool -k {self.interface} does not report {', '.join(sorted(missing))}")
        return found

    def down(self) -> None:
        """Cut the cable and the power at once: nothing more is sent, no FIN and no RST."""
        self._tools.run(["ip", "link", "set", "dev", self._ready(), "down"])


def resolve_nothing() -> None:
    """Tell the resolver: no DNS, and no name but those in /etc/hosts."""
    for path, text in _NO_RESOLVER.items():
        _write(path, text)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _route_text(route: dict[str, Any]) -> str:
    words = [route["dst"]]
    for key, word in (("gateway", "via"), ("dev", "dev"), ("scope", "scope"), ("prefsrc", "src")):
        if route.get(key):
            words += [word, str(route[key])]
    return " ".join(words)
