"""What the unit tests share: each has a state of the lab of its own, so that none meets another's locks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest


@pytest.fixture(scope="package")
def states(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Path]]:
    """Folders that do not exist yet: the lab makes its own, and most tests never need one."""
    base = tmp_path_factory.mktemp("states")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_STATE", str(base))  # what was there comes back behind the last test
        yield (base / str(number) for number in count())


@pytest.fixture(autouse=True)
def own_state(states: Iterator[Path]) -> Path:
    """Tests run side by side, and all give their runs the same number."""
    folder = next(states)
    os.environ["LAB_STATE"] = str(folder)
    return folder
