"""Tests that share one lab: each uses its own port, because a test finds what the ones before it left."""

from __future__ import annotations

import lab


def test_the_hosts_know_each_other(shared: lab.Lab) -> None:
    assert shared["client"].run(["ping", "-c", "1", "server"], timeout="5s").exit == 0


def test_what_listens_is_seen(shared: lab.Lab) -> None:
    shared["server"].listen(8002)
    assert shared["server"].testinfra.socket("tcp://0.0.0.0:8002").is_listening
    assert not shared["client"].testinfra.socket("tcp://0.0.0.0:8002").is_listening
