"""The lab's side of a host: what the runner asks of the agent in a host's container."""

from lab.host.host import Host
from lab.host.programs import Programs, launcher
from lab.host.specs import (
    HOST_CAPABILITIES,
    CallSpec,
    HostReadback,
    HostSetup,
    Identity,
    Moment,
    PowerOff,
    RunSpec,
)

__all__ = [
    "HOST_CAPABILITIES",
    "CallSpec",
    "Host",
    "HostReadback",
    "HostSetup",
    "Identity",
    "Moment",
    "PowerOff",
    "Programs",
    "RunSpec",
    "launcher",
]
