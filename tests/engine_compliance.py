"""What every engine must do: the same tests run against the fake one and against Docker.

The containers run the few commands named here; `shell` is what the fake engine runs for them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from lab.engine.base import LABEL_ROLE, ContainerSpec, Engine, NetworkSpec
from lab.engine.fake import FakeProcess
from lab.errors import EngineError, SubnetTaken

CAT = ["cat"]
TALK = ["sh", "-c", "printf 'one\\ntwo\\nrest'; printf 'went wrong' >&2; exit 3"]
FILE = ["sh", "-c", "printf content > /file; echo ready; cat"]
SLEEP = ["sleep", "60"]


def shell(process: FakeProcess) -> int:
    """The commands above, for the fake engine."""
    if process.argv == CAT:
        return _cat(process)
    if process.argv == TALK:
        process.write(b"one\ntwo\nrest")
        process.error(b"went wrong")
        return 3
    if process.argv == FILE:
        process.files["/file"] = b"content"
        process.write(b"ready\n")
        return _cat(process)
    if process.argv == SLEEP:
        process.pause()
    return 127


def _cat(process: FakeProcess) -> int:
    while (line := process.read_line()) is not None:
        process.write(line + b"\n")
    return 0


class EngineCompliance:
    """Inherit, and give the fixtures `engine`, `image` (a tag) and `pool` (a /16 that is free)."""

    @pytest.fixture
    def labels(self, request: pytest.FixtureRequest) -> dict[str, str]:
        return {"lab.test": request.node.name, LABEL_ROLE: "test"}

    @pytest.fixture
    def name(self, request: pytest.FixtureRequest) -> str:
        return f"labtest-{abs(hash(request.node.nodeid)) % 10**8:08d}"

    @pytest.fixture(autouse=True)
    def clean(self, engine: Engine, labels: dict[str, str]) -> Iterator[None]:
        yield
        for container in engine.containers({"lab.test": labels["lab.test"]}):
            engine.remove(container.id)
        for network in engine.networks():
            if network.labels.get("lab.test") == labels["lab.test"]:
                engine.remove_network(network.id)

    def spec(
        self, image: str, name: str, labels: dict[str, str], command: list[str], **more: Any
    ) -> ContainerSpec:
        return ContainerSpec(name, image, labels, command=command, **more)

    def test_it_says_who_it_is(self, engine: Engine) -> None:
        assert engine.info().name
        assert engine.info().address

    def test_an_image_is_there_or_not(self, engine: Engine, image: str) -> None:
        identity = engine.image_id(image)
        assert identity is not None
        assert identity.startswith("sha256:")
        assert engine.image_id("lab-test-no-such-image:1") is None

    def test_a_network_is_listed_until_it_is_removed(
        self, engine: Engine, pool: IPv4Network, name: str, labels: dict[str, str]
    ) -> None:
        subnet = next(pool.subnets(new_prefix=24))
        identity = engine.create_network(NetworkSpec(name, subnet, labels))
        (listed,) = [network for network in engine.networks() if network.id == identity]
        assert (listed.name, list(listed.subnets)) == (name, [subnet])
        assert dict(listed.labels) == labels
        engine.remove_network(identity)
        engine.remove_network(identity)
        assert identity not in [network.id for network in engine.networks()]

    def test_an_overlapping_subnet_is_taken(
        self, engine: Engine, pool: IPv4Network, name: str, labels: dict[str, str]
    ) -> None:
        wide, *_ = pool.subnets(new_prefix=23)
        engine.create_network(NetworkSpec(name, wide, labels))
        with pytest.raises(SubnetTaken):
            engine.create_network(NetworkSpec(name + "b", next(wide.subnets(new_prefix=24)), labels))

    def test_a_second_network_of_one_name_is_refused(
        self, engine: Engine, pool: IPv4Network, name: str, labels: dict[str, str]
    ) -> None:
        one, two, *_ = pool.subnets(new_prefix=24)
        engine.create_network(NetworkSpec(name, one, labels))
        with pytest.raises(EngineError, match="already exists"):
            engine.create_network(NetworkSpec(name, two, labels))

    def test_a_network_in_use_is_not_removed(
        self, engine: Engine, image: str, pool: IPv4Network, name: str, labels: dict[str, str]
    ) -> None:
        subnet = next(pool.subnets(new_prefix=24))
        network = engine.create_network(NetworkSpec(name, subnet, labels))
        spec = self.spec(image, name, labels, CAT, network=network, address=subnet[10])
        identity = engine.create(spec)
        engine.start(identity)
        with pytest.raises(EngineError, match="active endpoints"):
            engine.remove_network(network)

    def test_an_address_is_given_once(
        self, engine: Engine, image: str, pool: IPv4Network, name: str, labels: dict[str, str]
    ) -> None:
        subnet = next(pool.subnets(new_prefix=24))
        network = engine.create_network(NetworkSpec(name, subnet, labels))
        address = IPv4Address(subnet[10])
        for suffix in ("a", "b"):
            spec = self.spec(image, name + suffix, labels, CAT, network=network, address=address)
            identity = engine.create(spec)
            if suffix == "a":
                engine.start(identity)
        with pytest.raises(EngineError, match="in use"):
            engine.start(identity)

    def test_a_line_comes_back(self, engine: Engine, image: str, name: str, labels: dict[str, str]) -> None:
        identity = engine.create(self.spec(image, name, labels, CAT))
        stream = engine.attach(identity)
        engine.start(identity)
        stream.write(b"hello\nwor")
        stream.write(b"ld\n")
        assert stream.read_line() == b"hello"
        assert stream.read_line() == b"world"
        large = b"x" * 300_000
        stream.write(large + b"\n")
        assert stream.read_line() == large
        stream.close()
        stream.close()
        assert engine.wait(identity, 10) == 0, "the end of the stream is the end of stdin"

    def test_output_status_and_last_words(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = engine.create(self.spec(image, name, labels, TALK))
        stream = engine.attach(identity)
        engine.start(identity)
        assert [stream.read_line() for _ in range(5)] == [b"one", b"two", b"rest", None, None]
        assert engine.wait(identity, 10) == 3
        assert stream.stderr_tail() == "went wrong"
        (state,) = engine.containers({"lab.test": labels["lab.test"]})
        assert (state.id, state.name, state.running, state.exit_code) == (identity, name, False, 3)
        assert dict(state.labels) == labels
        with pytest.raises(EngineError):
            stream.write(b"anybody there?\n")
        stream.close()

    def test_close_wakes_a_reader(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = engine.create(self.spec(image, name, labels, SLEEP))
        stream = engine.attach(identity)
        engine.start(identity)
        got: list[bytes | None] = []
        reader = threading.Thread(target=lambda: got.append(stream.read_line()))
        reader.start()
        stream.close()
        reader.join(10)
        assert got == [None]

    def test_killed_is_137_and_again_is_fine(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = engine.create(self.spec(image, name, labels, SLEEP))
        stream = engine.attach(identity)
        engine.start(identity)
        (state,) = engine.containers({"lab.test": labels["lab.test"]})
        assert (state.running, state.exit_code) == (True, None)
        engine.kill(identity)
        assert engine.wait(identity, 10) == 137
        assert stream.read_line() is None
        stream.close()
        engine.kill(identity)
        engine.remove(identity)
        engine.remove(identity)
        engine.kill(identity)
        assert engine.containers({"lab.test": labels["lab.test"]}) == []

    def test_wait_gives_up_on_time(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = engine.create(self.spec(image, name, labels, SLEEP))
        engine.start(identity)
        with pytest.raises(EngineError, match="stop"):
            engine.wait(identity, 0.05)

    def test_exec(self, engine: Engine, image: str, name: str, labels: dict[str, str]) -> None:
        identity = engine.create(self.spec(image, name, labels, SLEEP))
        engine.start(identity)
        done = engine.exec(identity, TALK, timeout=10)
        assert (done.exit_code, done.stdout, done.stderr) == (3, b"one\ntwo\nrest", b"went wrong")
        with pytest.raises(EngineError, match="sleep 60"):
            engine.exec(identity, SLEEP, timeout=0.2)

    def test_a_file_is_read_while_it_runs_and_after(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = engine.create(self.spec(image, name, labels, FILE))
        stream = engine.attach(identity)
        engine.start(identity)
        assert stream.read_line() == b"ready"
        assert engine.read_file(identity, "/file") == b"content"
        assert engine.disk_used(identity) >= len(b"content")
        with pytest.raises(EngineError, match="/nothing"):
            engine.read_file(identity, "/nothing")
        engine.kill(identity)
        assert engine.read_file(identity, "/file") == b"content"
        stream.close()

    def test_labels_select(self, engine: Engine, image: str, name: str, labels: dict[str, str]) -> None:
        one = engine.create(self.spec(image, name + "a", {**labels, "lab.color": "red"}, CAT))
        two = engine.create(self.spec(image, name + "b", {**labels, "lab.color": "blue"}, CAT))
        mine = {"lab.test": labels["lab.test"]}

        def found(**more: str | None) -> set[str]:
            return {state.id for state in engine.containers({**mine, **more})}

        assert found() == {one, two}
        assert found(**{"lab.color": None}) == {one, two}
        assert found(**{"lab.color": "red"}) == {one}
        assert found(**{"lab.color": "green"}) == set()

    def test_what_is_not_there_is_an_error(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        with pytest.raises(EngineError, match=r"(?i)no such image"):
            engine.create(self.spec("lab-test-no-such-image:1", name, labels, CAT))
        engine.create(self.spec(image, name, labels, CAT))
        with pytest.raises(EngineError, match="already in use"):
            engine.create(self.spec(image, name, labels, CAT))
        for verb in (engine.start, engine.attach):
            with pytest.raises(EngineError, match=r"(?i)no such container"):
                verb("f" * 64)

    def test_threads_share_it(self, engine: Engine, image: str, name: str, labels: dict[str, str]) -> None:
        def round_trip(number: int) -> bytes | None:
            identity = engine.create(self.spec(image, f"{name}-{number}", labels, CAT))
            stream = engine.attach(identity)
            engine.start(identity)
            stream.write(b"%d\n" % number)
            line = stream.read_line()
            stream.close()
            engine.remove(identity)
            return line

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(round_trip, range(4))) == [b"0", b"1", b"2", b"3"]
