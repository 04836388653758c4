"""A host's place in one network: resolved once, when the network exists, and taken by all that follows."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from lab.link import PLAIN, Link

Family = Literal["ipv4", "ipv6"]
if TYPE_CHECKING:
    Address = IPv4Address | IPv6Address
else:  # one class for both families: msgspec reads no union of two back
    from ipaddress import _BaseAddress as Address
Subnet = IPv4Network | IPv6Network

NETWORK = "lab"  #: name of the network of a lab that has one
WIRE = "wire"  #: who sits at the wire's own attachment

_WIRE_NUMBER = 2  #: .1 is the engine's machine on every bridge
_FIRST_HOST = 10


class Attachment(Struct, frozen=True):
    """Where a host is in a network. A host has one in each network that it is on."""

    host: str
    network: str
    number: int  #: unique in the lab: the wire names its devices and tables by it
    addresses: Mapping[Family, Address]  #: one of each family that the network has
    prefixes: Mapping[Family, int]  #: length of the network's prefix, by family
    mac: str
    engine: str = ""  #: the node on which the host runs; empty: the only one
    clock: str = ""  #: whose stamps its records carry: hosts of one machine share one
    link: Link = PLAIN  #: as configured before the first step

    @property
    def address(self) -> Address:
        """The address by which the host is known: IPv4 where it has one."""
        return self.addresses["ipv4"] if "ipv4" in self.addresses else self.addresses["ipv6"]

    @property
    def subnet(self) -> Subnet:
        """The network of `address`."""
        length = self.prefixes["ipv4" if "ipv4" in self.addresses else "ipv6"]
        if isinstance(self.address, IPv4Address):
            return IPv4Network((self.address, length), strict=False)
        return IPv6Network((self.address, length), strict=False)


def attach_at(host: str, address: str, mac: str, link: Link = PLAIN, prefix: int = 24) -> Attachment:
    """A host with a given IPv4 address and MAC in the network of that prefix around it."""
    at = IPv4Interface(f"{address}/{prefix}")
    number = int(at.ip) - int(at.network.network_address)
    return Attachment(host, NETWORK, number, {"ipv4": at.ip}, {"ipv4": prefix}, mac, link=link)


def attach(subnet: IPv4Network, host: str, number: int, link: Link = PLAIN) -> Attachment:
    """The host with this number in a network. Its MAC is locally administered and holds its address."""
    address = subnet.network_address + number
    mac = ":".join(f"{part:02x}" for part in (0x02, 0xC6, *address.packed))
    return attach_at(host, str(address), mac, link, subnet.prefixlen)


def attach_all(subnet: IPv4Network, links: Mapping[str, Link]) -> dict[str, Attachment]:
    """All hosts of a network in their order; `prefix_length` says how large it must be."""
    numbered = enumerate(links.items(), _FIRST_HOST)
    return {host: attach(subnet, host, number, link) for number, (host, link) in numbered}


def attach_wire(subnet: IPv4Network) -> Attachment:
    """The wire's own place in a network."""
    return attach(subnet, WIRE, _WIRE_NUMBER)


def prefix_length(hosts: int) -> int:
    """Of the smallest network that has room for so many hosts, at most a /24: 245 hosts, a /23 has 501."""
    last = _FIRST_HOST + hosts  # one more than the last host's: the broadcast address is nobody's
    return min(24, 32 - max(8, last.bit_length()))
