"""The only place with tc's words: turns an Impairment into tc's text and compares tc's JSON with it.

Each direction of a host's link is a device of its own (an ifb, `up10` and `down10` for the host whose
address ends in .10) with one netem as its root. netem refuses `duplicate` next to another netem in one tree,
so no tree here ever has two. With `burst`, a tbf below the netem shapes the rate instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct

from lab.attachment import Address
from lab.errors import WireError
from lab.evidence.model import Json
from lab.link import CERTAIN, FULL, HEADER, Direction, Impairment, Link, burst_ns, on, problems
from lab.units import Duration, Percent

#: Packets a queue holds unless the scenario says otherwise: netem's own 1,000 overflow at speed, and one TCP
#: window of 32 MB (tcp_rmem's largest today) is 22,000 packets.
DEFAULT_LIMIT = 50_000

NETEM_HANDLE = "1:"
TBF_HANDLE = "10:"

#: Priorities of the filters on the wire's interface: the smallest is tried first.
PRIO_REDIRECTS = 1
PRIO_CUT = 10
PRIO_PARTITION = 5_000
PRIO_MARK = 10_000
PRIO_LINK = 20_000
PRIO_REST = 30_000

#: One filter each; a range that is used up gives no more.
END_OF_RANGE = {PRIO_CUT: PRIO_PARTITION, PRIO_PARTITION: PRIO_MARK}

#: Indexes of the drop actions that count; the kernel numbers those of other filters from 1 on.
FIRST_COUNTER = 1_000

#: tc prints JSON numbers with six significant digits.
_PRINTED = 6e-6
#: tc prints netem's ticks of 64 ns as whole microseconds, truncated.
_TIME = 1.1e-6
_PROBABILITY = 1 / CERTAIN


class Port(Struct, frozen=True):
    """One direction of one host's link."""

    host: str
    address: Address
    direction: Direction
    device: str

    @property
    def hook(self) -> str:
        """The hook that catches its packets: on their way into the router, or out of it."""
        return "ingress" if self.direction == "up" else "egress"

    @property
    def match(self) -> str:
        side = "src" if self.direction == "up" else "dst"
        return f"match ip {side} {self.address}/32"

    def __str__(self) -> str:
        return f"link of {self.host}, {self.direction}"


def _percent(value: Percent | None) -> str:
    return str(value) if value is not None else "0%"


def _duration(value: Duration | None) -> str:
    """A duration in whole microseconds: before 6.7, tc accepts no finer time for netem."""
    return f"{value.ns // 1_000 if value is not None else 0}us"


def netem(asked: Impairment) -> str:
    """All of netem's options. Each is given every time: netem keeps what a `change` leaves out."""
    words = [f"limit {asked.limit or DEFAULT_LIMIT}"]
    # tc shows no jitter if the delay is 0, so nothing could be read back.
    delay = "1us" if on(asked.jitter) and not on(asked.delay) else _duration(asked.delay)
    words.append(f"delay {delay} {_duration(asked.jitter)} {_percent(asked.correlation)}")
    if asked.distribution is not None and on(asked.jitter):
        words.append(f"distribution {asked.distribution}")
    if asked.gemodel is not None:
        model = asked.gemodel
        words.append(f"loss gemodel {model.p} {model.r} {model.one_minus_h} {model.one_minus_k}")
    else:
        words.append(f"loss random {_percent(asked.loss)} {_percent(asked.loss_correlation)}")
    words.append(f"duplicate {_percent(asked.duplicate)}")
    words.append(f"corrupt {_percent(asked.corrupt)}")
    if on(asked.reorder):
        words.append(f"reorder {_percent(asked.reorder)} {_percent(asked.reorder_correlation)}")
        if asked.gap is not None:
            words.append(f"gap {asked.gap}")
    rate = asked.rate.bits_per_second if asked.rate is not None and asked.burst is None else 0
    words.append(f"rate {rate}bit")
    return " ".join(words)


def tbf(asked: Impairment) -> str:
    """tbf's options, for a link with `burst`. Its own queue is never shorter than netem's `limit`."""
    assert asked.rate is not None
    limit = min((asked.limit or DEFAULT_LIMIT) * (FULL + HEADER), 2**31)
    return f"rate {asked.rate.bits_per_second}bit burst {_burst(asked) + 1}b limit {limit}b"


def _burst(asked: Impairment) -> int:
    """Bytes of the burst, rounded up to the next tick of tc's clock at the rate.

    tc truncates the time of a burst to ticks, so one byte more is requested: at 100mbit 1,514 bytes would
    become 1,513, and no full packet would ever pass.
    """
    assert asked.rate is not None
    assert asked.burst is not None
    whole = -(-burst_ns(asked.burst, asked.rate) * asked.rate.bits_per_second // 8_000_000_000)
    return max(whole, asked.burst.bytes)


def link_lines(port: Port, asked: Impairment, *, before: Impairment | None = None) -> list[str]:
    """Lines that create one direction of a link or, given its present state `before`, change it in place.

    `change` and `replace` of the same kind keep what is queued; deleting a root drops it. Only a burst that
    is taken away loses the few packets that wait for its rate.
    """
    verb = "add" if before is None else "change"
    if wrong := problems(asked):
        raise WireError(f"{port}: {'; '.join(wrong)}")
    lines = [f"qdisc {verb} dev {port.device} root handle {NETEM_HANDLE} netem {netem(asked)}"]
    if asked.burst is not None:
        lines.append(
            f"qdisc replace dev {port.device} parent {NETEM_HANDLE}1 handle {TBF_HANDLE} tbf {tbf(asked)}"
        )
    elif before is not None and before.burst is not None:
        lines.append(f"qdisc del dev {port.device} parent {NETEM_HANDLE}1 handle {TBF_HANDLE}")
    return lines


def impairing(qdiscs: Sequence[Mapping[str, Json]]) -> list[str]:
    """Qdiscs that impair, in a wire that should impair nothing; empty if all is well."""
    found = [(entry.get("kind"), entry.get("dev")) for entry in qdiscs]
    return [f"asked no {kind}, got one on {device}" for kind, device in found if kind in ("netem", "tbf")]


def interface_lines(device: str) -> list[str]:
    """The hooks of the wire's interface, and filters for what never passes it.

    ICMP redirects: the sysctl that stops them is read-only in a container. Packets to no host of the lab: the
    wire forwards only between hosts. IPv6: nothing here routes it, and it would count as dropped by the
    interface.
    """
    return [
        f"qdisc add dev {device} root handle {NETEM_HANDLE} pfifo limit {DEFAULT_LIMIT}",
        f"qdisc add dev {device} clsact",
        f"filter add dev {device} egress protocol ip prio {PRIO_REDIRECTS} u32"
        " match ip protocol 1 0xff match icmp type 5 0xff action drop",
        f"filter add dev {device} egress protocol ip prio {PRIO_REST} u32 match u32 0 0 action drop",
        f"filter add dev {device} ingress protocol ipv6 prio {PRIO_REST + 1} u32 match u32 0 0 action drop",
    ]


def set_up_lines(device: str, links: Mapping[Port, Link]) -> list[str]:
    """Lines for a new wire: its interface, and each port with the link that it is a side of."""
    lines = interface_lines(device)
    for port, link in links.items():
        lines += [*link_lines(port, link.side(port.direction)), port_filter(device, port)]
    return lines


def port_filter(device: str, port: Port) -> str:
    """A filter that sends the packets of one direction through its device."""
    return (
        f"filter add dev {device} {port.hook} protocol ip prio {PRIO_LINK} u32 {port.match}"
        f" action mirred egress redirect dev {port.device}"
    )


def counter_line(index: int) -> str:
    """A drop that counts, and still exists when no filter uses it any more."""
    return f"actions add action drop index {index}"


def drop_filter(device: str, hook: str, prio: int, match: str, index: int) -> str:
    return f"filter add dev {device} {hook} protocol ip prio {prio} u32 {match} action gact index {index}"


def delete_filter(device: str, hook: str, prio: int) -> str:
    return f"filter del dev {device} {hook} protocol ip prio {prio}"


def between(source: Address, target: Address) -> str:
    return f"match ip src {source}/32 match ip dst {target}/32"


def mark_filter(device: str, source: Address, target: Address, mark: int) -> str:
    """A filter that marks packets from now on, so that a drop rule spares those already under way.

    Marks grow. Each has a filter of its own, tried after those of earlier marks, so the largest wins.
    """
    return (
        f"filter add dev {device} ingress protocol ip prio {PRIO_MARK + mark} u32"
        f" {between(source, target)} action skbedit mark {mark} continue"
    )


# What tc says back ------------------------------------------------------------------------------------------


def qdisc(qdiscs: Sequence[Mapping[str, Json]], device: str, kind: str) -> Mapping[str, Json] | None:
    """The qdisc of this kind on this device, or None."""
    for found in qdiscs:
        if found.get("dev") == device and found.get("kind") == kind:
            return found
    return None


def differences(port: Port, asked: Impairment, qdiscs: Sequence[Mapping[str, Json]]) -> list[str]:
    """Differences between the kernel's account of a link and what was asked: `what: asked …, got …`.

    To the precision of tc and netem: microseconds, probabilities as shares of 2^32, rates in whole bytes per
    second; tc prints six digits. The table of a distribution is not compared: the kernel does not return it.
    """
    root = qdisc(qdiscs, port.device, "netem")
    if root is None or not root.get("root"):
        return [f"netem: asked on {port.device}, got none"]
    found = _Options(root.get("options") or {})
    wrong = _Comparison()
    wrong.number("limit", asked.limit or DEFAULT_LIMIT, found.number("limit"))
    delay, jitter = _seconds(asked.delay), _seconds(asked.jitter)
    wrong.number("delay", delay, found.number("delay", "delay"), "s", _TIME)
    wrong.number("jitter", jitter, found.number("delay", "jitter"), "s", _TIME)
    if jitter:
        wrong.share("correlation", asked.correlation, found.number("delay", "correlation"))
    _compare_loss(wrong, asked, found)
    wrong.share("duplicate", asked.duplicate, found.number("duplicate", "duplicate"))
    wrong.share("corrupt", asked.corrupt, found.number("corrupt", "corrupt"))
    reordering = bool(found.number("gap"))  # without a gap netem keeps the numbers but does nothing
    wrong.share("reorder", asked.reorder, found.number("reorder", "reorder") if reordering else 0.0)
    if on(asked.reorder):
        wrong.share("reorder_correlation", asked.reorder_correlation, found.number("reorder", "correlation"))
        wrong.number("gap", asked.gap or 1, found.number("gap"))
    rate = asked.rate.bits_per_second // 8 if asked.rate is not None else 0
    wrong.number("rate", 0 if asked.burst is not None else rate, found.number("rate", "rate"), " B/s")
    shaper = qdisc(qdiscs, port.device, "tbf")
    if asked.burst is not None:
        options = _Options((shaper or {}).get("options") or {})
        wrong.number("rate", rate, options.number("rate"), " B/s")
        # The kernel keeps it in ticks; tc shows whole microseconds, truncated.
        wrong.number("burst", _burst(asked), options.number("burst"), "B", 1 + rate * _TIME)
    elif shaper is not None:
        wrong.found.append("burst: asked none, got a tbf")
    return wrong.found


def _seconds(value: Duration | None) -> float:
    return value.seconds if value is not None else 0.0


def _compare_loss(wrong: _Comparison, asked: Impairment, found: _Options) -> None:
    if asked.gemodel is not None:
        wrong.share("gemodel.p", asked.gemodel.p, found.number("loss-gemodel", "p"))
        wrong.share("gemodel.r", asked.gemodel.r, found.number("loss-gemodel", "r"))
        wrong.share("gemodel.one_minus_h", asked.gemodel.one_minus_h, found.number("loss-gemodel", "1-h"))
        wrong.share("gemodel.one_minus_k", asked.gemodel.one_minus_k, found.number("loss-gemodel", "1-k"))
        return
    if found.has("loss-gemodel"):
        wrong.found.append("gemodel: asked none, got one")
    wrong.share("loss", asked.loss, found.number("loss-random", "loss"))
    if on(asked.loss):
        wrong.share("loss_correlation", asked.loss_correlation, found.number("loss-random", "correlation"))


class _Options:
    """tc's JSON options of one qdisc; a missing one is 0."""

    def __init__(self, options: Mapping[str, Json]) -> None:
        self._options = options

    def has(self, key: str) -> bool:
        return key in self._options

    def number(self, *path: str) -> float:
        value: Json = self._options
        for key in path:
            value = value.get(key, 0) if isinstance(value, Mapping) else 0
        return float(value) if isinstance(value, int | float) else 0.0


class _Comparison:
    def __init__(self) -> None:
        self.found: list[str] = []

    def number(self, what: str, asked: float, got: float, unit: str = "", step: float = 0.0) -> None:
        """`step` is how far apart the two may be, beyond what tc's printing rounds off."""
        if not math.isclose(got, asked, rel_tol=_PRINTED, abs_tol=step):
            self.found.append(f"{what}: asked {asked:.10g}{unit}, got {got:.10g}{unit}")

    def share(self, what: str, asked: Percent | None, got: float) -> None:
        want = asked.fraction if asked is not None else 0.0
        if not math.isclose(got, want, rel_tol=_PRINTED, abs_tol=_PROBABILITY):
            self.found.append(f"{what}: asked {_percent(asked)}, got {got * 100:.10g}%")


class Queued(Struct, frozen=True):
    """The counters of one qdisc, and what it holds."""

    packets: int
    bytes: int
    dropped: int
    waiting: int  #: packets


def queued(found: Mapping[str, Json]) -> Queued:
    return Queued(
        packets=int(found.get("packets", 0)),
        bytes=int(found.get("bytes", 0)),
        dropped=int(found.get("drops", 0)),
        waiting=int(found.get("qlen", 0)),
    )


def redirected(filters: Sequence[Mapping[str, Json]]) -> dict[str, int]:
    """Packets that found a device's queue full, by device.

    mirred counts as `overlimits` what the queue refused; a packet that netem drops on purpose was accepted.
    """
    full: dict[str, int] = {}
    for action in _actions(filters):
        if action.get("kind") == "mirred" and (device := action.get("to_dev")):
            full[device] = full.get(device, 0) + int((action.get("stats") or {}).get("overlimits", 0))
    return full


def counted(actions: Sequence[Mapping[str, Json]]) -> dict[int, int]:
    """Packets dropped by each drop action, by its index.

    `tc -j actions list` gives [{"total acts": n}, {"actions": […]}].
    """
    return {
        int(action["index"]): int((action.get("stats") or {}).get("drops", 0))
        for entry in actions
        for action in entry.get("actions", [])
        if "index" in action
    }


def filter_indexes(filters: Sequence[Mapping[str, Json]]) -> dict[int, int]:
    """Index of the drop action in use, by its filter's priority."""
    return {
        int(entry["pref"]): int(action["index"])
        for entry in filters
        for action in (entry.get("options") or {}).get("actions", [])
        if action.get("kind") == "gact" and "index" in action
    }


def _actions(filters: Sequence[Mapping[str, Json]]) -> list[Mapping[str, Json]]:
    return [action for entry in filters for action in (entry.get("options") or {}).get("actions", [])]
