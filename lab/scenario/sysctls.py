"""The sysctls of a host's network that a scenario may set: all except those that route packets.

A host has one route, to the wire, and IPv6 is off. A setting that forwards, answers ARP for others, accepts
redirects or source routes, or enables IPv6 would open another. Whole families that do nothing else are
refused, not single names: a newer kernel may add a member to a family, hardly a new family. Settings for TCP,
UDP, ICMP and the sizes of buffers and queues are allowed.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from lab.scenario.base import problem, shown
from lab.scenario.quantities import Text

_SYSCTL = r"net(\.[A-Za-z0-9_-]+)+"

#: Family → why it is refused. A name of it that `_HARMLESS` matches is allowed all the same.
_CLOSED = {
    r"net\.ipv6\.": "IPv6 is off on the lab's hosts, and stays so",
    r"net\.ipv4\.conf\.": "it decides which way packets go (forwarding, ARP, redirects, source routes)",
    r"net\.ipv4\.(ip_forward|ip_nonlocal_bind|fib_|nexthop)": "it decides which way packets go",
    r"net\.(mpls|bridge|x25|ax25|decnet|vrf|dccp)\.": "the lab's hosts have no such network",
}
_HARMLESS = re.compile(
    r"net\.ipv4\.conf\.[^.]+\.(rp_filter|log_martians)|net\.ipv6\.conf\.[^.]+\.disable_ipv6"
)


def _name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(_SYSCTL, value):
        raise problem(f"{shown(value)} is not a sysctl of a host's own: net.…, like net.ipv4.tcp_syn_retries")
    for family, why in _CLOSED.items():
        if re.match(family, value) and not _HARMLESS.fullmatch(value):
            raise problem(f"{value} is not for a scenario to set: {why}")
    return value


def _no_ipv6(sysctls: dict[str, str]) -> dict[str, str]:
    for name, value in sysctls.items():
        if name.endswith(".disable_ipv6") and value.strip() != "1":
            raise problem(f"{name}: {shown(value)} is not for a scenario to set: IPv6 is off; allowed: 1")
    return sysctls


Sysctls = Annotated[
    dict[
        Annotated[str, PlainValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_SYSCTL}$"})],
        Text,
    ],
    AfterValidator(_no_ipv6),
]
