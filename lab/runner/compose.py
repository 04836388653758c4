"""A case's hosts and programs as a Compose file, for starting by hand what the lab starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.attachment import NETWORK, WIRE
from lab.engine.images import sources
from lab.harmless import clean, yaml_text
from lab.runner.compose_wire import SUBNET, host_keys, places_of, wire_service
from lab.scenario.model import Scenario
from lab.scenario.services import Build, Healthcheck, Mount, ServiceSpec

Tags = tuple[str, str]

_HEAD = """\
# The hosts of {name} as the lab starts them, each with its programs in its network namespace, and the wire
# between them, with every link as it is before the first step. A shell: docker compose exec HOST bash
# Compose cannot express the steps, the checks, or `ready` other than a healthcheck. It does not verify that
# the links do what they should, as `lab run` does. The images are the lab's own: `lab images` builds them.
# The addresses are {subnet}: run only one such file at a time.
"""


def compose_text(scenario: Scenario, images: Tags | None = None) -> str:
    """A Compose file of the hosts that the scenario uses, with their sysctls, limits and programs.

    The wire is the service `wire`. A program is the service `HOST.SERVICE`, in the network namespace of the
    service `HOST`. Paths of files are absolute. What Compose cannot express is left out: the steps, and
    `ready` other than a healthcheck. `images` are those of the hosts and of the wire; without them, those of
    this checkout.
    """
    image, of_wire = images or tuple(source.tag for source in sources()[1:])
    places = places_of(scenario)
    wire, lines = wire_service(scenario, places, of_wire)
    services: dict[str, Any] = {WIRE: _literal(wire)}
    volumes: set[str] = set()
    configs: dict[str, Any] = {WIRE: {"content": _literal(lines)}}
    for name in scenario.used_hosts:
        host = scenario.hosts[name]
        services[name] = _with_values(
            image=image,
            hostname=name,
            **_literal(host_keys(scenario, name, places)),
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN", "NET_RAW"],
            sysctls=dict(host.sysctls),
            ulimits=dict(host.ulimits),
        )
        for spec in host.services.values():
            services[f"{name}.{spec.name}"] = _program(name, spec, image)
            for source, mount in _contents(name, spec).items():
                configs[source] = {"content": _literal(mount.content)}
            volumes |= {mount.source for mount in spec.mounts if isinstance(mount.source, str)}
    content = _with_values(
        services=services,
        networks={
            NETWORK: {
                "internal": True,
                "driver_opts": {"com.docker.network.bridge.inhibit_ipv4": "true"},
                "ipam": {"config": [{"subnet": str(SUBNET)}]},
            }
        },
        volumes={name: {} for name in sorted(volumes)},
        configs=configs,
    )
    return _HEAD.format(name=clean(scenario.name), subnet=SUBNET) + yaml_text(content)


def _program(host: str, spec: ServiceSpec, host_image: str) -> dict[str, Any]:
    needed: dict[str, Any] = {host: {"condition": "service_healthy"}}
    for one in spec.depends_on:
        needed[f"{one.host}.{one.service}"] = _with_values(
            condition=one.condition, required=None if one.required else False
        )
    program = _with_values(
        image=spec.image if spec.image is not None else None if spec.build is not None else host_image,
        build=None if spec.build is None else _build(spec.build),
        network_mode=f"service:{host}",
        environment=_literal(dict(spec.environment)),
        working_dir=_literal(spec.working_dir),
        user=_literal(spec.user),
        group_add=list(spec.groups),
        volumes=[_mount(mount) for mount in spec.mounts if mount.kind != "content"],
        configs=[
            _with_values(source=source, target=mount.target, mode=mount.mode)
            for source, mount in _contents(host, spec).items()
        ],
        ulimits={name: {"soft": limit.soft, "hard": limit.hard} for name, limit in spec.ulimits.items()},
        init=spec.init or None,
        read_only=spec.read_only or None,
        stop_signal=spec.stop_signal,
        stop_grace_period=str(spec.stop_grace_period),
        healthcheck=None if spec.healthcheck is None else _healthcheck(spec.healthcheck),
        depends_on=needed,
        cap_drop=["ALL"],
        cap_add=list(spec.capabilities),
        security_opt=["no-new-privileges:true"],
        profiles=None if spec.autostart else ["later"],
    )
    # An empty value of these overrides the image's.
    if spec.command is not None:
        program["command"] = _literal(list(spec.command))
    if spec.entrypoint is not None:
        program["entrypoint"] = _literal(list(spec.entrypoint))
    return program


def _contents(host: str, spec: ServiceSpec) -> dict[str, Mount]:
    """Files whose text the scenario gives, by their names among Compose's configs."""
    given = [mount for mount in spec.mounts if mount.kind == "content"]
    return {f"{host}.{spec.name}.{number}": mount for number, mount in enumerate(given, start=1)}


def _build(build: Build) -> dict[str, Any]:
    return _with_values(
        context=_literal(str(build.context.absolute())),
        dockerfile=None if build.inline is not None else _literal(str(build.dockerfile.absolute())),
        dockerfile_inline=_literal(build.inline),
        args=_literal(dict(build.args)),
        target=build.target,
    )


def _mount(mount: Mount) -> dict[str, Any]:
    if mount.kind == "tmpfs":
        return _with_values(type="tmpfs", target=mount.target, tmpfs=_with_values(size=mount.size))
    return _with_values(
        type=mount.kind,
        source=_literal(str(mount.source.absolute()) if isinstance(mount.source, Path) else mount.source),
        target=mount.target,
        read_only=mount.read_only or None,
        volume=_with_values(nocopy=mount.nocopy or None, subpath=mount.subpath),
    )


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    if check.disabled:
        return {"disable": True}
    return _with_values(
        test=None if check.test is None else _literal(list(check.test)),
        interval=str(check.interval),
        timeout=str(check.timeout),
        retries=check.retries,
        start_period=str(check.start_period),
        start_interval=str(check.start_interval),
    )


def _with_values(**keys: Any) -> dict[str, Any]:
    """The keys, without the empty ones."""
    return {key: value for key, value in keys.items() if value is not None and value not in ([], {})}


def _literal(value: Any) -> Any:
    """A value with each `$` escaped, so that Compose does not interpolate it."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _literal(one) for key, one in value.items()}
    return [_literal(one) for one in value] if isinstance(value, list) else value
