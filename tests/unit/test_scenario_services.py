"""Programs in a scenario: what it says over its topology, who waits for whom, what steps mean, cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.policy import Policy
from lab.scenario import support
from lab.scenario.load import load
from lab.scenario.model import Scenario
from lab.scenario.problems import ScenarioError
from lab.scenario.same import same_but_expectations
from lab.scenario.services import Dependency, HostFile, ServiceSpec
from lab.scenario.values import TextMatch
from lab.units import Duration

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "NOT_YET", frozenset[str]())


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(text: str, name: str = "s.yml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return put


def scenario(path: Path, policy: Policy | None = None) -> Scenario:
    return load(path, policy=policy)[0].scenario


def service(path: Path, host: str = "a", name: str | None = None) -> ServiceSpec:
    return scenario(path).hosts[host].services[name or host]


TOPOLOGY = """
services:
  a:
    build: {context: ., args: {X: 1, Y: 1}, dockerfile_inline: FROM x}
    command: [one]
    environment: [A=1, B=1]
    volumes: ["v:/v", "w:/w"]
    ulimits: {nofile: 10, nproc: 5}
    stop_grace_period: 3s
volumes: {v: {}, w: {}}
"""


def over(write: Write, keys: str) -> ServiceSpec:
    write(TOPOLOGY, "compose.yml")
    return service(write(f"lab: 1\ntopology: compose.yml\nhosts: {{a: {{service: {{{keys}}}}}}}\n"))


def test_keys_are_merged_over_those_of_the_topology(write: Write) -> None:
    found = over(
        write,
        "environment: {B: 2, C: 3}, volumes: ['z:/w'], ulimits: {nproc: 7}, build: {args: {Y: 2}}, "
        "ready: {listening: 80}",
    )
    assert found.environment == {"A": "1", "B": "2", "C": "3"}
    assert [(mount.source, mount.target) for mount in found.mounts] == [("v", "/v"), ("z", "/w")]
    assert {name: limit.soft for name, limit in found.ulimits.items()} == {"nofile": 10, "nproc": 7}
    assert found.build is not None
    assert (found.build.args, found.build.inline) == ({"X": "1", "Y": "2"}, "FROM x")
    assert (found.command, found.stop_grace_period) == (("one",), Duration.parse("3s"))
    assert found.ready is not None
    assert found.path == "hosts.a.service"


def test_an_image_takes_the_place_of_a_build(write: Write) -> None:
    found = over(write, "image: nginx, command: [two]")
    assert (found.image, found.build, found.command) == ("nginx", None, ("two",))


def test_more_programs_on_a_host_of_the_topology(write: Write) -> None:
    write(TOPOLOGY, "compose.yml")
    path = write(
        "lab: 1\ntopology: compose.yml\nhosts: {a: {services: {b: {image: x}, a: {command: [c]}}}}\n"
    )
    services = scenario(path).hosts["a"].services
    assert {name: spec.command for name, spec in services.items()} == {"a": ("c",), "b": None}


def test_a_dollar_in_a_scenario_is_a_dollar(write: Write) -> None:
    path = write("lab: 1\nparams: {p: [5]}\nhosts: {a: {service: {command: 'echo $$ $HOME ${p} $${X}'}}}\n")
    assert service(path).command == ("echo", "$$", "$HOME", "5", "${X}")


@pytest.mark.parametrize(
    ("ready", "kind"),
    [
        ("{listening: 80}", "listening"),
        ("{log: /up/}", "log"),
        ("{healthcheck: true}", "healthcheck"),
        ("{command: [test, -e, /x], timeout: 5s}", "command"),
        ("{exit: 0}", "exit"),
    ],
)
def test_ready(write: Write, ready: str, kind: str) -> None:
    path = write(f"lab: 1\nhosts: {{a: {{service: {{image: x, ready: {ready}}}}}}}\n")
    found = service(path).ready
    assert found is not None
    assert found.kind == kind
    assert found.timeout == Duration.parse("5s" if "timeout" in ready else "30s")
    assert found.path == "hosts.a.service.ready"
    assert service(path).is_job is (kind == "exit")


def test_who_waits_for_whom(write: Write) -> None:
    text = """
lab: 1
hosts:
  web:
    services:
      app: {image: x, depends_on: {migrate: {condition: service_completed_successfully}}}
      proxy: {image: x, depends_on: [app, db]}
      migrate: {image: x, depends_on: [db]}
  db:
    services: {one: {image: x}, two: {image: x, depends_on: [one]}}
"""
    found = scenario(write(text))
    assert found.start_order == (
        ("db", "one"),
        ("db", "two"),
        ("web", "migrate"),
        ("web", "app"),
        ("web", "proxy"),
    )
    assert found.hosts["web"].services["proxy"].depends_on == (
        Dependency("web", "app"),
        Dependency("db", "one"),
        Dependency("db", "two"),
    )
    assert found.completes("web", "migrate")
    assert not found.completes("web", "app")


def test_files_of_a_host(write: Write, tmp_path: Path) -> None:
    write("x", "client.py")
    path = write('lab: 1\nhosts: {a: {files: ["./client.py:/app/client.py"]}}\n')
    assert scenario(path).hosts["a"].files == (HostFile(tmp_path / "client.py", "/app/client.py"),)


def test_the_project_is_the_folder_of_the_lab_file_above(write: Write, tmp_path: Path) -> None:
    write("", "site.html")
    path = write(
        "lab: 1\nhosts: {a: {service: {image: x, volumes: ['../site.html:/x']}}}\n", "scenarios/s.yml"
    )
    with pytest.raises(ScenarioError, match="outside the project"):
        load(path)
    write("policy: {capabilities: [NET_RAW]}\n", "lab.yml")
    assert service(path).mounts[0].source == tmp_path / "site.html"


def test_the_lab_file_of_a_scenario_allows_nothing(write: Write) -> None:
    write("policy: {capabilities: [NET_RAW]}\n", "lab.yml")
    path = write("lab: 1\nsteps: [{do: run, at: client, command: [ls], capabilities: [NET_RAW]}]\n")
    with pytest.raises(ScenarioError, match="NET_RAW is not allowed by policy"):
        load(path)
    assert load(path, policy=Policy(capabilities=("NET_RAW",)))


def test_a_policy_allows_more(write: Write) -> None:
    keys = "{dockerfile_inline: FROM x, network: host}"
    path = write(f"lab: 1\nhosts: {{a: {{service: {{build: {keys}, cap_add: [NET_ADMIN]}}}}}}\n")
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert len(caught.value.problems) == 2
    found = scenario(path, Policy("host", (), ("NET_ADMIN",))).hosts["a"].services["a"]
    assert found.build is not None
    assert found.build.network == "host"
    assert "NET_ADMIN" in found.capabilities


def test_what_a_build_has_that_asks_for_nothing(write: Write) -> None:
    path = write("lab: 1\nhosts: {a: {service: {build: {dockerfile_inline: FROM x}}}}\n")
    build = scenario(path, Policy("none")).hosts["a"].services["a"].build
    assert build is not None
    assert build.network == "none"


def test_recorded_values(write: Write) -> None:
    path = write(
        'lab: 1\nhosts: {a: {service: {image: x, record: {n: "/n=(\\\\d+)/"}}}}\n'
        "checks: [{check: value, of: n, is: {max: 0.5}}]\n"
    )
    assert service(path).record == {"n": TextMatch(r"n=(\d+)", regex=True)}


CASES = """
lab: 1
params: {delay: [1ms, 2ms]}
cases: [{loss: 0%, most: 0}, {loss: 20%, most: 2}]
hosts: {client: {link: {delay: "${delay}", loss: "${loss}"}}}
steps: [{do: cut, host: client}]
checks: [{check: packets, match: any, count: {max: "${most}"}}]
"""


def test_cases(write: Write) -> None:
    assert [case.name for case in load(write(CASES))] == [
        "s[loss=0%,most=0,delay=1ms]",
        "s[loss=0%,most=0,delay=2ms]",
        "s[loss=20%,most=2,delay=1ms]",
        "s[loss=20%,most=2,delay=2ms]",
    ]


def test_a_value_of_a_case_chooses_it(write: Write) -> None:
    found = load(write(CASES), params={"loss": "20%", "delay": "5ms"})
    assert [case.name for case in found] == ["s[loss=20%,most=2,delay=5ms]"]
    with pytest.raises(UsageError, match=r"no case has it; the cases have 0%, 20%"):
        load(write(CASES), params={"loss": "7%"})


def test_a_stored_scenario_needs_none_of_its_files(write: Write, tmp_path: Path) -> None:
    write("services: {a: {build: ./app, volumes: ['./data:/d'], env_file: e.env}}", "compose.yml")
    text = "lab: 1\ntopology: compose.yml\nhosts: {a: {files: ['./f:/f']}}\n"
    for name in ("app/Dockerfile", "data/x", "e.env", "f"):
        write("", name)
    here = load(write(text), stored=True)[0].scenario
    copy = write(text, "runs/scenario.yml")
    topology = write((tmp_path / "compose.yml").read_text(), "runs/topology.yml")
    stored = load(copy, topology=topology, stored=True)[0].scenario
    assert same_but_expectations(stored, here) == []


def test_what_differs_of_a_program_is_told_by_its_key(write: Write) -> None:
    def loaded(keys: str) -> Scenario:
        return scenario(write(f"lab: 1\nhosts: {{a: {{services: {{{keys}}}}}}}\n"))

    old = loaded("w: {image: x, environment: {A: 1, B: 1}}, v: {image: y}")
    new = loaded("w: {image: x, environment: {A: 2, B: 1}, user: me}")
    assert same_but_expectations(old, new) == [
        "hosts.a.services.w.environment.A: 2 here, 1 in the stored scenario",
        "hosts.a.services.w.user: me here, nothing in the stored scenario",
        "hosts.a.services.v: nothing here, something in the stored scenario",
    ]
