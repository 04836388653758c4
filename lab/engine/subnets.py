"""Which subnet of the pool a run takes: one that no Docker network and no route of this machine uses."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from pathlib import Path

from lab.engine.base import Engine, NetworkSpec, NetworkState
from lab.errors import EngineError, LabEnvironmentError, SubnetTaken

ROUTES = Path("/proc/net/route")

#: How many times another run may be faster than this one before it gives up.
_TRIES = 20


def create_in_free_subnet(
    engine: Engine,
    pool: IPv4Network,
    spec: Callable[[IPv4Network], NetworkSpec],
    routes: Iterable[IPv4Network] | None = None,
    *,
    new_prefix: int = 24,
) -> tuple[str, IPv4Network]:
    """A network of `spec(subnet)` in the next free subnet of the pool; its id and its subnet."""
    taken: EngineError | None = None
    free = free_subnets(pool, engine.networks(), routes, new_prefix=new_prefix)
    for subnet in islice(free, _TRIES):
        try:
            return engine.create_network(spec(subnet)), subnet
        except SubnetTaken as error:
            taken = error
    if taken is not None:
        raise taken
    raise LabEnvironmentError(
        f"no /{new_prefix} of the pool {pool} is free: Docker networks or routes of this machine use it",
        hint="`lab clean` removes what dead runs left; another pool can be named in lab.yml",
    )


def free_subnets(
    pool: IPv4Network,
    networks: Iterable[NetworkState],
    routes: Iterable[IPv4Network] | None = None,
    *,
    new_prefix: int = 24,
    choose: random.Random | None = None,
) -> Iterator[IPv4Network]:
    """The free subnets of the pool, all of them, from a random one on.

    Two runs at once rarely begin at the same one; where they do, `create_network` raises `SubnetTaken` in the
    slower, which goes on with the next. `routes` are this machine's (None: read now); a remote engine has
    others, but its own networks are in `networks`.
    """
    used = [subnet for network in networks for subnet in network.subnets]
    used += machine_routes() if routes is None else routes
    used = [subnet for subnet in used if subnet.overlaps(pool)]
    prefix = max(new_prefix, pool.prefixlen)
    many, size = 1 << (prefix - pool.prefixlen), 1 << (pool.max_prefixlen - prefix)
    begin = (choose or random.SystemRandom()).randrange(many)
    for number in range(begin, begin + many):
        subnet = IPv4Network((int(pool.network_address) + number % many * size, prefix))
        if not any(subnet.overlaps(other) for other in used):
            yield subnet


def machine_routes(table: Path = ROUTES) -> list[IPv4Network]:
    """The destinations of this machine's IPv4 routes; none on a system that has no such table.

    Addresses are written there as hexadecimal numbers in the machine's byte order. The default route is left
    out: it covers everything and says nothing. So is a route wider than a /8, like the /1 pair of some VPNs.
    """
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return []
    found = []
    for line in lines:
        fields = line.split()
        if len(fields) < 8:
            continue
        destination, mask = (_address(fields[column]) for column in (1, 7))
        network = IPv4Network((int(destination), bin(int(mask)).count("1")), strict=False)
        if network.prefixlen >= 8:
            found.append(network)
    return found


def _address(text: str) -> IPv4Address:
    return IPv4Address(int.from_bytes(int(text, 16).to_bytes(4, sys.byteorder), "big"))
