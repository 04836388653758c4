"""Names that a scenario uses and must define: hosts, sockets, processes, step ids.

They are judged on the filled data before any model, so a wrong value elsewhere hides nothing. A misspelt name
is taken as it was meant, so one slip is reported once.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

from lab.place import Place
from lab.scenario.base import Model, shown
from lab.scenario.calls import Accept, Bind, Call, Connect, Listen, Sendto, Socket, Step
from lab.scenario.checks import CHECKS, Check, TimedCheck
from lab.scenario.expects import Expect, RunExpect
from lab.scenario.locate import Locator, Path
from lab.scenario.problems import Problem, did_you_mean, nearest
from lab.scenario.quantities import is_host_name
from lab.scenario.steps import STEPS
from lab.scenario.values import Address

MAX_SOCKETS = 100_000  #: of a scenario, by the counts of its `socket` steps
_HOST = re.compile(r"([^:\[\]]+)(?::|\Z)")
_WITH_DATA = ("recv", "recv_exactly", "peek", "recvfrom", "drain", "send", "sendall", "sendto")


def check_names(data: Any, hosts: Iterable[str] | None, locator: Locator) -> list[Problem]:
    """All dangling names of a file. `hosts` are the hosts that exist; None if that is unknown."""
    if not isinstance(data, dict):
        return []
    names = _Names(None if hosts is None else tuple(hosts), locator)
    names.steps(data.get("steps"))
    names.checks(data.get("checks"))
    return names.problems


@dataclass
class Item:
    """One step or check as raw keys, with the class that it is or was probably meant to be."""

    path: Path
    keys: dict[str, Any]
    cls: type[Step] | type[Check] | None

    def get(self, key: str) -> Any:
        """The value of a key, or of the misspelt key nearest to it."""
        actual = self.key(key)
        return None if actual is None else self.keys[actual]

    def key(self, key: str) -> str | None:
        if key in self.keys:
            return key
        return self.misspelt.get(key)

    def at(self, key: str) -> Path:
        """The path of the value of a key."""
        return (*self.path, self.key(key) or key)

    @functools.cached_property
    def misspelt(self) -> dict[str, str]:
        """What the class has no key for, by the key that was probably meant."""
        allowed = self.cls.yaml_keys() if self.cls is not None else ()
        found: dict[str, str] = {}
        for other in self.keys:
            if other not in allowed and (meant := nearest(other, allowed)) is not None:
                found.setdefault(meant, other)
        return found

    def text(self, key: str) -> str | None:
        value = self.get(key)
        return value if isinstance(value, str) else None


def _opens(item: Item) -> bool:
    """Whether a `sendto` connects: TCP, with MSG_FASTOPEN."""
    flags = item.get("flags")
    return isinstance(flags, list) and "MSG_FASTOPEN" in flags


@dataclass
class _Known:
    """A step with an id."""

    path: Path
    do: str | None
    at: str | None
    background: bool
    together: bool = False  #: it is in a `parallel`
    awaited: Path | None = None


@dataclass
class _Names:
    hosts: tuple[str, ...] | None
    locator: Locator
    problems: list[Problem] = field(default_factory=list)
    many: int = 0  #: sockets that steps with a `count` have made
    ids: dict[str, _Known] = field(default_factory=dict)
    sockets: dict[tuple[str, str], dict[str, str | None]] = field(default_factory=dict)  #: name → kind
    processes: set[tuple[str, str]] = field(default_factory=set)
    connected: dict[tuple[str, str, str], int] = field(default_factory=dict)  #: host, process, socket → times
    parallel: bool = False  #: the steps of a `parallel` are being judged
    repeats: bool = False  #: some steps are repeated
    later: list[tuple[Path, Callable[[], None]]] = field(default_factory=list)
    wrong: set[Place] = field(default_factory=set)  #: steps with a problem; in other rounds it is the same
    makers: set[Place] = field(default_factory=set)  #: each `sendto` that makes its socket
    again: bool = False  #: the step has had a problem in another round, and only the first is shown

    def say(self, path: Path, text: str) -> None:
        self.problems.append(self.locator.at(path, text))
        self.wrong.add(self.where(path))

    def where(self, path: Path) -> Place:
        """The place of the step or check that a path leads into."""
        _, node = self.locator.resolve(path[: 4 if path[2:3] == ("steps",) else 2])
        return node.place

    def hint(self, name: object, names: Iterable[str]) -> str:
        """What was probably meant. Comparing thousands of names in thousands of rounds, of which one is
        shown, would take minutes."""
        return "" if self.again else did_you_mean(name, names)

    def few(self, names: Iterable[str]) -> str:
        return "…" if self.again else few(names)

    # --- steps --------------------------------------------------------------------------------------------

    def steps(self, raw: Any) -> None:
        self.each(raw, ("steps",))
        for path, check in self.later:
            self.again = self.where(path) in self.wrong
            check()
        self.again = False

    def each(self, raw: Any, path: Path) -> None:
        for item in items(raw, path, STEPS, "do"):
            self.step(item)
            if item.keys.get("do") == "repeat":  # its own keys are wrong; its steps are as in the first round
                self.repeats = True
                self.each(item.get("steps"), (*item.path, "steps"))
            if item.keys.get("do") == "parallel":
                inner = list(items(item.get("steps"), (*item.path, "steps"), STEPS, "do"))
                # None of them may use what another of them makes: their order is undefined.
                self.parallel = True
                makes = [maker for one in inner if (maker := self.step(one, together=True)) is not None]
                self.parallel = False
                for make in makes:
                    make()

    def step(self, item: Item, *, together: bool = False) -> Callable[[], None] | None:
        """Judge one step in its order. With `together`, calling the result makes its new socket."""
        cls = item.cls
        self.again = self.where(item.path) in self.wrong
        at = self.the_hosts(item, cls.host_keys if cls is not None else ("at",))
        if cls is None or not issubclass(cls, Step):
            return None
        self.step_id(item, at)
        if issubclass(cls, Call):
            process = item.text("process") or "main"
            self.processes.add((at or "", process))
            self.call(item, cls, self.sockets.setdefault((at or "", process), {}))
            if together:
                made = self.sockets[at or "", process]
                return lambda: self.make(item, made)
            self.make(item, self.sockets[at or "", process])
        elif item.keys.get("do") in ("kill", "pause", "resume"):
            self.target(item, at)
        elif item.keys.get("do") == "await":
            self.awaited(item)
        return None

    def step_id(self, item: Item, at: str | None) -> None:
        name = item.text("id")
        background = item.get("background") is True
        if item.keys.get("do") == "await":
            return
        if background and item.get("id") is None:
            self.say(item.path, "id is missing: a background step needs one, so that it can be awaited")
        if name is None:
            return
        path = item.at("id")
        if name in self.ids:
            first = self.locator.at(self.ids[name].path, "").place.line
            self.say(path, f"id {name!r} is used twice; the first is in line {first}")
        else:
            do = item.keys.get("do")
            known = _Known(item.path, do if isinstance(do, str) else None, at, background)
            known.together = self.parallel
            self.ids[name] = known

    def call(self, item: Item, cls: type[Call], sockets: dict[str, str | None]) -> None:
        on = item.text("on")
        if on is not None and cls is Sendto and on not in sockets and self.may_make(item, on, sockets):
            # sendto needs no address of its own: it makes the socket that it needs
            sockets[on] = item.text("kind") or ("tcp" if _opens(item) else "udp")
        given = item.get("on")
        at: Path = item.at("on")
        several = enumerate(given) if isinstance(given, list) else ()
        for path, name in [(at, on), *(((*at, number), one) for number, one in several)]:
            if isinstance(name, str) and name not in sockets:
                there = f"{item.text('at') or '?'}, process {item.text('process') or 'main'}"
                has = f"it has {self.few(sockets)}" if sockets else "it has none yet"
                self.say(
                    path,
                    f"no socket {name!r} at {there} before this step; {has}{self.hint(name, sockets)}",
                )
        name = item.text("as") or on
        if name is not None and (cls in (Accept, Connect) or (cls is Sendto and _opens(item))):
            key = (item.text("at") or "", item.text("process") or "main", name)
            self.connected[key] = self.connected.get(key, 0) + 1
        kind = item.text("kind")
        if on is not None and kind in ("tcp", "udp") and sockets.get(on) not in (None, kind):
            self.say((*item.path, "kind"), f"socket {on!r} is {sockets[on]}, not {kind}")
        address = item.text("address")
        if issubclass(cls, (Bind, Listen)) and address not in (None, "any", "localhost"):
            self.host(address, (*item.path, "address"), literal=True)
        self.expected(item)

    def may_make(self, item: Item, name: str, sockets: dict[str, str | None]) -> bool:
        """Whether a `sendto` means a new socket: not if the name is nearly that of another one. The other
        rounds of such a step have near names too."""
        place = self.where(item.path)
        if place not in self.makers and did_you_mean(name, sockets):
            return False
        self.makers.add(place)
        return True

    def expected(self, item: Item) -> None:
        expect = item.get("expect")
        if not isinstance(expect, dict):
            return
        path = item.at("expect")
        if isinstance(expect.get("peer"), str):
            self.host(expect["peer"], (*path, "peer"))
        if isinstance(ready := expect.get("ready"), dict):
            given = item.get("on")
            polled = given if isinstance(given, list) else [given]
            for name in ready:
                if name not in polled:
                    names = [one for one in polled if isinstance(one, str)]
                    text = f"{name!r} is not polled here; allowed: {self.few(names)}"
                    self.say((*path, "ready", name), text)
        data = expect.get("data")
        if isinstance(data, dict) and isinstance(data.get("same_as"), str):
            where, name = (*path, "data", "same_as"), data["same_as"]
            self.later.append((where, lambda: self.has_data(where, name)))

    def has_data(self, path: Path, name: str) -> None:
        known = self.known_step(path, name, self.ids)
        if known is not None and known.do in STEPS and known.do not in _WITH_DATA:
            self.say(path, f"step {name!r} is a {known.do} and has no data; allowed: {', '.join(_WITH_DATA)}")

    def make(self, item: Item, sockets: dict[str, str | None]) -> None:
        name = item.text("as")
        if name is None:
            return
        kind = item.text("kind") or ("tcp" if item.cls in (Socket, Bind, Listen, Connect) else None)
        count = item.get("count")
        if item.cls is Socket and isinstance(count, int):
            self.many += max(count, 0)
            if self.many > MAX_SOCKETS:
                self.say(
                    item.at("count"),
                    f"the scenario makes {self.many:,} sockets by then; at most {MAX_SOCKETS:,} are allowed",
                )
                return
            sockets.update({f"{name}{number}": kind for number in range(count)})
        else:
            sockets[name] = kind

    def target(self, item: Item, at: str | None) -> None:
        process, run = item.text("process"), item.text("run")
        if process is not None and process != "main" and (at or "", process) not in self.processes:
            there = [name for host, name in self.processes if host == at]
            self.say(
                (*item.path, "process"),
                f"no step before this one has a process {process!r} at {at}"
                f"{self.hint(process, [*there, 'main'])}",
            )
        if run is not None:
            runs = {name: one for name, one in self.ids.items() if one.do == "run" and one.background}
            known = self.known_step((*item.path, "run"), run, runs, "background run before this step")
            if known is not None and at is not None and known.at != at:
                self.say((*item.path, "run"), f"{run!r} runs at {known.at}, not at {at}")

    def awaited(self, item: Item) -> None:
        name = item.text("id")
        if name is None:
            return
        path = (*item.path, "id")
        before = {name: one for name, one in self.ids.items() if one.background}
        known = self.known_step(path, name, before, "background step before this one")
        if known is None:
            return
        if known.awaited is not None:
            first = self.locator.at(known.awaited, "").place.line
            self.say(path, f"{name!r} is already awaited, in line {first}")
        known.awaited = item.path
        self.expected(item)
        self.awaited_expect(item, known)

    def awaited_expect(self, item: Item, known: _Known) -> None:
        """The keys of an await's `expect` are those of the step that it awaits."""
        expect = item.get("expect")
        cls = STEPS.get(known.do or "")
        if not isinstance(expect, dict) or cls is None or "expect" not in cls.model_fields:
            return
        allowed = _expect_keys(cls)
        for key in expect:
            if key not in allowed and key in (*Expect.yaml_keys(), *RunExpect.yaml_keys()):
                self.problems.append(
                    self.locator.at_key(
                        (*item.path, "expect", key),
                        f"{key} makes no sense for {known.do}; allowed: {', '.join(allowed)}",
                    )
                )

    # --- checks -------------------------------------------------------------------------------------------

    def checks(self, raw: Any) -> None:
        self.again = False
        for item in items(raw, ("checks",), CHECKS, "check"):
            self.the_hosts(item, item.cls.host_keys if item.cls is not None else ("at", "from", "to"))
            check = item.keys.get("check")
            if item.cls is not None and issubclass(item.cls, TimedCheck):
                self.window(item)
            if item.cls is not None and "socket" in item.cls.yaml_keys():
                self.which(item)
            if check == "order":
                self.order(item)
            elif check == "call":
                self.caller(item)
            elif check == "state":
                self.moment(item)
            elif check == "close" and isinstance(first := item.text("first"), str):
                ends = [_host_of(item.text(key)) for key in ("from", "to")]
                if None not in ends and first not in ends and self.is_host(first):
                    text = f"{first!r} is not an end of this connection; allowed: {ends[0]}, {ends[1]}"
                    self.say(item.at("first"), text)

    def caller(self, item: Item) -> None:
        """`process`: one that some step names."""
        at, process = item.text("at"), item.text("process")
        if process is None or at is None or not self.is_host(at) or (at, process) in self.processes:
            return
        there = sorted(name for host, name in self.processes if host == at)
        has = f"allowed: {self.few(there)}" if there else "it has none"
        text = f"no step has a process {process!r} at {at}; {has}{self.hint(process, there)}"
        self.say(item.at("process"), text)

    def window(self, item: Item) -> None:
        """`after` and `before`: steps that exist, with time between them."""
        ends = {
            key: self.known_step(item.at(key), name, self.ids)
            for key in ("after", "before")
            if (name := item.text(key)) is not None
        }
        after, before = ends.get("after"), ends.get("before")
        if after is not None and before is not None and self.not_before(after, before):
            text = f"{item.text('before')!r} begins before {item.text('after')!r} ends: nothing lies between"
            self.say(item.at("before"), text)

    def not_before(self, first: _Known, second: _Known) -> bool:
        """Whether `second` surely begins before `first` has ended."""
        if first is second:
            return True
        a, b = first.path[:2], second.path[:2]
        return int(a[1]) > int(b[1]) or (a == b and first.together)

    def moment(self, item: Item) -> None:
        """`when`: a word, or the id of a step."""
        when = item.text("when")
        if when is None:
            return
        path = item.at("when")
        if when not in ("end", "ever") and when not in self.ids:
            allowed = ["end", "ever", *self.ids]
            text = f"no step has the id {when!r}; allowed: {self.few(allowed)}{self.hint(when, allowed)}"
            self.say(path, text)
        if when != "ever" and (item.get("after") is not None or item.get("before") is not None):
            self.say(
                path, f"when: {when} is one moment: after and before go with when: ever, or without when"
            )

    def which(self, item: Item) -> None:
        """`socket`: a name at `from` in some step; `nth`: at most the times that it is connected."""
        name, host = item.text("socket"), _host_of(item.text("from"))
        if name is None or host is None or not self.is_host(host):
            return
        process = item.text("process") or "main"
        there = self.sockets.get((host, process), {})
        if name not in there:
            has = f"it has {self.few(there)}" if there else "it has none"
            text = f"no socket {name!r} at {host}, process {process}; {has}{self.hint(name, there)}"
            self.say(item.at("socket"), text)
            return
        nth, count = item.get("nth"), self.connected.get((host, process, name), 0)
        if isinstance(nth, int) and count and nth > count and not self.repeats:
            times = "once" if count == 1 else f"{count} times"
            text = f"nth: {nth}, but {name!r} is connected {times}"
            self.say(item.at("nth"), text)

    def order(self, item: Item) -> None:
        of = item.get("of")
        if not isinstance(of, list):
            return
        if len(of) == 1:
            self.say((*item.path, "of"), "an order has two steps or more")
        key = item.key("of") or "of"
        before: tuple[str, _Known] | None = None
        for index, name in enumerate(of):
            path: Path = (*item.path, key, index)
            if isinstance(name, dict):
                for end in ("from", "to"):
                    if isinstance(name.get(end), str):
                        self.host(name[end], (*path, end))
            if not isinstance(name, str):
                continue
            if name in of[:index]:
                self.say(path, f"{name!r} is in the order twice")
            known = self.known_step(path, name, self.ids)
            if known is None:
                continue
            if before is not None and not known.background and int(known.path[1]) < int(before[1].path[1]):
                text = f"{name!r} has ended before {before[0]!r} begins: this order is impossible"
                self.say(path, text)
            before = (name, known)

    # --- names --------------------------------------------------------------------------------------------

    def known_step(
        self, path: Path, name: str, known: dict[str, _Known], what: str = "step"
    ) -> _Known | None:
        if name in known:
            return known[name]
        has = f"allowed: {self.few(known)}" if known else "there is none"
        self.say(path, f"no {what} has the id {name!r}; {has}{self.hint(name, known)}")
        return None

    def is_host(self, name: str) -> bool:
        return self.hosts is None or name in self.hosts

    def the_hosts(self, item: Item, keys: tuple[str, ...]) -> str | None:
        """Judge all hosts that an item names; gives the one of `at`, as it was probably meant."""
        for key in keys:
            value = item.get(key)
            path = item.at(key)
            for index, one in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(one, str):
                    where = (*path, index) if isinstance(value, list) else path
                    self.host(one, where, literal=item.cls in (Connect, Sendto) and key == "to")
        at = item.text("at")
        if at is None or self.hosts is None or at in self.hosts:
            return at
        return nearest(at, self.hosts) or at

    def host(self, text: str | None, path: Path, *, literal: bool = False) -> None:
        name = _host_of(text)
        if self.hosts is None or name is None or name in self.hosts or (literal and Address(name).literal):
            return
        if not is_host_name(name):
            return  # not even a name: that is reported for its value
        self.say(path, f"no host {shown(name)}; allowed: {few(self.hosts)}{self.hint(name, self.hosts)}")


def few(names: Iterable[str]) -> str:
    """Names for an error text, not too many."""
    listed = list(names)
    return ", ".join(listed if len(listed) <= 12 else [*listed[:10], "…", listed[-1]])


def _host_of(text: str | None) -> str | None:
    match = _HOST.match(text) if text is not None else None
    return match[1] if match is not None else None


def items(raw: Any, path: Path, table: Any, key: str) -> Iterator[Item]:
    for index, keys in enumerate(raw if isinstance(raw, list) else ()):
        if isinstance(keys, dict):
            name = keys.get(key)
            meant = name if isinstance(name, str) and name in table else nearest(name, table)
            cls = table[meant] if meant is not None else None
            yield Item((*path, index), keys, cls)


def _expect_keys(cls: type[Step]) -> tuple[str, ...]:
    """The keys that a step's `expect` may have."""
    annotation = cls.model_fields["expect"].annotation
    for arg in get_args(annotation):
        if isinstance(arg, type) and issubclass(arg, Model):
            return arg.yaml_keys()
    return ()
