"""The subnet of a run: free, in the pool, and the next one where another run was faster."""

from __future__ import annotations

import random
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab.engine.base import NetworkSpec, NetworkState
from lab.engine.subnets import create_in_free_subnet, free_subnets, machine_routes
from lab.errors import LabEnvironmentError, SubnetTaken
from tests.fake_engine import FakeEngine

POOL = IPv4Network("198.18.0.0/22")
ALL = list(POOL.subnets(new_prefix=24))


def network(*subnets: str) -> NetworkState:
    return NetworkState("id", "name", {}, [IPv4Network(subnet) for subnet in subnets])


def test_all_free_subnets_from_a_random_one_on() -> None:
    begins = {next(free_subnets(POOL, [], [], choose=random.Random(seed))) for seed in range(40)}
    assert begins == set(ALL)
    assert sorted(free_subnets(POOL, [], [])) == ALL


def test_networks_and_routes_are_skipped() -> None:
    used = [network("198.18.1.128/25"), network("10.0.0.0/8", "198.18.3.0/24"), network()]
    assert sorted(free_subnets(POOL, used, [IPv4Network("198.18.0.7/32")])) == [ALL[2]]
    assert list(free_subnets(POOL, [network("198.18.0.0/15")], [])) == []


def test_the_routes_of_this_machine(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "tun0\t00000080\t0100000A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n"
        "br-1\t000212C6\t00000000\t0001\t0\t0\t0\t00FEFFFF\t0\t0\t0\n"
        "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n"
    )
    assert machine_routes(table) == [IPv4Network("198.18.2.0/23"), IPv4Network("10.0.0.0/8")]
    assert machine_routes(tmp_path / "nothing") == []


def test_the_next_subnet_where_another_run_was_faster() -> None:
    class Raced(FakeEngine):
        lost = 2

        def create_network(self, spec: NetworkSpec) -> str:
            if self.lost:
                self.lost -= 1
                raise SubnetTaken(f"{spec.subnet} is taken")
            return super().create_network(spec)

    engine = Raced()
    identity, subnet = create_in_free_subnet(engine, POOL, lambda free: NetworkSpec("n", free, {}), [])
    assert [(n.id, list(n.subnets)) for n in engine.networks()] == [(identity, [subnet])]
    assert subnet in ALL


def test_a_pool_that_is_used_up_says_so() -> None:
    engine = FakeEngine()
    for number, subnet in enumerate(ALL):
        engine.create_network(NetworkSpec(f"n{number}", subnet, {}))
    with pytest.raises(LabEnvironmentError, match=r"no /24 of the pool 198\.18\.0\.0/22 is free") as caught:
        create_in_free_subnet(engine, POOL, lambda free: NetworkSpec("more", free, {}), [])
    assert "lab clean" in caught.value.hint


def test_a_race_that_is_always_lost_ends() -> None:
    class Always(FakeEngine):
        def create_network(self, spec: NetworkSpec) -> str:
            raise SubnetTaken(f"{spec.subnet} is taken")

    with pytest.raises(SubnetTaken):
        create_in_free_subnet(Always(), POOL, lambda free: NetworkSpec("n", free, {}), [])
