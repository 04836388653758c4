"""Places spans of time greedily into as few lanes as possible."""

from __future__ import annotations

from collections.abc import Sequence


def spread(spans: Sequence[tuple[int, int]]) -> list[int]:
    """The lane of each span, in the order given: the first lane in which it overlaps no earlier span.

    Spans that only touch do not overlap.
    """
    lanes: list[list[tuple[int, int]]] = []
    placed = []
    for start, end in spans:
        for number, lane in enumerate(lanes):
            if all(end <= other_start or start >= other_end for other_start, other_end in lane):
                lane.append((start, end))
                placed.append(number)
                break
        else:
            lanes.append([(start, end)])
            placed.append(len(lanes) - 1)
    return placed
