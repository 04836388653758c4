"""The words for a packet: what a `match` may be, and the names and bits of TCP's flags.

One list for the scenario that asks, the wire that drops and the evidence that is judged.
"""

from __future__ import annotations

from collections.abc import Mapping

#: The words of a `match`; a list of flags is the other form.
MATCHES = ("syn", "syn-ack", "fin", "rst", "data", "ack", "any")

#: By name as a scenario has it, in the order of the header's bits from the lowest.
FLAGS: Mapping[str, int] = {
    name: 1 << bit for bit, name in enumerate(("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"))
}
