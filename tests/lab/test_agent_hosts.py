"""The host agent in real containers: the network it sets up, captures, real crashes, silence."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

import pytest
from msgspec.structs import replace

from lab.attachment import attach
from lab.engine.base import Engine
from lab.engine.images import Images
from lab.evidence.model import CallRecord
from lab.host import CallSpec, Host
from lab.host.channel import AgentRefused
from lab.units import Duration
from tests.engine_compliance import contents
from tests.lab.agent_pair import Pair, agent_pair

pytestmark = pytest.mark.docker

PATIENCE = 30.0
FIN, SYN, RST, ACK = 1, 2, 4, 16


@pytest.fixture(scope="module")
def pair(engine: Engine, images: Images) -> Iterator[Pair]:
    with agent_pair(engine, images.host.tag) as pair:
        yield pair


@pytest.fixture
def own_pair(engine: Engine, images: Images) -> Iterator[Pair]:
    """One that a test may break."""
    with agent_pair(engine, images.host.tag, open_files=32) as pair:
        yield pair


def start(
    host: Host, call: str, step: str | None = None, timeout: str | None = None, **arguments: Any
) -> Any:
    """`as_`: a Python keyword cannot be an argument's name."""
    args = {key.rstrip("_"): value for key, value in arguments.items()}
    limit = None if timeout is None else Duration.parse(timeout)
    return host.call(CallSpec(step or call, call, args, args.pop("process", "main"), limit))


def do(host: Host, call: str, timeout: str | None = None, **arguments: Any) -> CallRecord:
    record: CallRecord = start(host, call, None, timeout, **arguments).result(PATIENCE)
    return record


def ok(host: Host, call: str, **arguments: Any) -> CallRecord:
    record = do(host, call, **arguments)
    assert record.error is None, record
    return record


def tcp_packets(capture: bytes) -> list[tuple[int, str, str, int, int, int]]:
    """(stamp in ns, source MAC, target MAC, source port, target port, flags) of a little-endian ns pcap."""
    assert capture[:4] == bytes.fromhex("4d3cb2a1")
    found, at = [], 24
    while at < len(capture):
        seconds, nanoseconds, kept, size = struct.unpack_from("<IIII", capture, at)
        frame = capture[at + 16 : at + 16 + kept]
        assert kept == size
        at += 16 + kept
        if frame[12:14] == b"\x08\x00" and frame[23] == 6:
            ports = struct.unpack_from(">HH", frame, 34)
            macs = frame[6:12].hex(":"), frame[:6].hex(":")
            found.append((seconds * 10**9 + nanoseconds, *macs, *ports, frame[47] & 0x17))
    return found


def test_a_host_reaches_others_through_the_wire_and_nothing_else(pair: Pair, engine: Engine) -> None:
    facts, setup = pair.facts["client"], pair.setups["client"]
    assert facts.mac == setup.here.mac
    assert not any(facts.offloads.values())
    assert len(facts.offloads) == 4
    assert facts.neighbours == {str(setup.wire.address): setup.wire.mac}
    shown = engine.exec(pair.ids["client"], ["ip", "-j", "route", "show"])
    routes = {route["dst"]: route.get("gateway") for route in json.loads(shown.stdout)}
    assert routes == {str(setup.wire.address): None, str(setup.here.subnet): str(setup.wire.address)}
    status = engine.exec(pair.ids["client"], ["grep", "CapEff", "/proc/1/status"]).stdout.split()[1]
    assert int(status, 16) == (1 << 12) | (1 << 13)  # NET_ADMIN, NET_RAW
    assert facts.sysctls["net.ipv4.tcp_syn_retries"].isdigit()


def test_a_set_up_that_did_not_take_is_refused(pair: Pair) -> None:
    setup = pair.setups["client"]
    wrong = replace(setup, here=replace(setup.here, mac="02:00:00:00:00:99"))
    with pytest.raises(AgentRefused, match=r"client: join: the MAC of eth0 is .*, not 02:00:00:00:00:99"):
        pair.client.set_up(wrong)
    with pytest.raises(AgentRefused, match=r"client: set_up: ip link set dev eth0 up mtu 1 ended with"):
        pair.client.set_up(replace(setup, mtu=1))
    pair.client.set_up(setup)


def test_a_handshake_is_captured_at_both_ends_and_connect_returns_after_the_syn_ack(
    pair: Pair, engine: Engine
) -> None:
    pair.client.start_capture()
    pair.server.start_capture()
    with pytest.raises(AgentRefused, match="a capture is running already"):
        pair.client.start_capture()
    ok(pair.server, "listen", port=8001, as_="hs")
    connect = ok(pair.client, "connect", to=["server", 8001], as_="hc")
    accept = ok(pair.server, "accept", on="hs", as_="ha")
    facts = {"client": pair.client.stop_capture(), "server": pair.server.stop_capture()}
    assert connect.local is not None
    port = connect.local.port
    wire = pair.setups["client"].wire.mac
    for name, fact in facts.items():
        assert fact.dropped == 0
        everything = tcp_packets(contents(engine, pair.ids[name], fact.path))
        own = pair.setups[name].here.mac
        assert all({own, wire} == {source, target} for _, source, target, *_ in everything)
        packets = [packet for packet in everything if port in packet[3:5]]
        assert [packet[5] for packet in packets] == [SYN, SYN | ACK, ACK]
        if name == "client":
            assert connect.start_wall_ns < packets[0][0]
            # 0.1 ms on an idle machine; here only that it is the SYN-ACK that ended it
            assert 0 < connect.end_wall_ns - packets[1][0] < 50_000_000
        else:
            assert accept.end_wall_ns > packets[2][0]


def test_bulk_data_arrives_whole_and_no_packet_escapes_the_capture(pair: Pair) -> None:
    ok(pair.server, "listen", port=8002, as_="bs")
    ok(pair.client, "connect", to=["server", 8002], as_="bc")
    ok(pair.server, "accept", on="bs", as_="ba")
    pair.client.start_capture()
    drain = start(pair.server, "drain", on="ba")
    sent = ok(pair.client, "sendall", on="bc", data={"random": 50_000_000, "seed": 1})
    ok(pair.client, "close", on="bc")
    received = drain.result(PATIENCE)
    assert received.length == 50_000_000
    assert received.sha256 == sent.sha256
    facts = pair.client.stop_capture()
    assert facts.dropped == 0
    assert facts.received > 50_000_000 // 1500
    by_socket = {stream.socket: stream for stream in pair.client.streams() + pair.server.streams()}
    assert by_socket["bc"].sent_sha256 == by_socket["ba"].received_sha256 == sent.sha256
    pair.client.wait_for(5, state="FIN_WAIT2", port=8002)
    ok(pair.server, "close", on="ba")
    pair.client.wait_for(5, state="TIME_WAIT", port=8002)
    states = [s.state for s in pair.client.states() if s.local == by_socket["bc"].local]
    assert states[0] == "ESTABLISHED"
    assert states[-1] == "TIME_WAIT"


@pytest.mark.parametrize("unread", [False, True])
def test_a_killed_process_leaves_what_the_kernel_sends(pair: Pair, unread: bool) -> None:
    port = 8003 + unread
    ok(pair.server, "listen", port=port, as_="ks", process="victim")
    ok(pair.client, "connect", to=["server", port], as_=f"kc{port}")
    ok(pair.server, "accept", on="ks", as_="ka", process="victim")
    if unread:
        ok(pair.client, "sendall", on=f"kc{port}", data="unread")
        pair.server.wait_for(5, state="ESTABLISHED", port=port)
    pair.server.signal("victim", "KILL")
    end = do(pair.client, "recv", on=f"kc{port}", size=1, timeout="5s")
    if unread:
        assert end.error is not None
        assert end.error.name == "ECONNRESET"
    else:
        assert end.eof


def test_a_capture_that_cannot_be_written_is_refused(pair: Pair) -> None:
    with pytest.raises(AgentRefused, match=r"client: start_capture: .*/proc/nonsense"):
        pair.client.start_capture(path="/proc/nonsense/x.pcap")
    with pytest.raises(AgentRefused, match=r"client: start_capture: tcpdump ended with 1: .*/proc/x\.pcap"):
        pair.client.start_capture(path="/proc/x.pcap")


def test_a_socket_that_was_never_made_is_no_valid_descriptor(pair: Pair) -> None:
    server = pair.server
    ok(server, "listen", port=8031, as_="quiet")
    assert error_of(do(server, "accept", "30ms", on="quiet", as_="nobody")) == "timeout"
    assert error_of(do(server, "recv", on="nobody", size=1)) == "EBADF"
    assert error_of(do(server, "close", on="nobody")) == "EBADF"
    polled = ok(server, "poll", on=["quiet", "nobody"], events=["in"])
    assert polled.result == {"nobody": ["nval"]}
    with pytest.raises(AgentRefused, match="the name 'quiet' is taken") as refused:
        do(server, "socket", as_="quiet")
    assert refused.value.kind == "name"


def test_a_signal_to_a_process_that_is_gone_is_refused(pair: Pair) -> None:
    with pytest.raises(AgentRefused, match="no process 'gone' is alive") as refused:
        pair.server.signal("gone", "KILL")
    assert refused.value.kind == "process"


def error_of(record: CallRecord) -> str | None:
    return None if record.error is None else record.error.name


def test_a_host_without_power_is_silent(own_pair: Pair, engine: Engine) -> None:
    client, server = own_pair.client, own_pair.server
    ok(server, "listen", port=8001, as_="s")
    ok(client, "connect", to=["server", 8001], as_="c")
    ok(server, "accept", on="s", as_="a")
    client.start_capture()
    server.start_capture()
    ok(client, "sendall", on="c", data="before")
    assert ok(server, "recv_exactly", on="a", size=6).data == b"before"
    remains = server.power_off()
    own = server.stop_capture()
    assert (own.dropped, own.boot) == (0, 1)
    kept = contents(engine, own_pair.ids["server"], own.path)
    engine.kill(own_pair.ids["server"])
    engine.wait(own_pair.ids["server"], 10)
    assert [stream.received_bytes for stream in remains.streams] == [6]
    assert remains.counters["TcpPassiveOpens"] == 1
    assert do(client, "recv", on="c", size=1, timeout="300ms").error is not None
    seen = tcp_packets(contents(engine, own_pair.ids["client"], client.stop_capture().path))
    for packets in (tcp_packets(kept), seen):
        assert packets
        assert not any(packet[5] & (FIN | RST) for packet in packets)
    late = [packet for packet in seen if packet[0] > remains.moment.wall_ns and packet[3] == 8001]
    assert late == []


def test_descriptors_run_out_and_the_container_ends_with_its_stdin(own_pair: Pair, engine: Engine) -> None:
    record = do(own_pair.client, "socket", as_="s", count=100)
    assert record.error is not None
    assert (record.error.name, record.result) == ("EMFILE", 29)
    ok(own_pair.client, "close", on="s7")
    ok(own_pair.client, "connect", to=["server", 9], as_="c", kind="udp")
    own_pair.client.start_capture()
    own_pair.client.close()
    assert engine.wait(own_pair.ids["client"], 10) == 0


def test_the_way_to_the_wire_is_asked_for_and_leaves_no_trace(pair: Pair, engine: Engine) -> None:
    setup = pair.setups["client"]
    pair.client.start_capture(path="/var/lib/lab/reach.pcap")
    assert pair.client.reach(setup) >= 1
    nobody = replace(setup, wire=attach(IPv4Network(str(setup.here.subnet)), "nobody", 77))
    with pytest.raises(AgentRefused, match=r"the wire at 198\.18\.\d+\.77 does not answer") as refused:
        pair.client.reach(nobody, timeout=0.2)
    assert refused.value.kind == "reach"
    facts = pair.client.stop_capture()
    captured = contents(engine, pair.ids["client"], facts.path)
    assert b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01" not in captured  # no ARP question of ours
