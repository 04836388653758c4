"""Tests of processes have a state of the lab of their own too."""

from __future__ import annotations

from tests.unit.conftest import own_state, states

__all__ = ["own_state", "states"]
