"""The keys that only a Compose file has: of its services, its networks, volumes, configs and secrets."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import PlainValidator, WithJsonSchema

from lab.scenario.base import AtLeastOne, AtMostOne, Model, Opt, Rule, problem, shown
from lab.scenario.compose.models import ComposeModel, Grant, ServiceKeys
from lab.scenario.compose.words import Pairs, TextList, Texts, Truth
from lab.scenario.quantities import Name, Text
from lab.scenario.ranges import ShortOr


class ExtendsKeys(Model):
    """The service that this one extends, in this file or in `file`."""

    service: Name
    file: Opt[Text] = None


class AttachmentKeys(Model):
    """How a service is attached to one network."""

    aliases: Opt[TextList] = None
    ipv4_address: Any = None
    ipv6_address: Any = None
    link_local_ips: Any = None
    mac_address: Any = None
    priority: Any = None
    gw_priority: Any = None
    driver_opts: Any = None
    interface_name: Any = None


_NetworksMap = dict[Name, AttachmentKeys | None]
Networks = Annotated[_NetworksMap | list[Name], ShortOr(_NetworksMap, list[Name])]
Extends = Annotated[ExtendsKeys | str, ShortOr(ExtendsKeys, Name)]


def _host_name(value: object) -> str:
    if not isinstance(value, str) or not value or any(c.isspace() or c == ":" for c in value):
        raise problem(f"{shown(value)} is not a name of a host")
    return value


NetName = Annotated[str, PlainValidator(_host_name), WithJsonSchema({"type": "string"})]


class ComposeServiceKeys(ServiceKeys):
    """A service of a Compose file, without the keys that have no effect here (`keys.SERVICE` names them)."""

    sysctls: Opt[Pairs] = None
    networks: Opt[Networks] = None
    network_mode: Opt[Text] = None
    hostname: Opt[NetName] = None
    container_name: Opt[NetName] = None
    links: Opt[TextList] = None
    profiles: Opt[TextList] = None
    extends: Opt[Extends] = None
    secrets: Opt[list[Grant]] = None
    configs: Opt[list[Grant]] = None

    @classmethod
    def yaml_keys(cls) -> tuple[str, ...]:
        lab = ("ready", "autostart", "trace", "record")
        return tuple(key for key in super().yaml_keys() if key not in lab)


class FileKeys(ComposeModel):
    """One of the top-level `configs` and `secrets`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        AtLeastOne(("file", "content", "environment", "external")),
        AtMostOne(("file", "content", "environment")),
    )
    file: Opt[Text] = None
    content: Opt[Text] = None
    environment: Opt[Text] = None
    external: Opt[Truth] = None
    name: Opt[Text] = None
    labels: Any = None
    driver: Any = None
    driver_opts: Any = None
    template_driver: Any = None


class VolumeKeys(Model):
    """One of the top-level `volumes`."""

    driver: Opt[Text] = None
    driver_opts: Any = None
    external: Opt[Truth] = None
    labels: Any = None
    name: Opt[Text] = None


class IncludeKeys(Model):
    """The long form of one `include`."""

    path: Texts
    project_directory: Opt[Text] = None
    env_file: Opt[Texts] = None
