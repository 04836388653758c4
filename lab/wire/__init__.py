"""The wire: the router between the hosts that owns every link, and its words for tc, ip and iptables."""

from lab.wire.router import WireSetup
from lab.wire.session import Hello
from lab.wire.wire import Wire

__all__ = ["Hello", "Wire", "WireSetup"]
