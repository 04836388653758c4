"""What a scenario may ask for beside its own network: capabilities by policy, sysctls by their families."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.limits import DEFAULT, Limits
from lab.policy import Policy
from lab.scenario.load import load_all
from lab.scenario.problems import ScenarioError
from lab.session.plan import plan_case
from lab.site import load_site
from lab.units import Size

RUN = """\
lab: 1
params: {n: [1, 2, 3]}
steps:
  - {do: run, at: client, command: [ip, link], capabilities: [NET_RAW, NET_ADMIN, NET_RAW]}
  - do: parallel
    steps:
      - {do: run, at: client, command: [echo, "${n}"]}
      - {do: run, at: server, command: [ping, client], capabilities: [NET_RAW]}
"""
BOTH = Policy(capabilities=("NET_ADMIN", "NET_RAW"))


def scenario(folder: Path, text: str) -> Path:
    (folder / "s.yml").write_text(text)
    return folder / "s.yml"


def test_each_set_of_capabilities_is_planned_once_by_host(tmp_path: Path) -> None:
    cases = load_all([scenario(tmp_path, RUN)], policy=BOTH)
    plan = plan_case(cases[0].scenario, "run", "auto", {})
    planned = {name: [one.capabilities for one in whom] for name, whom in plan.programs.items()}
    assert planned == {"client": [("NET_ADMIN", "NET_RAW"), ()], "server": [("NET_RAW",)]}


@pytest.mark.parametrize(
    ("allowed", "places"),
    [
        ((), [("4:5", "NET_ADMIN"), ("4:5", "NET_RAW"), ("8:9", "NET_RAW")]),
        (("NET_RAW",), [("4:5", "NET_ADMIN")]),
    ],
)
def test_what_the_policy_does_not_name_is_refused_at_its_place_once(
    tmp_path: Path, allowed: tuple[str, ...], places: list[tuple[str, str]]
) -> None:
    file = scenario(tmp_path, RUN)
    with pytest.raises(ScenarioError) as refused:
        load_all([file], policy=Policy(capabilities=allowed))
    there = ", ".join(allowed) or "nothing"
    wanted = f"is not allowed by policy.capabilities in lab.yml; allowed: {there}"
    problems = refused.value.problems
    assert [(f"{p.place.line}:{p.place.column}", p.text) for p in problems] == [
        (place, f"{name} {wanted}") for place, name in places
    ]
    assert problems[0].path == "steps[0].capabilities"


def test_a_capability_that_no_program_can_have(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="'SYS_ADMIN' is not a capability that a program can ask for"):
        load_all([scenario(tmp_path, RUN.replace("[NET_RAW]", "[SYS_ADMIN]"))], policy=BOTH)


SYSCTL = "lab: 1\nhosts: {{client: {{sysctls: {{{}: {}}}}}}}\nsteps: [{{do: socket, at: client, as: c}}]\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.ipv6.conf.all.disable_ipv6", 0),
        ("net.ipv6.conf.eth0.disable_ipv6", 0),
        ("net.ipv6.conf.default.disable_ipv6", "off"),
        ("net.ipv6.conf.all.accept_ra", 2),
        ("net.ipv6.conf.all.forwarding", 1),
        ("net.ipv4.ip_forward", 1),
        ("net.ipv4.ip_forward_use_pmtu", 1),
        ("net.ipv4.ip_nonlocal_bind", 1),
        ("net.ipv4.fib_multipath_hash_policy", 1),
        ("net.ipv4.conf.all.forwarding", 1),
        ("net.ipv4.conf.eth0.arp_ignore", 1),
        ("net.ipv4.conf.all.proxy_arp", 1),
        ("net.ipv4.conf.all.accept_redirects", 1),
        ("net.ipv4.conf.all.accept_source_route", 1),
        ("net.ipv4.conf.all.route_localnet", 1),
        ("net.bridge.bridge-nf-call-iptables", 0),
        ("net.mpls.conf.lo.input", 1),
    ],
)
def test_a_sysctl_that_decides_where_packets_go_is_refused(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(ScenarioError) as refused:
        load_all([scenario(tmp_path, SYSCTL.format(name, value))])
    (problem,) = refused.value.problems
    assert problem.place.line == 2
    assert problem.path.startswith("hosts.client.sysctls")
    assert "is not for a scenario to set" in problem.text
    assert name in problem.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.ipv6.conf.all.disable_ipv6", 1),
        ("net.ipv4.conf.all.rp_filter", 2),
        ("net.ipv4.tcp_syn_retries", 2),
        ("net.ipv4.icmp_ratelimit", 0),
        ("net.ipv4.neigh.default.base_reachable_time_ms", 100),
        ("net.ipv4.ip_local_port_range", '"1024 2048"'),
        ("net.core.somaxconn", 128),
        ("net.unix.max_dgram_qlen", 5),
    ],
)
def test_a_sysctl_that_tunes_is_open(tmp_path: Path, name: str, value: object) -> None:
    load_all([scenario(tmp_path, SYSCTL.format(name, value))])


def site(folder: Path, text: str) -> Path:
    (folder / "lab.yml").write_text(text)
    return folder / "lab.yml"


def test_policy_and_limits_of_a_site(tmp_path: Path) -> None:
    found = load_site(site(tmp_path, "policy: {capabilities: [NET_RAW]}\nlimits: {memory: 1GiB, pids: 9}\n"))
    assert found.policy == Policy(capabilities=("NET_RAW",))
    assert found.limits == Limits(memory=Size(1 << 30), pids=9)
    assert load_site(site(tmp_path, "")).limits == DEFAULT
    assert load_site(site(tmp_path, "")).policy == Policy()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("policy: {capabilities: [SYS_ADMIN]}", r"policy\.capabilities"),
        ("policy: {capabilities: NET_RAW}", r"policy\.capabilities"),
        ("policy: {privileged: true}", r"policy\.privileged"),
        ("limits: {memory: 1MB}", r"limits\.memory.*1MB is too little"),
        ("limits: {pids: 1}", r"limits\.pids.*1 is too little"),
        ("limits: {disk: many}", r"limits\.disk"),
    ],
)
def test_a_policy_that_cannot_be(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_site(site(tmp_path, text))
