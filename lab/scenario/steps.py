"""The steps of a scenario: one class for each `do`, its fields the YAML keys.

`STEPS` is the table of all of them. `place` and `id` come from the file by way of the loader.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainValidator, TypeAdapter, WithJsonSchema

from lab.link import Impairment
from lab.place import Place
from lab.scenario.base import AtLeastOne, AtMostOne, Excludes, Needs, Opt, Rule, problem, shown
from lab.scenario.calls import CALL_STEPS, Step
from lab.scenario.compose.words import Pairs
from lab.scenario.element import NOWHERE, UnionOf
from lab.scenario.expects import AwaitExpect, RunExpect
from lab.scenario.links import LINK_KEYS, SPLIT_RULES, LinkChange, SideKeys
from lab.scenario.matches import Droppable
from lab.scenario.quantities import (
    DropCount,
    Flag,
    HostName,
    Name,
    OneOf,
    Port,
    SignalName,
    StateName,
    Text,
    Time,
    enum,
    number,
)
from lab.scenario.values import NonEmpty, Recorded, Regex, WireDirection

# --- the wire ---------------------------------------------------------------------------------------------


class LinkStep(SideKeys, Step):
    """Changes a host's link in place; keys that are not given stay as they are."""

    do: Literal["link"] = "link"
    host_keys = ("host",)
    rules: ClassVar[tuple[Rule, ...]] = (
        *SPLIT_RULES,
        *LinkChange.rules,
        AtLeastOne(("up", "down", *LINK_KEYS), "otherwise there is nothing to change"),
    )
    host: HostName
    up: Opt[LinkChange] = None
    down: Opt[LinkChange] = None

    def changes(self) -> tuple[Impairment | None, Impairment | None]:
        """The changes up and down; None if a direction stays as it is."""
        return self.ways(self.up, self.down)


class Directed(Step):
    """A step at a host's link, in one direction or both."""

    host_keys = ("host",)
    host: HostName
    direction: WireDirection = "both"


class Cut(Directed):
    do: Literal["cut"] = "cut"


class Restore(Directed):
    do: Literal["restore"] = "restore"


def _two(value: object) -> object:
    if not isinstance(value, list) or len(value) != 2:
        raise problem(f"{shown(value)} is not two hosts: [a, b]")
    if value[0] == value[1]:
        raise problem(f"{shown(value[0])} twice: a partition is between two hosts")
    return value


Pair = Annotated[
    list[HostName],
    BeforeValidator(_two),
    WithJsonSchema({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}),
]


class Partition(Step):
    do: Literal["partition"] = "partition"
    host_keys = ("between",)
    between: Pair


class Heal(Step):
    do: Literal["heal"] = "heal"
    host_keys = ("between",)
    between: Pair


class Drop(Step):
    """Drops exactly the next `count` matching packets."""

    do: Literal["drop"] = "drop"
    host_keys = ("from", "to")
    from_: HostName
    to: HostName
    match: Droppable
    count: DropCount = 1


# --- processes, programs and hosts ------------------------------------------------------------------------


class Signal(Step):
    """To a process of socket calls (default `main`), a service, or the program of a background `run` step."""

    rules: ClassVar[tuple[Rule, ...]] = (AtMostOne(("process", "service", "run")),)
    at: HostName
    process: Opt[Name] = None
    service: Opt[Name] = None
    run: Opt[Name] = None


class Kill(Signal):
    """A signal to a process of socket calls (default `main`), a service, or the program of a background
    `run` step."""

    do: Literal["kill"] = "kill"
    signal: SignalName = "KILL"


class Pause(Signal):
    do: Literal["pause"] = "pause"


class Resume(Signal):
    do: Literal["resume"] = "resume"


class Power(Step):
    do: Literal["power"] = "power"
    at: HostName
    state: Annotated[Literal["off", "on"], OneOf("a state of power")]


class Start(Step):
    """Starts a service and ends when it is ready. Without `service`: the host's only one."""

    do: Literal["start"] = "start"
    at: HostName
    service: Opt[Name] = None


class Stop(Step):
    """Stops a service: its stop signal and, after the grace, KILL. Without `service`: the host's only one."""

    do: Literal["stop"] = "stop"
    at: HostName
    service: Opt[Name] = None


#: What a program may request, if the `policy` in lab.yml allows it.
CAPABILITIES = ("NET_ADMIN", "NET_RAW")
CapabilityName = Annotated[
    str, OneOf("a capability that a program can ask for", CAPABILITIES), enum(CAPABILITIES)
]


class Run(Step):
    """A program at a host, or `in` one of its services, with `stdin` typed into it."""

    do: Literal["run"] = "run"
    rules: ClassVar[tuple[Rule, ...]] = (
        Excludes("in", ("capabilities",), "a service's programs have the service's own"),
    )
    at: HostName
    command: Annotated[list[Text], NonEmpty]
    in_: Opt[Name] = None
    environment: Opt[Pairs] = None
    user: Opt[Text] = None
    capabilities: list[CapabilityName] = Field(default_factory=list)
    stdin: Opt[Text] = None
    timeout: Opt[Time] = None
    background: Flag = False
    record: Opt[dict[Name, Recorded]] = None
    trace: Flag = False
    expect: Opt[RunExpect] = None

    @property
    def held(self) -> tuple[str, ...]:
        """Its capabilities, each once and sorted."""
        return tuple(sorted(set(self.capabilities)))


# --- waiting ----------------------------------------------------------------------------------------------


class Sleep(Step):
    do: Literal["sleep"] = "sleep"
    host_keys = ()
    for_: Time


class WaitFor(Step):
    do: Literal["wait_for"] = "wait_for"
    rules: ClassVar[tuple[Rule, ...]] = (
        AtLeastOne(("listening", "state", "log")),
        AtMostOne(("listening", "state", "log")),
        Needs("state", ("port",), "of the socket"),
        Needs("port", ("state",)),
        Needs("service", ("log",)),
        Needs("after", ("log",), "only a log has later lines"),
    )
    at: HostName
    listening: Opt[Port] = None
    state: Opt[StateName] = None
    port: Opt[Port] = None
    log: Opt[Regex] = None
    service: Opt[Name] = None
    after: Opt[Name] = None
    timeout: Opt[Time] = None


class Await(Step):
    """The end of a background step. Its `id` key names that step; it has no id of its own."""

    do: Literal["await"] = "await"
    host_keys = ()
    id_: Name
    expect: Opt[AwaitExpect] = None

    @property
    def awaits(self) -> str:
        """The id of the background step."""
        return self.id_

    @property
    def id(self) -> str:
        return self.path


class Parallel(Step):
    """Steps that start together; it ends when all of them have ended."""

    do: Literal["parallel"] = "parallel"
    host_keys = ()
    steps: Annotated[list[InnerStep], NonEmpty]

    def hosts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(host for step in self.steps for host in step.hosts()))


#: In a scenario, counting every round of every `repeat`.
MAX_STEPS = 10_000

#: The allowed names of a `repeat`'s number of its round.
COUNTER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def _counter(value: object) -> str:
    if isinstance(value, str) and COUNTER.fullmatch(value):
        return value
    raise problem(f"{shown(value)} is not a name of a number: letters, digits, '_' and '-'")


class Repeat(Step):
    """Steps done `times` times, with `${n}` from 1. The loader replaces it by its rounds: no scenario that is
    run has one."""

    do: Literal["repeat"] = "repeat"
    host_keys = ()
    times: Annotated[int, number(1, MAX_STEPS, "times")]
    n: Opt[
        Annotated[
            str,
            PlainValidator(_counter),
            WithJsonSchema({"type": "string", "pattern": f"^{COUNTER.pattern}$"}),
        ]
    ] = None  #: None: n
    steps: Annotated[list[AnyStep], NonEmpty]

    @classmethod
    def yaml_keys(cls) -> tuple[str, ...]:
        return tuple(key for key in super().yaml_keys() if key != "id")


_CLASSES: tuple[type[Step], ...] = (
    *CALL_STEPS,
    *(LinkStep, Cut, Restore, Partition, Heal, Drop),
    *(Kill, Pause, Resume, Power, Start, Stop, Run, Sleep, WaitFor, Await, Parallel, Repeat),
)

#: Every `do` and its class, in the order of the documentation.
STEPS: dict[str, type[Step]] = {cls.model_fields["do"].default: cls for cls in _CLASSES}


InnerStep = Annotated[Step, UnionOf({name: cls for name, cls in STEPS.items() if name != "parallel"}, "do")]
AnyStep = Annotated[Step, UnionOf(STEPS, "do")]


@functools.cache
def _any() -> TypeAdapter[Step]:
    return TypeAdapter(AnyStep)


def parse_step(keys: dict[str, Any], *, place: Place = NOWHERE, path: str = "steps[?]") -> Step:
    """One step from the keys that YAML gives, for tests and tools. Raises pydantic's ValidationError."""
    step = _any().validate_python(keys)
    step.placed(place, path)
    return step


#: The wire's steps: a case without them and without an impaired link needs only a router.
WIRE_STEPS = (LinkStep, Cut, Restore, Partition, Heal, Drop, Power)


def all_steps(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps and, after a `parallel`, those in it."""
    for step in steps:
        yield step
        if isinstance(step, Parallel):
            yield from all_steps(step.steps)
