"""How a wire's container is created: its capabilities, its resources and the kernel it shall choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lab.attachment import Attachment
from lab.engine.base import ContainerSpec

#: `route`: a router in the machine's kernel, for a case that impairs nothing.
Kind = Literal["auto", "kernel", "uml", "route"]

CAPABILITIES = ("NET_ADMIN", "NET_RAW")

#: For a wire in the machine's kernel, as a container's /proc/sys is read-only. `uml-init.pl` sets the same.
#: rp_filter: packets come in and leave by the same interface, so that nothing is left to check.
#: icmp_ratelimit: a router that says "fragmentation needed" once a second makes path MTU discovery a lottery.
SYSCTLS: Mapping[str, str] = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.icmp_ratelimit": "0",
}

#: User-mode Linux executes from the file that is its memory: Docker's own /dev/shm is noexec and 64 MB. Only
#: what it uses is taken: 45 MB at rest.
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
    """The container of a wire, with no device and no privilege: user-mode Linux needs neither.

    `cpu` is the CPU of a user-mode Linux, numbered as in `Host.pin`.
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
