"""Somebody's Compose file to hosts with their programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.policy import SERVICE_CAPABILITIES, Policy
from lab.scenario import support
from lab.scenario.compose.parts import capabilities
from lab.scenario.load import Case, load, noted
from lab.scenario.model import HostSpec, apart
from lab.scenario.problems import ScenarioError
from lab.scenario.services import Dependency, Healthcheck, ServiceSpec, Ulimit
from lab.units import Duration

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "NOT_YET", frozenset[str]())


@pytest.fixture
def write(tmp_path: Path) -> Write:
    (tmp_path / "s.yml").write_text("lab: 1\ntopology: compose.yml\n")

    def put(text: str, name: str = "compose.yml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return tmp_path / "s.yml"

    return put


def case(path: Path, policy: Policy | None = None) -> Case:
    cases = load(path, policy=policy)
    assert len(cases) == 1
    return cases[0]


def hosts(path: Path, policy: Policy | None = None) -> dict[str, HostSpec]:
    return dict(case(path, policy).scenario.hosts)


def service(path: Path, name: str = "a", policy: Policy | None = None) -> ServiceSpec:
    return hosts(path, policy)[name].services[name]


SHOP = """
name: shop
x-common: &common
  restart: unless-stopped
  logging: {driver: json-file}
services:
  web:
    <<: *common
    build:
      context: ./web
      args: ["VERSION=${VERSION:-1.2}"]
    ports: ["8080:80"]
    environment:
      DATABASE_URL: postgres://app:${DB_PASSWORD:-secret}@db:5432/app
      DEBUG: "no"
    depends_on:
      db: {condition: service_healthy}
      worker: {condition: service_started, required: false}
    networks: [front, back]
    volumes: ["./site:/srv/site:ro", "uploads:/srv/uploads"]
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost/"]
      interval: 1m30s
      start_period: 40s
  db:
    image: postgres:16
    environment: ["POSTGRES_PASSWORD=${DB_PASSWORD:-secret}"]
    volumes: ["pgdata:/var/lib/postgresql/data"]
    networks:
      back: {aliases: [database, db.internal]}
    healthcheck: {test: pg_isready -U app, interval: 5s}
    shm_size: 256mb
    stop_grace_period: 1m
    ulimits: {nofile: {soft: 1024, hard: 4096}, nproc: 100}
    cap_drop: [ALL]
    cap_add: [CHOWN, SETUID, SETGID]
    security_opt: ["no-new-privileges:true"]
  worker:
    <<: *common
    build: ./web
    command: python -m worker --queue "high priority" $$HOME
    depends_on: [db]
    networks: [back]
    tmpfs: /run:size=64m,mode=1777
    user: "1000:1000"
    read_only: true
    init: true
    stop_signal: SIGINT
    container_name: the_worker
networks:
  front: {}
  back: {internal: true}
volumes: {pgdata: {}, uploads: {}}
"""


def test_a_file_that_never_heard_of_the_lab(write: Write, tmp_path: Path) -> None:
    write("FROM nginx", "web/Dockerfile")
    write("hello", "site/index.html")
    write(SHOP)
    path = write("lab: 1\ntopology: compose.yml\nhosts: {db: {link: {delay: 40ms}}}\n", "s.yml")
    scenario = case(path).scenario
    web, db, worker = (scenario.hosts[name] for name in ("web", "db", "worker"))
    assert db.link.up.delay == Duration.parse("40ms")
    assert scenario.start_order == (("db", "db"), ("worker", "worker"), ("web", "web"))
    assert scenario.used_hosts == ("web", "db", "worker")

    assert web.networks == ("front", "back")
    assert ("web", "db") not in apart(scenario.hosts)
    assert scenario.names_at("worker") == {
        "web": "web",
        "db": "db",
        "worker": "worker",
        "database": "db",
        "db.internal": "db",
        "the_worker": "worker",
    }

    program = web.services["web"]
    assert program.build is not None
    assert program.build.context == tmp_path / "web"
    assert program.build.dockerfile == tmp_path / "web/Dockerfile"
    assert program.build.args == {"VERSION": "1.2"}
    assert program.environment["DATABASE_URL"] == "postgres://app:secret@db:5432/app"
    assert program.environment["DEBUG"] == "no"
    assert [(m.kind, m.source, m.target, m.read_only) for m in program.mounts] == [
        ("bind", tmp_path / "site", "/srv/site", True),
        ("volume", "uploads", "/srv/uploads", False),
    ]
    assert program.healthcheck == Healthcheck(
        ("CMD", "curl", "-f", "http://localhost/"),
        interval=Duration.parse("90s"),
        start_period=Duration.parse("40s"),
    )
    assert program.depends_on == (
        Dependency("db", "db", "service_healthy"),
        Dependency("worker", "worker", "service_started", required=False),
    )
    assert program.capabilities == tuple(sorted(SERVICE_CAPABILITIES))

    base = db.services["db"]
    assert (base.image, base.build) == ("postgres:16", None)
    assert base.healthcheck is not None
    assert base.healthcheck.test == ("CMD-SHELL", "pg_isready -U app")
    assert base.stop_grace_period == Duration.parse("60s")
    assert base.ulimits == {"nofile": Ulimit(1024, 4096), "nproc": Ulimit(100, 100)}
    assert base.capabilities == ("CHOWN", "SETGID", "SETUID")
    assert db.ulimits == {}

    work = worker.services["worker"]
    assert work.command == ("python", "-m", "worker", "--queue", "high priority", "$HOME")
    assert (work.user, work.read_only, work.init, work.stop_signal) == ("1000:1000", True, True, "INT")
    assert [(m.kind, m.target, m.size, m.options) for m in work.mounts] == [
        ("tmpfs", "/run", 64 << 20, "mode=1777")
    ]
    said = " ".join(noted([case(path)]))
    assert all(f".{key}: note:" in said for key in ("ports", "restart", "logging", "shm_size"))


def test_a_host_without_a_program(write: Write) -> None:
    text = "{a: {image: lab-host}, b: {image: 'lab-host:1', command: top}, c: {}, d: {command: [x]}}"
    found = hosts(write(f"services: {text}"))
    assert {name: list(host.services) for name, host in found.items()} == {
        "a": [],
        "b": ["b"],
        "c": [],
        "d": ["d"],
    }
    assert found["d"].services["d"].image is None


def test_names_of_compose(write: Write) -> None:
    assert list(hosts(write("services: {my_app.v2: {image: x}, _b: {image: y}}"))) == ["my_app.v2", "_b"]


@pytest.mark.parametrize(
    ("written", "command"),
    [
        ("{image: x}", None),
        ("{image: x, command: }", None),
        ("{image: x, command: []}", ()),
        ("{image: x, command: ''}", ()),
        ("{image: x, command: echo 'a b' c\\ d}", ("echo", "a b", "c d")),
        ("{image: x, command: [sleep, 1.50, 012]}", ("sleep", "1.50", "012")),
    ],
)
def test_commands(write: Write, written: str, command: tuple[str, ...] | None) -> None:
    assert service(write(f"services: {{a: {written}}}")).command == command


def test_variables(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLER", "from the caller")
    monkeypatch.setenv("BOTH", "from the caller")
    write("BOTH=from the file\nOWN=own\n", ".env")
    path = write(
        'services: {a: {image: x, environment: {A: "$CALLER", B: "$BOTH", C: "$OWN", CALLER: , NO: }}}'
    )
    assert service(path).environment == {"A": "", "B": "from the file", "C": "own"}
    assert sorted(note.text.split()[0] for note in case(path).notes) == ["CALLER", "NO"]
    allowed = Policy(environment=("CALLER", "BOTH"))
    assert service(path, policy=allowed).environment == {
        "A": "from the caller",
        "B": "from the caller",
        "C": "own",
        "CALLER": "from the caller",
    }


def test_env_files_come_before_what_the_service_says(write: Write) -> None:
    write("A=1\nB=1\nC=1\n", "one.env")
    write("B=2\nC=2\n", "two.env")
    files = "[one.env, {path: two.env}, {path: none.env, required: false}]"
    path = write(f"services: {{a: {{image: x, env_file: {files}, environment: {{C: 3}}}}}}")
    assert service(path).environment == {"A": "1", "B": "2", "C": "3"}


def test_a_broken_env_file_is_said_at_its_line(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("A=1\nno such thing\n", "one.env")
    path = write("services: {a: {image: x, env_file: one.env}}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScenarioError, match=r"^one\.env:2:1: 'no such thing' is not NAME=value$"):
        load(path.name)


def test_extends(write: Write, tmp_path: Path) -> None:
    write(
        """
services:
  base:
    image: x
    command: [base]
    environment: {A: base, B: base}
    volumes: ["./data:/data", "one:/one"]
    cap_drop: [KILL]
    depends_on: [d]
    healthcheck: {test: "true", retries: 7}
  d: {image: d}
volumes: {one: {}}
""",
        "sub/base.yml",
    )
    write("x", "sub/data/x")
    path = write(
        """
services:
  a:
    extends: {service: base, file: sub/base.yml}
    command: [own]
    environment: [B=own, C=own]
    volumes: ["two:/one"]
    cap_drop: [CHOWN]
    healthcheck: {interval: 3s}
  d: {image: d}
volumes: {two: {}}
"""
    )
    found = service(path)
    assert (found.image, found.command) == ("x", ("own",))
    assert found.environment == {"A": "base", "B": "own", "C": "own"}
    assert [(m.target, m.source) for m in found.mounts] == [("/data", tmp_path / "sub/data"), ("/one", "two")]
    assert not {"KILL", "CHOWN"} & set(found.capabilities)
    assert found.depends_on == (Dependency("d", "d"),)
    assert found.healthcheck == Healthcheck(("CMD-SHELL", "true"), retries=7, interval=Duration.parse("3s"))


def test_include_has_its_own_folder_and_variables(write: Write, tmp_path: Path) -> None:
    write("TOP=top\nBOTH=top\n", ".env")
    write("INNER=inner\nBOTH=inner\n", "inc/.env")
    write("x", "inc/data/x")
    variables = '{T: "$TOP", I: "$INNER", B: "$BOTH"}'
    write(
        f'services: {{b: {{image: x, environment: {variables}, volumes: ["./data:/d"]}}}}', "inc/compose.yml"
    )
    path = write('include: [inc/compose.yml]\nservices: {a: {image: "x:${INNER:-none}", depends_on: [b]}}')
    found = service(path, "b")
    assert found.environment == {"T": "top", "I": "inner", "B": "top"}
    assert found.mounts[0].source == tmp_path / "inc/data"
    assert service(path).image == "x:none"


def test_profiles(write: Write) -> None:
    path = write(
        "services: {a: {image: x}, b: {image: x, profiles: [dev, test]}, c: {image: x, profiles: [p]}}"
    )
    assert list(hosts(path)) == ["a"]
    write("COMPOSE_PROFILES=test, other\n", ".env")
    assert list(hosts(path)) == ["a", "b"]


def test_configs_and_secrets(write: Write, tmp_path: Path) -> None:
    write("k", "key.txt")
    path = write(
        """
services:
  a:
    image: x
    secrets: [key, {source: key, target: other, mode: 0440, uid: "5"}]
    configs: [{source: text, target: /etc/text}]
secrets: {key: {file: ./key.txt}}
configs: {text: {content: "a=${A:-1}"}}
"""
    )
    mounts = {mount.target: mount for mount in service(path).mounts}
    assert mounts["/run/secrets/key"].source == tmp_path / "key.txt"
    assert (mounts["/run/secrets/other"].mode, mounts["/run/secrets/other"].uid) == (0o440, 5)
    assert mounts["/etc/text"].content == "a=1"
    assert all(mount.read_only for mount in mounts.values())


def test_networks(write: Write) -> None:
    path = write(
        """
services:
  a: {image: x, networks: [one]}
  b: {image: x, networks: {one: {aliases: [bee]}, two: }, hostname: bb}
  c: {image: x, networks: [two]}
  d: {image: x}
  e: {image: x, network_mode: none}
networks: {one: {}, two: {driver: bridge}}
"""
    )
    write("lab: 1\ntopology: compose.yml\nhosts: {f: {}, g: {networks: [one]}}\n", "s.yml")
    scenario = case(path).scenario
    assert scenario.networks == ("one", "two", "default")
    assert scenario.names_at("a") == {"a": "a", "b": "b", "f": "f", "g": "g", "bee": "b", "bb": "b"}
    assert scenario.names_at("c") == {"b": "b", "c": "c", "f": "f", "bb": "b"}
    assert ("a", "c") in apart(scenario.hosts)
    assert scenario.hosts["f"].networks == ("one", "two", "default")
    assert scenario.names_at("e") == {"e": "e"}


def test_host_settings(write: Write) -> None:
    path = write(
        "services: {a: {image: x, sysctls: [net.core.somaxconn=64], x-lab: {link: {delay: 5ms}, "
        "service: {ready: {listening: 80}}}}}"
    )
    host = hosts(path)["a"]
    assert host.sysctls == {"net.core.somaxconn": "64"}
    assert host.link.up.delay == Duration.parse("5ms")
    ready = host.services["a"].ready
    assert ready is not None
    assert (ready.kind, ready.listening, ready.timeout) == ("listening", 80, Duration.parse("30s"))


def test_too_many_files(write: Write) -> None:
    for number in range(60):
        write(f"include: [c{number + 1}.yml]\nservices: {{s{number}: {{image: x}}}}", f"c{number}.yml")
    write("services: {last: {image: x}}", "c60.yml")
    path = write("include: [c0.yml]\nservices: {a: {image: x}}")
    with pytest.raises(ScenarioError, match="more than 50 files"):
        load(path)


def test_files_that_include_each_other(write: Write) -> None:
    write("include: [compose.yml]\nservices: {b: {image: x}}", "other.yml")
    assert set(hosts(write("include: [other.yml]\nservices: {a: {image: x}}"))) == {"a", "b"}


@pytest.mark.parametrize(
    ("drop", "add", "left"),
    [
        ([], [], set(SERVICE_CAPABILITIES)),
        (["ALL"], [], set()),
        (["ALL"], ["CHOWN", "SETUID"], {"CHOWN", "SETUID"}),
        (["KILL", "NET_RAW"], [], set(SERVICE_CAPABILITIES) - {"KILL"}),
        ([], ["NET_RAW"], {*SERVICE_CAPABILITIES, "NET_RAW"}),
    ],
)
def test_capabilities_of_a_service(drop: list[str], add: list[str], left: set[str]) -> None:
    assert set(capabilities(tuple(add), tuple(drop))) == left
