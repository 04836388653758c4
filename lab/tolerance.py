"""How far a time that is given as one value may be off."""

from __future__ import annotations

from msgspec import Struct


class Tolerance(Struct, frozen=True):
    """Late by max(`late_ns`, `late_share` × expected) + `machine_ns`, early by `early_ns`."""

    late_ns: int = 4_000_000
    late_share: float = 0.125
    early_ns: int = 1_000_000
    machine_ns: int = 0  #: what lab.yml adds for this machine

    def bounds(self, expected_ns: int) -> tuple[int, int]:
        """The earliest and the latest value that counts as `expected_ns`."""
        late = max(self.late_ns, round(self.late_share * expected_ns)) + self.machine_ns
        return max(0, expected_ns - self.early_ns), expected_ns + late
