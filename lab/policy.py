"""What a scenario may do beside its own network: `policy` of `lab.yml`. A scenario cannot widen it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

BuildNetwork = Literal["none", "bridge", "host"]

#: What network a build has, from the least to the most.
BUILD_NETWORKS: tuple[BuildNetwork, ...] = ("none", "bridge", "host")

#: The capabilities that a policy can allow: those of the host's own network and no other.
NETWORK_CAPABILITIES = ("NET_RAW", "NET_ADMIN")

#: What a service has without asking: Docker's default capabilities less NET_RAW and MKNOD.
SERVICE_CAPABILITIES = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP"),
    *("SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
)


class Policy(Struct, frozen=True):
    """The limits of a site. Without a `policy` in `lab.yml` these defaults hold."""

    build: BuildNetwork = "bridge"  #: the most that a build may have
    environment: tuple[str, ...] = ()  #: names of the caller's environment that a scenario may read
    capabilities: tuple[str, ...] = ()  #: what a `run` may ask for and a service may add
