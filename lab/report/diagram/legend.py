"""Samples for a legend: only what a diagram actually shows."""

from __future__ import annotations

from collections.abc import Iterator

from lab.report.diagram import svg
from lab.report.diagram.model import Diagram

_LINE = '<line x1="2" y1="7" x2="34" y2="7" class="ln"/><path class="hd" d="M42 7l-9 -3.6v7.2Z"/>'


def samples(diagram: Diagram) -> Iterator[tuple[str, str]]:
    """Each sample as inner SVG of 44 × 14 px, with its meaning."""
    kinds = {p.kind for p in diagram.packets} | {b.kind for b in diagram.bundles}
    fates = {p.fate for p in diagram.packets}
    for kind, text in (
        ("syn", "SYN"),
        ("data", "data"),
        ("ack", "only an acknowledgement"),
        ("fin", "FIN"),
        ("rst", "RST"),
        ("udp", "UDP"),
        ("icmp", "ICMP"),
        ("arp", "ARP"),
    ):
        if kind in kinds:
            yield f'<g class="p k-{kind}">{_LINE}</g>', text
    if "lost" in fates:
        yield (
            '<g class="p lost"><line x1="2" y1="7" x2="32" y2="7" class="ln"/>'
            '<path class="x" d="M28 2l10 10m0 -10l-10 10"/></g>',
            "lost at the wire",
        )
    if any(p.discarded for p in diagram.packets):
        yield (
            '<g class="p thrown"><line x1="2" y1="7" x2="32" y2="7" class="ln"/>'
            '<path class="x" d="M27 2l10 10m0 -10l-10 10"/></g>'
            '<line x1="40" y1="0" x2="40" y2="14" class="edge"/>',
            "arrived, and thrown away by the host",
        )
    if "in flight" in fates:
        yield (
            '<g class="p flight"><line x1="2" y1="7" x2="34" y2="7" class="ln"/></g>',
            "still in flight at the end",
        )
    if any(p.retransmits is not None for p in diagram.packets):
        yield (
            '<path class="join" d="M8 1C2 4 2 10 8 13"/><circle class="join-end" cx="8" cy="12" r="2.4"/>'
            f'<g class="p again" transform="translate(8 0) scale(.82 1)">{_LINE}</g>',
            "sent again, joined to what it repeats",
        )
    if diagram.bundles:
        yield (
            '<g class="p k-data"><polygon class="bundle" points="2,2 40,5 40,13 2,10"/></g>',
            "many packets drawn as one",
        )
    if any(p.decisive for p in diagram.packets):
        yield (
            f'<line x1="4" y1="7" x2="40" y2="7" class="hot"/><g class="p">{_LINE}</g>',
            "decided a failed check",
        )
    if diagram.calls:
        yield _call("ok"), "a call, entry to return"
    if any(c.is_error for c in diagram.calls):
        yield _call("error"), "a call that returned an error"
    if any(c.failed for c in diagram.calls):
        yield _call("failed"), "a call that FAILED"
    if diagram.moments:
        yield (
            '<g class="m"><path class="mark" d="M22 1.5l5.5 5.5l-5.5 5.5l-5.5 -5.5Z"/></g>',
            "a service, a line of its log, a signal",
        )
    for flow in diagram.flows:
        if flow.tag:
            yield f'<g class="p">{svg.tag(22, 7, flow.tag)}</g>', f"{flow.name} ({flow.protocol})"
    if diagram.bands:
        yield '<line class="band-line" x1="2" y1="7" x2="42" y2="7"/>', "the wire was changed"


def _call(outcome: str) -> str:
    return f'<g class="c-{outcome}"><rect class="call" x="16" y="1" width="9" height="12" rx="2.5"/></g>'
