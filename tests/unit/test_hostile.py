"""What a scenario of somebody else may not ask for: each thing is refused at its place, exit status 2."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import cli

#: A service that asks for something beside its network: its keys as YAML, and a word of the refusal.
KEYS = {
    "privileged": "privileged: true",
    "pid of the machine": "pid: host",
    "ipc of the machine": "ipc: host",
    "uts of the machine": "uts: host",
    "user namespace of the machine": "userns_mode: host",
    "cgroup of the machine": "cgroup: host",
    "network of the machine": "network_mode: host",
    "network of another container": "network_mode: 'container:other'",
    "pid of another container": "pid: 'container:other'",
    "devices": "devices: ['/dev/mem:/dev/mem']",
    "device rules": "device_cgroup_rules: ['c 1:3 mr']",
    "a capability of the network": "cap_add: [NET_ADMIN]",
    "a capability that is none of Docker's default": "cap_add: [SYS_ADMIN]",
    "all capabilities": "cap_add: [ALL]",
    "seccomp off": "security_opt: ['seccomp:unconfined']",
    "apparmor off": "security_opt: ['apparmor:unconfined']",
    "new privileges": "security_opt: ['no-new-privileges:false']",
    "the engine's socket": "volumes: ['/var/run/docker.sock:/var/run/docker.sock']",
    "the engine's socket, long": "volumes: [{type: bind, source: /run/docker.sock, target: /s}]",
    "a volume by an absolute path": "volumes: ['/etc:/etc2']",
    "a volume by ..": "volumes: ['../outside:/data']",
    "a volume by a link": "volumes: ['./link:/data']",
    "a volume below a link": "volumes: ['./link/secret:/data']",
    "a volume of the home": "volumes: ['~/.ssh:/data']",
    "volumes of another container": "volumes_from: ['container:other']",
    "an env_file by an absolute path": "env_file: [/etc/passwd]",
    "an env_file by ..": "env_file: ../outside/secret",
    "an env_file by a link": "env_file: link/secret",
    "a context by an absolute path": "build: {context: /etc}",
    "a context by ..": "build: {context: ../outside}",
    "a context by a link": "build: {context: ./link}",
    "a dockerfile by ..": "build: {context: ., dockerfile: ../outside/secret}",
    "a context at a URL": "build: {context: 'https://example.com/x.git'}",
    "a context by git": "build: 'git@example.com:x.git'",
    "more contexts": "build: {context: ., additional_contexts: {a: /etc}}",
    "a build with the machine's network": "build: {context: ., network: host}",
    "a build with secrets": "build: {context: ., secrets: [s]}",
    "a build with ssh": "build: {context: ., ssh: [default]}",
    "a privileged build": "build: {context: ., privileged: true}",
    "a build with entitlements": "build: {context: ., entitlements: [security.insecure]}",
    "a runtime": "runtime: other",
    "a volume driver": "volumes: [{type: volume, source: v, target: /v, volume: {driver: local}}]",
    "a mount of the cluster": "volumes: [{type: npipe, source: x, target: /v}]",
}
#: Compose files only: text of the whole file.
FILES = {
    "include": "include: [../outside/c.yml]\nservices: {a: {image: x}}\n",
    "include of a URL": "include: ['https://example.com/c.yml']\nservices: {a: {image: x}}\n",
    "extends": "services: {a: {extends: {file: ../outside/c.yml, service: a}}}\n",
    "extends by a link": "services: {a: {extends: {file: link/c.yml, service: a}}}\n",
    "secrets": "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {file: /etc/passwd}}\n",
    "configs": "services: {a: {image: x, configs: [s]}}\nconfigs: {s: {file: ../outside/secret}}\n",
    "configs by a link": "services: {a: {image: x, configs: [s]}}\nconfigs: {s: {file: link/secret}}\n",
    "external volume": "services: {a: {image: x, volumes: ['v:/v']}}\nvolumes: {v: {external: true}}\n",
    "volume of a driver": "services: {a: {image: x, volumes: ['v:/v']}}\n"
    "volumes: {v: {driver_opts: {type: none, o: bind, device: /etc}}}\n",
}
#: Scenarios: what stands under `hosts.a`, `steps` or at the top.
SCENARIOS = {
    "files by ..": "hosts: {a: {files: ['../outside/secret:/x']}}\n",
    "files by an absolute path": "hosts: {a: {files: ['/etc/passwd:/x']}}\n",
    "files by a link": "hosts: {a: {files: ['link/secret:/x']}}\n",
    "a topology by ..": "topology: ../outside/c.yml\n",
    "a topology by an absolute path": "topology: /etc/passwd\n",
    "a topology by a link": "topology: link/c.yml\n",
    "a capability of a run": "steps: [{do: run, at: client, command: [x], capabilities: [NET_ADMIN]}]\n",
    "any capability of a run": "steps: [{do: run, at: client, command: [x], capabilities: [SYS_ADMIN]}]\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a file of its own, a link out of it, and what lies outside; the strictest policy."""
    outside, own = tmp_path / "outside", tmp_path / "project"
    for folder in (outside, own):
        folder.mkdir()
    (outside / "secret").write_text("SECRET=1\n")
    (outside / "c.yml").write_text("services: {a: {image: x}}\n")
    (own / "link").symlink_to(outside)
    (own / "own").mkdir()
    (own / "Dockerfile").write_text("FROM lab-base\n")
    (own / "lab.yml").write_text("")
    monkeypatch.chdir(own)
    return own


Refused = Callable[[str], None]


@pytest.fixture
def refused(project: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """`lab check` ends with 2 and names a place in a file; nothing of what lies outside is shown."""

    def check(at: str) -> None:
        with pytest.raises(SystemExit) as ended:
            cli.main(["check", "s.yml"])
        said = "".join(capsys.readouterr())
        assert ended.value.code == 2, said
        assert re.search(rf"^{re.escape(at)}:\d+:\d+: ", said, re.MULTILINE), said
        assert "SECRET" not in said
        assert "root:" not in said

    return check


@pytest.mark.parametrize("what", KEYS)
def test_of_a_service_in_a_scenario(project: Path, refused: Refused, what: str) -> None:
    image = "" if "build" in KEYS[what] else "image: x, "
    text = KEYS[what]
    (project / "s.yml").write_text(f"lab: 1\nhosts:\n  a:\n    service: {{{image}{text}}}\nsteps: []\n")
    refused("s.yml")


@pytest.mark.parametrize("what", KEYS)
def test_of_a_service_in_a_compose_file(project: Path, refused: Refused, what: str) -> None:
    image = "" if "build" in KEYS[what] else "image: x, "
    (project / "c.yml").write_text(f"services:\n  a: {{{image}{KEYS[what]}}}\n")
    (project / "s.yml").write_text("lab: 1\ntopology: c.yml\nsteps: []\n")
    refused("c.yml")


@pytest.mark.parametrize("what", FILES)
def test_of_a_compose_file(project: Path, refused: Refused, what: str) -> None:
    (project / "c.yml").write_text(FILES[what])
    (project / "s.yml").write_text("lab: 1\ntopology: c.yml\nsteps: []\n")
    refused("c.yml")


@pytest.mark.parametrize("what", SCENARIOS)
def test_of_a_scenario(project: Path, refused: Refused, what: str) -> None:
    steps = "" if "steps" in SCENARIOS[what] else "steps: []\n"
    (project / "s.yml").write_text(f"lab: 1\n{SCENARIOS[what]}{steps}")
    refused("s.yml")
