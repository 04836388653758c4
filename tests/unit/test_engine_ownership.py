"""What root writes for a caller of sudo is the caller's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.ownership import caller, give_to_caller

SUDO = {"SUDO_UID": "1000", "SUDO_GID": "1001"}


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """As root, with the calls of chown noted in place of made."""
    given: dict[str, tuple[int, int]] = {}

    def chown(path: str | Path, user: int, group: int, *, follow_symlinks: bool = True) -> None:
        assert not follow_symlinks
        given[str(path)] = (user, group)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", chown)
    return given


@pytest.mark.usefixtures("root")
def test_the_caller() -> None:
    assert caller(SUDO) == (1000, 1001)
    assert caller({"SUDO_UID": "1000"}) == (1000, 1000)
    assert caller({}) is None
    assert caller({"SUDO_UID": "0", "SUDO_GID": "0"}) is None
    assert caller({"SUDO_UID": "me"}) is None


def test_without_root_there_is_nothing_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert caller(SUDO) is None


def test_a_whole_folder_is_given_and_links_are_not_followed(
    root: dict[str, tuple[int, int]], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    run = tmp_path / "run"
    (run / "pcap").mkdir(parents=True)
    (run / "pcap" / "client.pcapng").touch()
    (run / "link").symlink_to(outside)
    give_to_caller(run, SUDO)
    assert set(root) == {str(run), str(run / "pcap"), str(run / "pcap" / "client.pcapng"), str(run / "link")}
    assert set(root.values()) == {(1000, 1001)}
    root.clear()
    give_to_caller(tmp_path / "nothing", SUDO)
    give_to_caller(run, {})
    assert root == {}
