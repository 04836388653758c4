"""What the unit tests share: each has a state of the lab of its own, so that none meets another's locks."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests run side by side, and all give their runs the same number."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("LAB_STATE", str(folder))
    return folder
