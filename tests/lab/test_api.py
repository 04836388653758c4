"""The lab from Python and in pytest on real containers: the API's example, and the example project."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import lab
from lab.engine.clean import Owner, leftovers
from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from tests.lab.commands import ROOT

pytestmark = pytest.mark.docker


@pytest.fixture(autouse=True)
def _somewhere(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "compose", tmp_path / "compose")
    monkeypatch.chdir(tmp_path)


def test_the_example_of_the_api(engine: DockerEngine) -> None:
    with lab.up("compose/pair.yml", hosts={"client": {"link": {"delay": "50ms"}}}) as net:
        client, server = net["client"], net["server"]
        listener = server.listen(8001)
        c = client.connect("server:8001", timeout="1s")
        s = listener.accept()
        c.sendall(b"hello")
        assert s.recv(2) == b"he"
        assert s.recv_exactly(3, timeout="1s") == b"llo"

        waiting = c.recv(10, background=True)
        net.link("client", delay="200ms")
        s.sendall(b"answer")
        assert waiting.result() == b"answer"
        assert waiting.elapsed > 0.19

        run = client.run(["ss", "-tan"], timeout="5s")
        assert (run.exit, run.stderr) == (0, "")
        assert "8001" in run.stdout
        assert client.testinfra.socket("tcp://0.0.0.0:8001").is_listening is False
        assert server.testinfra.socket("tcp://0.0.0.0:8001").is_listening is True
        assert server.testinfra.file("/etc/hosts").exists
        assert client.testinfra.interface("eth0").addresses == [client.address]
        net.check("handshake", from_="client", to="server:8001")
        net.check(
            {"check": "packets", "from": "client", "to": "server", "match": "data", "count": {"min": 1}}
        )
    assert (net.folder / "report.html").is_file()
    stored = lab.open(net.folder)
    assert stored.result.verdict is lab.Verdict.PASS
    assert stored.recheck().verdict is lab.Verdict.PASS
    assert [
        one.run for one in leftovers(engine) if one.run == net.run_id and one.owner is not Owner.KEPT
    ] == []


def test_data_of_any_size_and_kind_comes_back_whole() -> None:
    data = bytes(range(256)) * 20_000  # 5 MB
    with lab.up(hosts={"a": {}, "b": {}}) as net:
        listener = net["b"].listen(7000)
        one = net["a"].connect("b:7000", timeout="2s")
        other = listener.accept(timeout="2s")
        sending = one.sendall(data, background=True)
        assert other.recv_exactly(len(data), timeout="20s") == data
        assert sending.result(10) is None
        datagrams = net["b"].bind(7001, kind="udp")
        net["a"].socket("udp").sendto(b"\xff\x00", "b:7001")
        came, peer = datagrams.recvfrom(10, timeout="1s")
        assert (came, peer and peer[0]) == (b"\xff\x00", net["a"].address)


def test_processes_and_power_end_calls_as_they_should() -> None:
    with lab.up(hosts={"a": {}, "b": {}}) as net:
        listener = net["b"].process("other").listen(7000)
        one = net["a"].connect("b:7000", timeout="2s")
        listener.accept(timeout="2s")
        waiting = listener.accept(background=True)
        net["b"].kill("other")
        with pytest.raises(lab.ProcessKilled):
            waiting.result(5)
        assert one.recv(1, timeout="2s") == b""
        net["b"].power_off()
        with pytest.raises(TimeoutError):
            net["a"].connect("b:7000", timeout=0.3)
