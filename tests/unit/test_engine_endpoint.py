"""Where the engine is looked for, in the docker command's own order."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import threading
from pathlib import Path

import pytest

from lab.engine.docker import connect
from lab.engine.endpoint import DEFAULT_ADDRESS, Endpoint, TlsFiles, configured
from lab.engine.private import PrivateEngine, find_engine
from lab.engine.stream import DockerStream, Frames, hijack
from lab.errors import EngineError, LabEnvironmentError


def context(home: Path, name: str, host: str, *, tls: tuple[str, ...] = (), skip: bool = False) -> None:
    """A docker context as `docker context create` writes it."""
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = home / ".docker" / "contexts" / "meta" / identity / "meta.json"
    meta.parent.mkdir(parents=True)
    docker = {"Host": host, "SkipTLSVerify": skip}
    meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": docker}}))
    for file in tls:
        pem = home / ".docker" / "contexts" / "tls" / identity / "docker" / f"{file}.pem"
        pem.parent.mkdir(parents=True, exist_ok=True)
        pem.write_text("")


def test_without_any_choice_it_is_the_default_socket(tmp_path: Path) -> None:
    found = configured({"HOME": str(tmp_path)})
    assert found == Endpoint(DEFAULT_ADDRESS, "the default socket", named=False)


def test_docker_host_wins_over_contexts(tmp_path: Path) -> None:
    context(tmp_path, "far", "tcp://far:2375")
    environ = {"HOME": str(tmp_path), "DOCKER_HOST": "tcp://near:2375", "DOCKER_CONTEXT": "far"}
    assert configured(environ) == Endpoint("tcp://near:2375", "DOCKER_HOST")


def test_the_context_of_the_environment_wins_over_the_current_one(tmp_path: Path) -> None:
    context(tmp_path, "one", "unix:///one.sock")
    context(tmp_path, "two", "ssh://me@two")
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext": "one"}')
    environ = {"HOME": str(tmp_path)}
    assert configured(environ) == Endpoint("unix:///one.sock", "docker context one")
    assert configured({**environ, "DOCKER_CONTEXT": "two"}).address == "ssh://me@two"
    assert configured({**environ, "DOCKER_CONTEXT": "default"}).address == DEFAULT_ADDRESS
    elsewhere = {"HOME": "/nowhere", "DOCKER_CONFIG": str(tmp_path / ".docker")}
    assert configured(elsewhere).address == "unix:///one.sock"


def test_certificates(tmp_path: Path) -> None:
    context(tmp_path, "safe", "tcp://safe:2376", tls=("ca", "cert", "key"))
    context(tmp_path, "lax", "tcp://lax:2376", skip=True)
    environ = {"HOME": str(tmp_path)}
    tls = configured({**environ, "DOCKER_CONTEXT": "safe"}).tls
    assert tls is not None
    assert (tls.ca and tls.ca.name, tls.key and tls.key.name, tls.verify) == ("ca.pem", "key.pem", True)
    assert configured({**environ, "DOCKER_CONTEXT": "lax"}).tls == TlsFiles(None, None, None, verify=False)
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "ca.pem").write_text("")
    chosen = {
        "DOCKER_HOST": "tcp://x:2376",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(tmp_path / "certs"),
    }
    tls = configured({**environ, **chosen}).tls
    assert tls == TlsFiles(tmp_path / "certs" / "ca.pem", None, None, verify=True)


def test_a_context_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="docker context 'gone' does not exist") as caught:
        configured({"HOME": str(tmp_path), "DOCKER_CONTEXT": "gone"})
    assert "docker context ls" in caught.value.hint


def test_a_broken_configuration_is_named(tmp_path: Path) -> None:
    config = tmp_path / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text("{")
    with pytest.raises(EngineError, match=r"config\.json: not readable as JSON"):
        configured({"HOME": str(tmp_path)})


def test_an_engine_that_was_named_is_never_replaced(tmp_path: Path) -> None:
    missing = f"unix://{tmp_path}/docker.sock"
    private = PrivateEngine(tmp_path / "engine")
    with pytest.raises(EngineError, match="that was asked for does not answer"):
        find_engine(private=private, environ={"DOCKER_HOST": missing})
    with pytest.raises(EngineError, match=r"\(lab\.yml\): cannot connect to the engine: No such file"):
        find_engine(private=private, environ={}, address=missing)


def test_where_none_answers_the_one_line_to_run_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.engine.endpoint.DEFAULT_ADDRESS", f"unix://{tmp_path}/docker.sock")
    private = PrivateEngine(tmp_path / "engine")
    environ = {"HOME": str(tmp_path)}
    with pytest.raises(LabEnvironmentError, match="no Docker engine answers"):
        find_engine(private=private, environ=environ, start=False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabEnvironmentError, match="needs root") as caught:
        find_engine(private=private, environ=environ)
    assert caught.value.hint == f"sudo {sys.executable} -m lab engine up"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("lab.engine.private._search_path", lambda: str(tmp_path))
    with pytest.raises(LabEnvironmentError, match="no Docker engine is installed") as caught:
        find_engine(private=private, environ=environ)
    assert caught.value.hint == "apt-get install docker.io iptables"


def answering(tmp_path: Path, answer: bytes) -> Endpoint:
    """A server on a UNIX socket that gives its answer to the first request, and closes."""
    path = tmp_path / "s"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        asked = b""
        with server:
            while not asked:  # a connection that asks nothing only looks whether someone is there
                connection, _ = server.accept()
                with connection:
                    asked = connection.recv(65536)
                    if asked:
                        connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return Endpoint(f"unix://{path}", "a test")


def http(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_the_version_that_is_spoken(tmp_path: Path) -> None:
    new = {"Version": "29.0.0", "ApiVersion": "1.52", "MinAPIVersion": "1.44", "KernelVersion": "6"}
    engine = connect(answering(tmp_path, http("200 OK", json.dumps(new).encode())))
    assert (engine.api_version, engine.info().version) == ("1.44", "29.0.0")
    engine.close()


def test_an_engine_that_is_too_old(tmp_path: Path) -> None:
    old = {"Version": "19.03.0", "ApiVersion": "1.40", "MinAPIVersion": "1.12"}
    with pytest.raises(EngineError, match=r"Docker 19\.03\.0 speaks API 1\.40, the lab needs 1\.41"):
        connect(answering(tmp_path, http("200 OK", json.dumps(old).encode())))


def test_something_else_that_answers(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="a test"):
        connect(answering(tmp_path, b"220 mail.example ESMTP\r\n\r\n"))


def test_an_attach_that_is_refused_gives_the_engines_words(tmp_path: Path) -> None:
    endpoint = answering(tmp_path, http("404 Not Found", b'{"message":"No such container: x"}'))
    with pytest.raises(EngineError, match="No such container: x"):
        hijack(endpoint, "/v1.41/containers/x/attach")


def test_output_that_comes_with_the_head_is_not_lost(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 101 UPGRADED\r\n\r\n" + frame(1, b"early\nla") + frame(2, b"oops") + frame(1, b"te\n")
    connection, rest = hijack(answering(tmp_path, answer), "/attach")
    stream = DockerStream(connection, rest, "x")
    assert [stream.read_line() for _ in range(3)] == [b"early", b"late", None]
    assert stream.stderr_tail() == "oops"


def test_ssh_reaches_the_engine_as_the_docker_command_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\necho "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with Endpoint("ssh://me@far:2222", "a test").connect() as connection:
        assert connection.recv(100) == b"-l me -p 2222 -- far docker system dial-stdio\n"


def test_an_address_that_makes_no_sense(tmp_path: Path) -> None:
    for address in ("nonsense://x", "tcp://"):
        with pytest.raises(EngineError):
            find_engine(address=address, private=PrivateEngine(tmp_path), environ={})


def frame(kind: int, data: bytes) -> bytes:
    return bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def test_frames_cut_anywhere() -> None:
    data = frame(1, b"one") + frame(2, b"") + frame(1, b"x" * 1000)
    for step in (1, 3, 7, 8, 9, 2000):
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        frames = Frames(lambda size, pieces=pieces: pieces.pop(0) if pieces else b"")  # type: ignore[misc]
        assert [frames.read() for _ in range(4)] == [(1, b"one"), (2, b""), (1, b"x" * 1000), None]
    whole = [data[:-1]]
    frames = Frames(lambda size: whole.pop() if whole else b"")
    assert [frames.read() for _ in range(3)] == [(1, b"one"), (2, b""), None]


def test_stderr_keeps_its_end() -> None:
    ours, theirs = socket.socketpair()
    stream = DockerStream(ours, b"", "x")
    with theirs:
        for _ in range(20):
            theirs.sendall(frame(2, b"y" * 1000))
        theirs.sendall(frame(2, b"the end"))
    assert stream.read_line() is None
    assert len(stream.stderr_tail()) == 8192
    assert stream.stderr_tail().endswith("the end")
    with pytest.raises(EngineError, match="has ended"):
        stream.write(b"x")


def test_a_line_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.engine.stream.LONGEST_LINE", 1 << 20)
    ours, theirs = socket.socketpair()
    stream = DockerStream(ours, b"", "x")
    with theirs:
        writer = threading.Thread(target=theirs.sendall, args=(frame(1, b"y" * 60_000) * 18,))
        writer.start()
        with pytest.raises(EngineError, match="x: it wrote a line of more than 1 MiB"):
            stream.read_line()
        writer.join(5)
    assert stream.read_line() is None
    stream.close()
