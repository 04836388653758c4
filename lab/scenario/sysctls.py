"""Which settings of a host's network a scenario may change: all but those that decide where packets go.

A host has one way, to the wire, and IPv6 is off. A setting that forwards, answers ARP for others, takes
redirects or source routes, or switches IPv6 on would open another. Refused are whole families that do nothing
else, not single names: a kernel may get a new member of a family, hardly a new family. What tunes TCP, UDP,
ICMP and the sizes of buffers and queues is open.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from lab.scenario.base import problem, shown
from lab.scenario.quantities import Text

_SYSCTL = r"net(\.[A-Za-z0-9_-]+)+"

#: Family → why it is closed. A name of it that `_HARMLESS` matches is open all the same.
_CLOSED = {
    r"net\.ipv6\.": "IPv6 is off on the lab's hosts, and stays so",
    r"net\.ipv4\.conf\.": "it decides which way packets go (forwarding, ARP, redirects, source routes)",
    r"net\.ipv4\.(ip_forward|ip_nonlocal_bind|fib_|nexthop)": "it decides which way packets go",
    r"net\.(mpls|bridge|x25|ax25|decnet|vrf|dccp)\.": "it is of a network that the lab's hosts do not have",
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
