"""Files to cases: sweeps, folders, selection, hosts, places, and problems all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.errors import UsageError
from lab.link import Impairment, Link, one_way_delay, round_trip
from lab.place import Place
from lab.scenario import support
from lab.scenario.load import RUN_LOG, Case, find, load, load_all, select
from lab.scenario.problems import Problem, ScenarioError
from lab.scenario.steps import STEPS, Parallel
from lab.units import Duration, Percent

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "s.yml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def one(path: Path, **params: str) -> Case:
    (case,) = load(path, params=params)
    return case


def problems(path: Path, params: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        load(path, params=params)
    return [str(problem).split(":", 1)[1] for problem in caught.value.problems]


SWEEP = """
lab: 1
name: swept
tags: [a, b]
params: {delay: [5ms, 100ms], loss: [1%]}
hosts: {client: {link: {delay: "${delay}", loss: "${loss}"}}}
steps:
  - {do: run, at: client, command: [echo, "${delay} and $${delay}"]}
"""


def test_defaults(write: Write) -> None:
    case = one(write("lab: 1\n", "plain-name.yml"))
    scenario = case.scenario
    assert (case.name, scenario.name, scenario.timeout, scenario.tags) == (
        "plain-name",
        "plain-name",
        None,
        (),
    )
    assert list(scenario.hosts) == ["client", "server"]
    assert scenario.hosts["client"].link == Link()
    assert (scenario.used_hosts, scenario.arp, scenario.alone) == ((), "static", False)


def test_every_combination_is_a_case(write: Write) -> None:
    cases = load(write(SWEEP))
    assert [case.name for case in cases] == ["swept[delay=5ms,loss=1%]", "swept[delay=100ms,loss=1%]"]
    assert [case.params["delay"] for case in cases] == ["5ms", "100ms"]
    up = cases[1].scenario.hosts["client"].link.up
    assert up == Impairment(delay=Duration.parse("100ms"), loss=Percent.parse("1%"))
    run = cases[0].scenario.steps[0]
    assert getattr(run, "command", None) == ["echo", "5ms and ${delay}"]


def test_a_parameter_is_restricted_from_outside(write: Write) -> None:
    path = write(SWEEP)
    assert [case.name for case in load(path, params={"delay": "100ms"})] == ["swept[delay=100ms,loss=1%]"]
    assert one(path, delay="7ms").scenario.hosts["client"].link.up.delay == Duration.parse("7ms")
    assert problems(path, {"delay": "7"})[0].startswith("6:32: hosts.client.link.delay: 7 has no unit")
    with pytest.raises(
        UsageError, match=r"--param dely: no such parameter; the parameters are delay, loss.*'delay'"
    ):
        load(path, params={"dely": "5ms"})
    with pytest.raises(UsageError, match="no file has parameters"):
        load(write("lab: 1\n"), params={"delay": "5ms"})


@pytest.mark.parametrize(
    ("value", "given", "found"),
    [
        ("5", "7", 7),
        ("5", "'7'", "7"),
        ("x", "{hex: '00'}", {"hex": "00"}),
        ("x", "off", "off"),
        ("x", "012", "012"),
    ],
)
def test_a_parameter_from_outside_is_yaml(write: Write, value: str, given: str, found: Any) -> None:
    path = write(f"lab: 1\nparams: {{p: {value}}}\n")
    assert one(path, p=given).params == {"p": found}


def test_a_parameter_alone_keeps_its_type(write: Write) -> None:
    text = """
lab: 1
params: {port: 8001, data: [{hex: "00ff"}], on: [true]}
alone: "${on}"
steps:
  - {do: listen, at: server, port: "${port}", as: l}
  - {do: connect, at: client, to: "server:${port}", as: c}
  - {do: sendall, at: client, on: c, data: "${data}"}
"""
    case = one(write(text))
    assert case.name == "s[port=8001,data={hex: 00ff},on=true]"
    assert case.scenario.alone
    send = case.scenario.steps[2]
    assert getattr(send, "data").bytes() == b"\x00\xff"  # noqa: B009 (the class of the step is its `do`)


def test_a_problem_of_many_cases_is_said_once(write: Write) -> None:
    text = "lab: 1\nparams: {a: [1, 2, 3]}\nhosts:\n  client: {link: {delay: '${a}', loss: 5}}\n"
    found = problems(write(text))
    assert len(found) == 2
    assert found[0].startswith("4:26: hosts.client.link.delay: 1 has no unit")
    assert found[0].endswith("(with a=1)")
    assert "with" not in found[1]


def test_links(write: Write) -> None:
    text = """
lab: 1
hosts:
  client: {link: {delay: 5ms}}
  server: {link: {up: {delay: 20ms}, down: {rate: 1mbit}}}
steps: [{do: connect, at: client, to: "server:1", expect: {elapsed: 1rtt, error: ECONNREFUSED}}]
"""
    scenario = one(write(text)).scenario
    assert scenario.used_hosts == ("client", "server")
    client, server = scenario.hosts["client"].link, scenario.hosts["server"].link
    assert round_trip(client, server) == Duration.parse("30ms")
    assert one_way_delay(client, server) == Duration.parse("5ms")


def test_only_hosts_that_are_named_take_part(write: Write) -> None:
    text = """
lab: 1
hosts: {third: {}, fourth: {}, fifth: {}}
steps:
  - do: parallel
    steps: [{do: partition, between: [fifth, server]}]
checks: [{check: packets, from: "third:5", match: syn, count: 0}]
"""
    assert one(write(text)).scenario.used_hosts == ("server", "third", "fifth")


def test_a_topology_names_the_hosts(write: Write) -> None:
    write(
        "services: {a: {x-lab: {link: {delay: 3ms, loss: 1%}}}, b: {sysctls: {net.x.y: 5}}}",
        "compose/two.yml",
    )
    text = """
lab: 1
topology: compose/two.yml
hosts: {b: {sysctls: {net.x.z: 6}}, c: {}}
steps: [{do: power, at: b, state: off}]
"""
    scenario = one(write(text, "s.yml")).scenario
    assert list(scenario.hosts) == ["a", "b", "c"]
    assert scenario.hosts["a"].link.down.delay == Duration.parse("3ms")
    assert scenario.hosts["b"].sysctls == {"net.x.y": "5", "net.x.z": "6"}
    assert scenario.topology is not None
    assert scenario.topology.hosts == ("a", "b")


def test_a_link_of_the_scenario_adds_to_that_of_the_topology(write: Write) -> None:
    write("services: {a: {x-lab: {link: {up: {delay: 10ms, loss: 1%}, down: {delay: 20ms}}}}}", "one.yml")
    text = """
lab: 1
topology: one.yml
hosts: {a: {link: {up: {delay: 40ms}}}}
steps: [{do: power, at: a, state: off}]
"""
    link = one(write(text, "s.yml")).scenario.hosts["a"].link
    assert link.up.delay == Duration.parse("40ms")
    assert link.up.loss is not None
    assert link.up.loss.percent == 1
    assert link.down.delay == Duration.parse("20ms")


def test_the_own_pair_is_not_there_beside_a_topology(write: Write) -> None:
    write("services: {a: {}}", "two.yml")
    found = problems(write("lab: 1\ntopology: two.yml\nsteps: [{do: cut, host: client}]\n"))
    assert found == ["3:25: steps[0].host: no host 'client'; allowed: a"]


def test_places(write: Write) -> None:
    text = """lab: 1
steps:
  - {do: sleep, for: 1s}
  - do: parallel
    steps:
      - {do: cut, host: client, id: cutting}
checks:
  - {check: counter, at: client, name: TcpOutRsts, delta: 0}
"""
    path = write(text)
    case = one(path)
    sleep, parallel = case.scenario.steps
    assert isinstance(parallel, Parallel)
    assert (sleep.id, sleep.place) == ("steps[0]", Place(str(path), 3, 5))
    assert (parallel.steps[0].id, parallel.steps[0].path) == ("cutting", "steps[1].steps[0]")
    assert parallel.steps[0].place.line == 6
    assert case.scenario.checks[0].id == "checks[0]"
    assert case.scenario.checks[0].place.line == 8
    assert (case.place("checks[0].delta").line, case.place("checks[0].delta").column) == (8, 59)
    assert case.place("checks[0].nothing").line == 8
    assert case.source_text == text


def test_folders(write: Write, tmp_path: Path) -> None:
    write("lab: 1\n", "b.yml")
    write("lab: 1\n", "a/z.yaml")
    write("lab: 1\n", "a/.hidden.yml")
    write("lab: 1\n", ".git/x.yml")
    write("services: {a: {}}\n", "a/compose.yml")
    write("hello", "a/readme.txt")
    assert [path.name for path in find([tmp_path])] == ["z.yaml", "b.yml"]
    run = tmp_path / "runs" / "20261122T153713Z-b-21ddd291"
    (run / "logs").mkdir(parents=True)
    (run / "scenario.yml").write_text("lab: 1\n")
    assert len(find([tmp_path])) == 3
    (run / RUN_LOG).write_text("")  # now it is a stored run
    assert [path.name for path in find([tmp_path])] == ["z.yaml", "b.yml"]
    assert [path.name for path in find([run / "scenario.yml"])] == ["scenario.yml"]  # asked for by name
    assert [case.name for case in load_all([tmp_path / "b.yml", tmp_path])] == ["b", "z"]


def test_nothing_to_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no scenario in"):
        load_all([tmp_path])
    with pytest.raises(ScenarioError, match=r"none\.yml: no such file"):
        load_all([tmp_path / "none.yml"])


def test_the_problems_of_all_files(write: Write, tmp_path: Path) -> None:
    write("lab: 2\n", "a.yml")
    write("lab: 1\nx: 1\n", "b.yml")
    write("lab: 1\n", "c.yml")
    with pytest.raises(ScenarioError) as caught:
        load_all([tmp_path])
    assert [Path(problem.place.file).name for problem in caught.value.problems] == ["a.yml", "b.yml"]


def test_a_parameter_of_one_of_the_files(write: Write, tmp_path: Path) -> None:
    write(SWEEP, "a.yml")
    write("lab: 1\n", "b.yml")
    assert len(load_all([tmp_path], params={"delay": "5ms"})) == 2
    with pytest.raises(UsageError, match="no such parameter"):
        load_all([tmp_path], params={"x": "5"})


def test_selection(write: Write) -> None:
    cases = load(write(SWEEP))
    assert len(select(cases)) == 2
    assert [case.name for case in select(cases, "DELAY=5")] == ["swept[delay=5ms,loss=1%]"]
    assert len(select(cases, tags=["c", "b"])) == 2
    assert select(cases, tags=["c"]) == []
    assert select(cases, "swept", ["c"]) == []


def test_one_problem_is_one_line() -> None:
    problem = Problem(Place("f", 1, 2), "steps[0].a\nb", "what\u2028ever\x1b[0m é")
    assert str(problem) == "f:1:2: steps[0].a\\nb: what\\u2028ever\\x1b[0m é"


def test_what_is_not_supported_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken out of the table, it loads: models, names and schema know it already."""
    path = Path(__file__).parents[1] / "golden" / "bad" / "unsupported.yml"
    monkeypatch.setattr(support, "NOT_YET", frozenset[str]())
    case = load(path)[0]
    assert case.scenario.hosts["web"].services["one"].trace
    assert case.scenario.requires == ("ipv6", "swarm")


def test_what_is_of_programs_loads() -> None:
    path = Path(__file__).parents[1] / "golden" / "good" / "programs.yml"
    first, second = load(path)
    assert (first.name, second.name) == ("programs[loss=0%,most=0]", "programs[loss=20%,most=2]")
    assert list(first.scenario.hosts["server"].services) == ["server"]
    assert list(first.scenario.hosts["web"].services) == ["one", "two"]


def test_the_golden_file_has_everything() -> None:
    folder = Path(__file__).parents[1] / "golden"
    text = "".join((folder / "good" / name).read_text() for name in ("everything.yml", "programs.yml"))
    missing = [do for do in STEPS if f"do: {do}" not in text]
    assert not missing


def test_a_name_once_misspelt_is_said_once(write: Write) -> None:
    text = """lab: 1
steps:
  - {do: listen, at: servre, port: 1, as: srv}
  - {do: acept, at: server, on: srv, as: s}
  - {do: recv, at: server, on: s, szie: 5}
"""
    assert [line.split(": ")[1] for line in problems(write(text))] == [
        "steps[0].at",
        "steps[1].do",
        "steps[2].szie",
    ]
