"""`policy` of lab.yml: what it takes, and what holds without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.policy import Policy
from lab.site import load_site


def site(folder: Path, text: str) -> Policy:
    path = folder / "lab.yml"
    path.write_text(text)
    return load_site(path).policy


def test_without_one_a_scenario_gets_little(tmp_path: Path) -> None:
    assert site(tmp_path, "") == Policy(build="bridge", environment=(), capabilities=())


def test_what_it_allows(tmp_path: Path) -> None:
    text = "policy: {build: none, environment: [HOME, MY_TOKEN], capabilities: [NET_RAW]}"
    assert site(tmp_path, text) == Policy("none", ("HOME", "MY_TOKEN"), ("NET_RAW",))


@pytest.mark.parametrize(
    ("policy", "key"),
    [
        ("{build: internet}", "policy.build"),
        ("{environment: [A=1]}", "policy.environment.0"),
        ("{environment: HOME}", "policy.environment"),
        ("{capabilities: [SYS_ADMIN]}", "policy.capabilities"),
        ("{privileged: true}", "policy.privileged"),
    ],
)
def test_what_it_cannot_allow(policy: str, key: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=key) as caught:
        site(tmp_path, f"policy: {policy}")
    assert caught.value.exit_code == 2
