"""A lab shared by the tests of a module; see docs/how-to/share-a-lab.md."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import lab
from lab.testing.labs import Labs


@pytest.fixture(scope="module")
def shared(lab_session: Labs) -> Iterator[lab.Lab]:
    with lab_session.up("compose/pair.yml") as net:
        yield net
