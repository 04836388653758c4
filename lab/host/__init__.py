"""The lab's side of a host: what the runner asks of the agent in a host's container."""

from lab.host.host import Host
from lab.host.specs import CallSpec, HostReadback, HostSetup, Moment, PowerOff, RunSpec

__all__ = ["CallSpec", "Host", "HostReadback", "HostSetup", "Moment", "PowerOff", "RunSpec"]
