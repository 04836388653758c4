"""The keys of a service, as a scenario and as a Compose file have them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, PlainValidator, Tag, WithJsonSchema

from lab.policy import BUILD_NETWORKS
from lab.scenario.base import AtLeastOne, AtMostOne, Model, Opt, Rule, problem, shown
from lab.scenario.compose import keys
from lab.scenario.compose.keys import refusal
from lab.scenario.compose.words import (
    ByteSize,
    Command,
    Environment,
    Mode,
    Pairs,
    Target,
    TextList,
    Texts,
    Time,
    Truth,
    Ulimits,
    VolumeShort,
    parse_volume,
    texts,
    whole,
)
from lab.scenario.problems import did_you_mean
from lab.scenario.quantities import Flag, Name, OneOf, Port, Text, number, parse_duration, parse_text
from lab.scenario.ranges import ShortOr, is_list
from lab.scenario.services import Condition
from lab.scenario.values import Recorded, Regex
from lab.scenario.words import SIGNALS
from lab.units import Duration

_LabTime = Annotated[
    Duration,
    PlainValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ns|us|ms|s|m)$"}),
]


class ComposeModel(Model):
    """A mapping of Compose: a key of Compose without use here is reported as such, not as unknown."""

    table: ClassVar[Mapping[str, keys.Key]] = {}

    @classmethod
    def senseless(cls, keys: Collection[str]) -> list[tuple[str, str]]:
        allowed = cls.yaml_keys()
        return [
            (key, refusal(key, cls.table[key])) for key in keys if key in cls.table and key not in allowed
        ]


# --- building ---------------------------------------------------------------------------------------------


class BuildKeys(ComposeModel):
    """How the image is made."""

    table = keys.BUILD
    rules: ClassVar[tuple[Rule, ...]] = (AtMostOne(("dockerfile", "dockerfile_inline")),)
    context: Opt[Text] = None
    dockerfile: Opt[Text] = None
    dockerfile_inline: Opt[Text] = None
    args: Opt[Environment] = None
    target: Opt[Text] = None
    network: Opt[
        Annotated[
            Literal["none", "bridge", "default", "host"],
            OneOf("a network of a build", (*BUILD_NETWORKS, "default")),
        ]
    ] = None


BuildForm = Annotated[BuildKeys | str, ShortOr(BuildKeys, Text)]

# --- readiness --------------------------------------------------------------------------------------------


def _true(value: object) -> Literal[True]:
    if value is True:
        return True
    raise problem(f"{shown(value)}: healthcheck: true waits until the service is healthy")


_KINDS = ("listening", "log", "healthcheck", "command", "exit")


class ReadyKeys(Model):
    """When a service counts as started."""

    rules: ClassVar[tuple[Rule, ...]] = (AtLeastOne(_KINDS), AtMostOne(_KINDS))
    listening: Opt[Port] = None
    log: Opt[Regex] = None
    healthcheck: Opt[Annotated[Literal[True], PlainValidator(_true), WithJsonSchema({"const": True})]] = None
    command: Opt[Command] = None
    exit: Opt[Annotated[int, number(0, 255, "an exit status")]] = None
    timeout: Opt[_LabTime] = None


def _test(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ("CMD-SHELL", parse_text(value))
    words = texts(value)
    if not words or words[0] not in ("NONE", "CMD", "CMD-SHELL"):
        first = shown(words[0]) if words else "nothing"
        raise problem(f"the list begins with {first}; allowed: NONE, CMD, CMD-SHELL")
    if (words[0] == "NONE") != (len(words) == 1) or (words[0] == "CMD-SHELL" and len(words) != 2):
        raise problem("a test is [NONE], [CMD, program, …] or [CMD-SHELL, text]")
    return words


class HealthcheckKeys(Model):
    """How the engine checks the service's health."""

    test: Opt[
        Annotated[
            tuple[str, ...],
            PlainValidator(_test),
            WithJsonSchema(
                {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "number"]}}]}
            ),
        ]
    ] = None
    interval: Opt[Time] = None
    timeout: Opt[Time] = None
    retries: Opt[
        Annotated[int, whole(0, 10_000, "retries"), WithJsonSchema({"type": ["integer", "string"]})]
    ] = None
    start_period: Opt[Time] = None
    start_interval: Opt[Time] = None
    disable: Opt[Truth] = None


# --- files ------------------------------------------------------------------------------------------------


class _BindKeys(Model):
    propagation: Opt[Text] = None
    create_host_path: Opt[Truth] = None
    selinux: Opt[Text] = None
    recursive: Opt[Text] = None


class _VolumeOptions(Model):
    nocopy: Opt[Truth] = None
    subpath: Opt[Text] = None
    labels: Opt[Pairs] = None


class _TmpfsOptions(Model):
    size: Opt[ByteSize] = None
    mode: Opt[Mode] = None


class MountKeys(Model):
    """The long form of a volume."""

    type: Annotated[Literal["bind", "volume", "tmpfs"], OneOf("a type of volume that a lab has")]
    source: Opt[Text] = None
    target: Target
    read_only: Opt[Truth] = None
    consistency: Opt[Text] = None
    bind: Opt[_BindKeys] = None
    volume: Opt[_VolumeOptions] = None
    tmpfs: Opt[_TmpfsOptions] = None


def _volume_short(value: object) -> VolumeShort:
    return value if isinstance(value, VolumeShort) else parse_volume(parse_text(value))


_VolumeShort = Annotated[VolumeShort, PlainValidator(_volume_short), WithJsonSchema({"type": "string"})]
Volume = Annotated[MountKeys | VolumeShort, ShortOr(MountKeys, _VolumeShort)]


class EnvFileKeys(Model):
    """The long form of one `env_file`."""

    path: Text
    required: Opt[Truth] = None
    format: Opt[Annotated[Literal["raw"], OneOf("a format of env_file")]] = None


_EnvFile = Annotated[EnvFileKeys | str, ShortOr(EnvFileKeys, Text)]
EnvFiles = Annotated[
    Annotated[list[_EnvFile], Tag("<list>")] | Annotated[Text, Tag("<short>")], Discriminator(is_list)
]


class GrantKeys(Model):
    """The long form of a service's `configs` and `secrets`."""

    source: Name
    target: Opt[Text] = None
    uid: Opt[Text] = None
    gid: Opt[Text] = None
    mode: Opt[Mode] = None


Grant = Annotated[GrantKeys | str, ShortOr(GrantKeys, Name)]


# --- what it waits for ------------------------------------------------------------------------------------


class DependencyKeys(Model):
    """One entry of `depends_on` in its long form."""

    condition: Annotated[Condition, OneOf("a condition")]
    required: Opt[Truth] = None
    restart: Opt[Truth] = None


_DependsMap = dict[Name, DependencyKeys]
DependsOn = Annotated[_DependsMap | list[Name], ShortOr(_DependsMap, list[Name])]


# --- a service --------------------------------------------------------------------------------------------


def _capability(value: object) -> str:
    text = parse_text(value).upper().removeprefix("CAP_")
    if text not in ("ALL", *CAPABILITIES):
        raise problem(f"{shown(value)} is not a capability of Linux{did_you_mean(text, CAPABILITIES)}")
    return text


CAPABILITIES = tuple(
    """
    AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE
    DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD
    NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN
    SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG WAKE_ALARM
    """.split()  # noqa: SIM905 (a literal list of these is unreadable)
)
Capability = Annotated[str, PlainValidator(_capability), WithJsonSchema({"type": "string"})]


def _image(value: object) -> str:
    text = parse_text(value)
    if not text or text != text.strip() or any(c.isspace() for c in text):
        raise problem(f"{shown(text)} is not the name of an image, like nginx:1.27")
    return text


def _stop_signal(value: object) -> str:
    text = parse_text(value).removeprefix("SIG")
    if text in SIGNALS or re.fullmatch(r"RTMIN(\+[0-9]{1,2})?|RTMAX(-[0-9]{1,2})?|[0-9]{1,2}", text):
        return text
    raise problem(f"{shown(value)} is not a signal, like SIGQUIT{did_you_mean(text, SIGNALS)}")


StopSignal = Annotated[str, PlainValidator(_stop_signal), WithJsonSchema({"type": ["string", "integer"]})]


class ServiceKeys(ComposeModel):
    """A user's program in the host's network: Compose's keys, and the lab's."""

    table = keys.SERVICE
    image: Opt[Annotated[str, PlainValidator(_image), WithJsonSchema({"type": "string"})]] = None
    build: Opt[BuildForm] = None
    command: Command = None
    entrypoint: Command = None
    environment: Opt[Environment] = None
    env_file: Opt[EnvFiles] = None
    working_dir: Opt[Target] = None
    user: Opt[Text] = None
    group_add: Opt[TextList] = None
    volumes: Opt[list[Volume]] = None
    tmpfs: Opt[Texts] = None
    ulimits: Opt[Ulimits] = None
    init: Opt[Truth] = None
    stop_signal: Opt[StopSignal] = None
    stop_grace_period: Opt[Time] = None
    healthcheck: Opt[HealthcheckKeys] = None
    depends_on: Opt[DependsOn] = None
    read_only: Opt[Truth] = None
    cap_add: Opt[list[Capability]] = None
    cap_drop: Opt[list[Capability]] = None
    security_opt: Opt[TextList] = None
    ready: Opt[ReadyKeys] = None
    autostart: Opt[Flag] = None
    trace: Opt[Flag] = None
    record: Opt[dict[Name, Recorded]] = None


class NetworkKeys(Model):
    """One of the top-level `networks`: only its name matters; Compose's keys are accepted and change
    nothing."""

    attachable: Any = None
    driver: Any = None
    driver_opts: Any = None
    enable_ipv4: Any = None
    enable_ipv6: Any = None
    external: Any = None
    internal: Any = None
    ipam: Any = None
    labels: Any = None
    name: Any = None
