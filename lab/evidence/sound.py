"""What the types of a record do not say, and everything that computes with it relies on.

Records that the lab makes have it by how they are made; of those that are read from a file it is asked here.
"""

from __future__ import annotations

import re
from typing import Any

from lab.attachment import Attachment
from lab.evidence.model import Endpoint, HostFacts, WireFacts

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
#: Everything else counts something, or is a time since 1970; monotonic times are only ever compared.
_SIGNED = frozenset({"exit_code", "start_mono_ns", "end_mono_ns"})
_LAST_PORT = 65_535
_FAMILIES = {"ipv4": (4, 32), "ipv6": (6, 128)}  #: version of the address, longest prefix


def unsound(record: Any) -> str:
    """What is wrong with a record of its type, as `field: what`; empty where nothing is."""
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, int) and value < 0 and name not in _SIGNED:
            return f"{name}: {value} is less than 0"
        if isinstance(value, Endpoint) and not 0 <= value.port <= _LAST_PORT:
            return f"{name}.port: 0 to {_LAST_PORT}"
    if isinstance(record, HostFacts):
        if not record.name:
            return "name: a host has one"
        if not record.attachments:
            return "attachments: a host has at least one"
        return next(filter(None, map(_attachment, record.attachments)), "")
    if isinstance(record, WireFacts):
        return _mac(record.mac)
    return ""


def _attachment(one: Attachment) -> str:
    if not one.addresses:
        return "attachments.addresses: there is at least one"
    for family, address in one.addresses.items():
        version, most = _FAMILIES[family]
        if address.version != version:
            return f"attachments.addresses.{family}: {address} is of the other family"
        if not 0 <= one.prefixes.get(family, -1) <= most:
            return f"attachments.prefixes.{family}: 0 to {most}"
    found = _mac(one.mac)
    return f"attachments.{found}" if found else ""


def _mac(mac: str) -> str:
    """Empty is one that is not known."""
    if not mac or _MAC.fullmatch(mac):
        return ""
    return f"mac: {mac[:40]!r} is not six bytes in hex, like 02:c6:00:00:00:0a"
