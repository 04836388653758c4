"""How a wire's container must be made: what it may do, what it is given, which kernel it is to choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lab.attachment import Attachment
from lab.engine.base import ContainerSpec

#: `route`: a router in the machine's kernel, for a case in which nothing is impaired.
Kind = Literal["auto", "kernel", "uml", "route"]

CAPABILITIES = ("NET_ADMIN", "NET_RAW")

#: For a wire in the machine's kernel: inside a container /proc/sys is read-only. `uml-init.pl` sets the same.
#: rp_filter: a packet comes in by the interface that its answer leaves by, there is nothing to check.
#: icmp_ratelimit: a router that says "fragmentation needed" once a second makes path MTU discovery a lottery.
SYSCTLS: Mapping[str, str] = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.icmp_ratelimit": "0",
}

#: Its memory is a file that it executes from: Docker's own /dev/shm is noexec and 64 MB. Only what is used is
#: taken: 45 MB at rest.
TMPFS: Mapping[str, str] = {"/run/lab": "exec,mode=0700,size=1g"}


def wire_container(
    *,
    name: str,
    image: str,
    labels: Mapping[str, str],
    network: str,
    here: Attachment,
    kind: Kind = "auto",
    cpu: int = 0,
    outlives_lab: bool = False,
) -> ContainerSpec:
    """The container of a wire. No device and no privilege: user-mode Linux needs neither.

    `cpu` is which of the machine's a user-mode Linux has, as `Host.pin` counts them.
    """
    return ContainerSpec(
        name=name,
        image=image,
        labels=labels,
        command=(kind, str(cpu)),
        network=network,
        address=here.address,
        mac=here.mac,
        capabilities=CAPABILITIES,
        sysctls=SYSCTLS,
        tmpfs=TMPFS,
        outlives_lab=outlives_lab,
    )
