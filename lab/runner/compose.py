"""A case's hosts as a Compose file: what the lab starts, for those who want to start it by hand."""

from __future__ import annotations

from typing import Any

import yaml

from lab.engine.images import sources
from lab.scenario.model import Scenario

_HEAD = """\
# The hosts of {name} as the lab starts them, but without the wire: Compose joins them directly, unimpaired.
"""


def compose_text(scenario: Scenario) -> str:
    """A Compose file of the hosts that the scenario uses, with their sysctls and limits."""
    image = sources()[1].tag
    services: dict[str, Any] = {}
    for name in scenario.used_hosts:
        host = scenario.hosts[name]
        service: dict[str, Any] = {
            "image": image,
            "hostname": name,
            "stdin_open": True,
            "cap_drop": ["ALL"],
            "cap_add": ["NET_ADMIN", "NET_RAW"],
            "networks": ["lab"],
        }
        if host.sysctls:
            service["sysctls"] = dict(host.sysctls)
        if host.ulimits:
            service["ulimits"] = dict(host.ulimits)
        services[name] = service
    content = {"services": services, "networks": {"lab": {"internal": True}}}
    return _HEAD.format(name=scenario.name) + yaml.safe_dump(content, sort_keys=False)
