"""The height of each moment on the vertical axis.

Every moment has one height, the same in all lanes, so both ends of an arrow are at their real times. Between
two moments the height grows with time, with three exceptions: items that would collide are pushed apart (a
lane says how much room it needs since its last item), long gaps grow only slowly, and silences are folded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable
from math import log2
from statistics import median

from msgspec import Struct


class Mark(Struct, frozen=True):
    """Something that happens at `t_ns` and needs `room` above it, measured from the last item of `lane`.

    `keeps` is the room below it: the next item of the lane stays at least that far away.
    """

    t_ns: int
    lane: Hashable
    room: float = 0.0
    keeps: float = 0.0


class Fold(Struct, frozen=True):
    """A silence, drawn short."""

    start_ns: int
    end_ns: int
    y: float  #: of its middle

    @property
    def ns(self) -> int:
        return self.end_ns - self.start_ns


_LINEAR = 96.0
_RISE = 44.0  #: px of the median one-way delay
_ABOVE = 12.0  #: how far a label is above its moment
FOLD_ROOM = 50.0  #: between what is above a fold and the moment below it


class Scale(Struct, frozen=True):
    """How time maps to height."""

    px_per_ns: float
    linear: float = _LINEAR  #: up to this height a gap is drawn to scale
    fold_ns: int = 100_000_000  #: a gap of this length or more that is not drawn to scale is folded
    fold_height: float = 64.0

    def height(self, ns: int) -> float:
        if self.folds(ns):
            return self.fold_height
        height = ns * self.px_per_ns
        return height if height <= self.linear else self.linear + 8 * log2(height / self.linear)

    def folds(self, ns: int) -> bool:
        return ns >= self.fold_ns and ns * self.px_per_ns > self.fold_height


def scale_for(delays_ns: Iterable[int | None]) -> Scale:
    """A scale at which the median one-way delay is `_RISE` high, within limits.

    A gap too long to be drawn to scale is folded: no gap looks shorter than it is without a sign.
    """
    known = [delay for delay in delays_ns if delay is not None and delay > 0]
    typical = max(median(known), 100_000) if known else 1_000_000
    px_per_ns = _RISE / typical
    return Scale(px_per_ns, fold_ns=max(100_000_000, round(_LINEAR / px_per_ns)))


class TimeMap(Struct, frozen=True):
    """Heights of the moments at which something happens, with straight lines between them."""

    times: tuple[int, ...]
    heights: tuple[float, ...]
    folds: tuple[Fold, ...] = ()
    low: float = 0.0  #: down to here, the items at the moments take room

    def y(self, t_ns: int) -> float:
        """The height of any moment; one outside the map is at the nearest end."""
        if not self.times:
            return 0.0
        i = bisect_right(self.times, t_ns)
        if i == 0:
            return self.heights[0]
        if i == len(self.times):
            return self.heights[-1]
        t0, t1 = self.times[i - 1], self.times[i]
        y0, y1 = self.heights[i - 1], self.heights[i]
        return y0 + (y1 - y0) * (t_ns - t0) / (t1 - t0)

    @property
    def bottom(self) -> float:
        return max(self.heights[-1], self.low) if self.heights else 0.0


def build(marks: Iterable[Mark], scale: Scale, *, top: float = 0.0) -> TimeMap:
    """Builds the map in one pass down the marks: its gap and its lanes give each moment its height."""
    times: list[int] = []
    heights: list[float] = []
    folds: list[Fold] = []
    last: dict[Hashable, float] = {}
    ordered = sorted(marks, key=lambda mark: mark.t_ns)
    occupied = top  # drawn down to here
    i = 0
    while i < len(ordered):
        t = ordered[i].t_ns
        here = i
        while i < len(ordered) and ordered[i].t_ns == t:
            i += 1
        together = ordered[here:i]
        if times:
            natural = scale.height(t - times[-1])
            y = heights[-1] + natural
            folded = scale.folds(t - times[-1])
            if folded:  # clear of all labels above it
                y = max(y, occupied + FOLD_ROOM)
        else:
            y = top
            folded = False
        needed = [last[mark.lane] + mark.room for mark in together if mark.lane in last]
        y = max([y, *needed])
        for mark in together:
            last[mark.lane] = max(last.get(mark.lane, y), y + mark.keeps)
        if folded:
            folds.append(Fold(times[-1], t, (max(occupied, heights[-1]) + y - _ABOVE) / 2))
        occupied = max([occupied, y, *(y + mark.keeps for mark in together)])
        times.append(t)
        heights.append(y)
    return TimeMap(tuple(times), tuple(heights), tuple(folds), occupied)
