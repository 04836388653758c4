"""The fake engine does what every engine must do."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from lab.engine.base import Engine
from tests.engine_compliance import EngineCompliance, shell
from tests.fake_engine import FakeEngine


class TestFakeEngine(EngineCompliance):
    patience = 0.01

    @pytest.fixture
    def engine(self) -> Engine:
        return FakeEngine({"lab-test:1": shell})

    @pytest.fixture
    def image(self) -> str:
        return "lab-test:1"

    @pytest.fixture
    def pool(self) -> IPv4Network:
        return IPv4Network("198.19.0.0/16")
