"""What every engine must do: the same tests run against the fake one and against Docker.

The containers run the few commands named here; `shell` is what the fake engine runs for them.
"""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from typing import Any, BinaryIO

import pytest
from msgspec.structs import replace

from lab.engine.base import (
    LABEL_ROLE,
    LINE_LIMIT,
    ContainerSpec,
    Engine,
    Healthcheck,
    Limits,
    LogStream,
    Mount,
    NetworkSpec,
)
from lab.engine.service import fill_volume, stop
from lab.errors import EngineError, SubnetTaken
from tests.fake_engine import FakeProcess

CAT = ["cat"]
TALK = ["sh", "-c", "printf 'one\\ntwo\\nrest'; printf 'went wrong' >&2; exit 3"]
COUNT = ["printf", "one\\ntwo\\nrest"]
FILE = ["sh", "-c", "printf content > /file; echo ready; cat"]
SLEEP = ["sleep", "60"]
TRAP = ["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done"]
DEAF = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.02; done"]
GREEDY = ["sh", "-c", "sleep 0.3; exec tail /dev/zero"]
WHO = ["sh", "-c", 'echo "$(id -u) $PWD $COLOUR"']
FLOOD = ["sh", "-c", 'i=0; while [ $i -lt 2000 ]; do echo "line $i of a flood"; i=$((i+1)); done']
LONG = ["sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo short"]


def archive_of(files: Mapping[str, bytes]) -> BinaryIO:
    """A tar of these files (path → content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), 0o444
            archive.addfile(entry, io.BytesIO(content))
    buffer.seek(0)
    return buffer


def shell(process: FakeProcess) -> int:
    """The commands above, for the fake engine."""
    if process.argv == CAT:
        return _cat(process)
    if process.argv == TALK:
        process.write(b"one\ntwo\nrest")
        process.error(b"went wrong")
        return 3
    if process.argv == COUNT:
        process.write(b"one\ntwo\nrest")
        return 0
    if process.argv == FILE:
        process.files["/file"] = b"content"
        process.write(b"ready\n")
        return _cat(process)
    if process.argv == SLEEP:
        process.pause()
    if process.argv in (TRAP, DEAF):
        process.write(b"ready\n")
        while process.next_signal() != "TERM" or process.argv == DEAF:
            pass
        return 7
    if process.argv == GREEDY:
        process.exhaust_memory()
    if process.argv == WHO:
        who = f"{process.user or 0} {process.working_dir or '/'} {process.environment.get('COLOUR', '')}\n"
        process.write(who.encode())
        return 0
    if process.argv == FLOOD:
        for number in range(2000):
            process.write(b"line %d of a flood\n" % number)
        return 0
    if process.argv == LONG:
        process.write(b"x" * 100_000 + b"\nshort\n")
        return 0
    if process.argv == ["cat", "/file"]:
        if "/file" not in process.files:
            return 1
        process.write(process.files["/file"])
        return 0
    return 127


def contents(engine: Engine, container_id: str, path: str) -> bytes:
    """A small file of a container."""
    content = io.BytesIO()
    engine.copy_out(container_id, path, content, 64 << 20)
    return content.getvalue()


def _cat(process: FakeProcess) -> int:
    while (line := process.read_line()) is not None:
        process.write(line + b"\n")
    return 0


class EngineCompliance:
    """Inherit, and give the fixtures `engine`, `image` (a tag) and `pool` (a /16 that is free)."""

    patience = 0.2  #: seconds after which what does not end is given up; how long that is tells nothing

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
        for volume in engine.volumes({"lab.test": labels["lab.test"]}):
            engine.remove_volume(volume.name)

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
            engine.wait(identity, self.patience)

    def test_exec(self, engine: Engine, image: str, name: str, labels: dict[str, str]) -> None:
        identity = engine.create(self.spec(image, name, labels, SLEEP))
        engine.start(identity)
        done = engine.exec(identity, TALK, timeout=10)
        assert (done.exit_code, done.stdout, done.stderr) == (3, b"one\ntwo\nrest", b"went wrong")
        with pytest.raises(EngineError, match="sleep 60"):
            engine.exec(identity, SLEEP, timeout=self.patience)

    def test_a_file_is_read_while_it_runs_and_after(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = engine.create(self.spec(image, name, labels, FILE))
        stream = engine.attach(identity)
        engine.start(identity)
        assert stream.read_line() == b"ready"
        assert contents(engine, identity, "/file") == b"content"
        assert engine.disk_used(identity) >= len(b"content")
        with pytest.raises(EngineError, match="/nothing"):
            contents(engine, identity, "/nothing")
        with pytest.raises(EngineError, match=r"not a file|no such file"):
            contents(engine, identity, "/etc")
        with pytest.raises(EngineError, match="7 bytes; at most 6"):
            engine.copy_out(identity, "/file", io.BytesIO(), 6)
        engine.kill(identity)
        assert contents(engine, identity, "/file") == b"content"
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

    # Services: containers without stdin

    def started(self, engine: Engine, spec: ContainerSpec) -> str:
        identity = engine.create(spec)
        engine.start(identity)
        return identity

    def ready(self, engine: Engine, identity: str) -> LogStream:
        """Its log, when it has written `ready`."""
        log = engine.logs(identity, follow=True)
        line = log.read()
        assert line is not None
        assert (line.stream, line.text) == ("stdout", b"ready")
        return log

    def test_a_log_has_stamps_and_both_streams_apart(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        before = time.time_ns()
        identity = self.started(engine, self.spec(image, name, labels, TALK, stdin=False))
        log = engine.logs(identity, follow=True)
        lines = list(iter(log.read, None))
        after = time.time_ns()
        log.close()
        log.close()
        assert [line.text for line in lines if line.stream == "stdout"] == [b"one", b"two", b"rest"]
        assert [line.text for line in lines if line.stream == "stderr"] == [b"went wrong"]
        assert all(before <= line.time_ns <= after for line in lines)
        assert engine.wait(identity, 10) == 3
        again = list(iter(engine.logs(identity).read, None))
        assert again == lines, "a log can be read again when all is over"

    def test_only_the_last_lines_of_a_log_are_read(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        """Of one stream: which of two pipes the engine empties first is not said."""
        identity = self.started(engine, self.spec(image, name, labels, COUNT, stdin=False))
        assert engine.wait(identity, 10) == 0
        for last, texts in ((1, [b"rest"]), (2, [b"two", b"rest"]), (9, [b"one", b"two", b"rest"])):
            lines = list(iter(engine.logs(identity, last=last).read, None))
            assert [line.text for line in lines] == texts

    def test_a_long_line_is_one_line_up_to_a_limit(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = self.started(engine, self.spec(image, name, labels, LONG, stdin=False))
        log = engine.logs(identity, follow=True)
        long, short = iter(log.read, None)
        assert (long.text, long.whole) == (b"x" * LINE_LIMIT, False)
        assert (short.text, short.whole) == (b"short", True)

    def test_a_meter_counts_all_that_is_written(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = engine.create(self.spec(image, name, labels, FLOOD, stdin=False))
        meter = engine.meter(identity)
        engine.start(identity)
        written = sum(iter(meter.read, None))
        meter.close()
        meter.close()
        assert written == sum(len(line.text) + 1 for line in iter(engine.logs(identity).read, None))

    def test_who_follows_a_log_gets_its_end(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        for number in range(8):
            spec = self.spec(image, f"{name}-{number}", labels, TALK, stdin=False)
            log = engine.logs(self.started(engine, spec), follow=True)
            lines = sorted(line.text for line in iter(log.read, None))
            assert lines == [b"one", b"rest", b"two", b"went wrong"]

    def test_the_log_of_a_removed_container_ends(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = self.started(engine, self.spec(image, name, labels, DEAF, stdin=False))
        log = self.ready(engine, identity)
        engine.remove(identity)
        assert log.read() is None

    @pytest.mark.parametrize("limit", [8 << 20, 20_000])
    def test_of_a_log_the_end_is_kept(
        self, engine: Engine, image: str, name: str, labels: dict[str, str], limit: int
    ) -> None:
        spec = self.spec(image, name, labels, FLOOD, stdin=False, limits=Limits(log=limit))
        identity = self.started(engine, spec)
        assert engine.wait(identity, 30) == 0
        lines = [line.text for line in iter(engine.logs(identity).read, None)]
        assert lines[-1] == b"line 1999 of a flood"
        assert (lines[0] == b"line 0 of a flood") == (limit > 1 << 20)
        assert len(b"".join(lines)) <= limit

    def test_close_wakes_a_reader_of_a_log(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = self.started(engine, self.spec(image, name, labels, DEAF, stdin=False))
        log = self.ready(engine, identity)
        got: list[object] = []
        reader = threading.Thread(target=lambda: got.append(log.read()))
        reader.start()
        log.close()
        reader.join(10)
        assert got == [None]

    def test_stdin_of_a_service_is_empty(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = self.started(engine, self.spec(image, name, labels, CAT, stdin=False))
        assert engine.wait(identity, 10) == 0

    def test_its_state_before_while_and_after(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        spec = self.spec(image, name, labels, TRAP, stdin=False, stop_signal="SIGTERM")
        identity = engine.create(spec)
        state = engine.inspect(identity)
        assert (state.running, state.exit_code, state.started_ns, state.health) == (False, None, None, None)
        before = time.time_ns()
        engine.start(identity)
        self.ready(engine, identity).close()
        state = engine.inspect(identity)
        assert (state.running, state.paused, state.exit_code, state.finished_ns) == (True, False, None, None)
        assert state.stop_signal == "SIGTERM"
        assert stop(engine, identity, None, grace=10)
        state = engine.inspect(identity)
        assert (state.running, state.exit_code, state.signal, state.oom_killed) == (False, 7, None, False)
        assert state.started_ns is not None
        assert state.finished_ns is not None
        assert before <= state.started_ns <= state.finished_ns <= time.time_ns()
        assert stop(engine, identity, None, grace=10), "again is fine"
        engine.start(identity)
        state = engine.inspect(identity)
        assert (state.running, state.exit_code) == (True, None), "it can be started again"

    def test_what_does_not_end_in_time_is_killed(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = self.started(engine, self.spec(image, name, labels, DEAF, stdin=False))
        self.ready(engine, identity).close()
        assert not stop(engine, identity, "SIGTERM", grace=self.patience)
        state = engine.inspect(identity)
        assert (state.running, state.exit_code, state.signal, state.oom_killed) == (False, 137, 9, False)

    def test_what_runs_out_of_memory_says_so(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        spec = self.spec(image, name, labels, GREEDY, stdin=False, limits=Limits(memory=16 << 20))
        identity = self.started(engine, spec)
        assert engine.wait(identity, 30) == 137
        assert engine.inspect(identity).oom_killed

    def test_wait_yields_when_it_ends_and_not_later(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = self.started(engine, self.spec(image, name, labels, TRAP, stdin=False))
        self.ready(engine, identity).close()
        waited: list[int] = []
        waiter = threading.Thread(target=lambda: waited.append(engine.wait(identity, 30)))
        waiter.start()
        engine.kill(identity, "TERM")
        waiter.join(10)
        assert waited == [7]

    def test_paused_it_does_nothing_and_can_be_killed(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = self.started(engine, self.spec(image, name, labels, TRAP, stdin=False))
        self.ready(engine, identity).close()
        engine.pause(identity)
        state = engine.inspect(identity)
        assert (state.running, state.paused) == (True, True)
        engine.kill(identity, "TERM")
        with pytest.raises(EngineError, match="stop"):
            engine.wait(identity, self.patience)
        engine.unpause(identity)
        engine.unpause(identity)
        assert engine.wait(identity, 10) == 7, "the signal had waited"
        with pytest.raises(EngineError, match="not running"):
            engine.pause(identity)
        engine.start(identity)
        engine.pause(identity)
        engine.kill(identity)
        assert engine.wait(identity, 10) == 137

    def test_health(self, engine: Engine, image: str, name: str, labels: dict[str, str]) -> None:
        check = Healthcheck(("CMD", "cat", "/file"), interval=0.1, timeout=5, retries=1)
        for wanted in ("healthy", "unhealthy"):
            spec = self.spec(image, f"{name}-{wanted}", labels, SLEEP, stdin=False, healthcheck=check)
            identity = engine.create(spec)
            if wanted == "healthy":
                engine.put_archive(identity, "/", archive_of({"/file": b"all is well"}))
            engine.start(identity)
            for _ in range(100):
                state = engine.inspect(identity)
                if state.health == wanted:
                    break
                assert state.health in ("starting", wanted)
                time.sleep(0.1)
            assert state.health == wanted
            if wanted == "healthy":
                assert state.health_output == "all is well"

    def test_user_folder_and_environment(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        spec = self.spec(image, name, labels, WHO[1:], stdin=False, entrypoint=["sh"], user="65534")
        spec = replace(spec, working_dir="/tmp", environment={"COLOUR": "red"})
        identity = self.started(engine, spec)
        (line,) = iter(engine.logs(identity, follow=True).read, None)
        assert line.text == b"65534 /tmp red"
        identity = self.started(engine, replace(spec, name=name + "b", entrypoint=None, command=SLEEP))
        assert engine.exec(identity, WHO).stdout == b"65534 /tmp red\n", "exec has the container's own"
        done = engine.exec(identity, WHO, user="12", environment={"COLOUR": "blue"})
        assert done.stdout == b"12 /tmp blue\n"

    def test_output_of_exec_is_bounded_or_handed_over(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = self.started(engine, self.spec(image, name, labels, SLEEP))
        done = engine.exec(identity, TALK, limit=5)
        assert (done.exit_code, done.stdout, done.stderr) == (3, b"one\nt", b"went ")
        got = {"stdout": b"", "stderr": b""}

        def each(stream: str, data: bytes) -> None:
            got[stream] += data

        done = engine.exec(identity, TALK, each=each)
        assert (done.exit_code, done.stdout, done.stderr) == (3, b"", b"")
        assert got == {"stdout": b"one\ntwo\nrest", "stderr": b"went wrong"}

    def test_files_are_put_in_before_it_starts(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = engine.create(self.spec(image, name, labels, ["cat", "/file"], stdin=False))
        assert not engine.exists(identity, "/file")
        engine.put_archive(identity, "/", archive_of({"file": b"put in\n", "etc/sub/other": b"x"}))
        assert engine.exists(identity, "/file")
        assert engine.exists(identity, "/etc/sub")
        with pytest.raises(EngineError, match=r"(?i)no such container"):
            engine.exists("f" * 64, "/file")
        engine.start(identity)
        (line,) = iter(engine.logs(identity, follow=True).read, None)
        assert line.text == b"put in"
        assert contents(engine, identity, "/etc/sub/other") == b"x"
        engine.wait(identity, 10)
        assert engine.disk_used(identity) >= len("put in\nx")

    def test_a_read_only_container_takes_no_files(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        identity = engine.create(self.spec(image, name, labels, CAT, read_only=True))
        with pytest.raises(EngineError, match="read-only"):
            engine.put_archive(identity, "/", archive_of({"file": b"x"}))

    def test_volumes(self, engine: Engine, image: str, name: str, labels: dict[str, str]) -> None:
        mine = {"lab.test": labels["lab.test"]}
        engine.create_volume(name, labels)
        with pytest.raises(EngineError, match="already in use"):
            engine.create_volume(name, labels)
        assert [(v.name, dict(v.labels)) for v in engine.volumes(mine)] == [(name, labels)]
        fill_volume(engine, name, archive_of({"/sub/file": b"content"}), image=image, labels=labels)
        spec = self.spec(image, name, labels, SLEEP, mounts=[Mount(name, "/data", read_only=True)])
        identity = self.started(engine, replace(spec, read_only=True))
        assert contents(engine, identity, "/data/sub/file") == b"content"
        with pytest.raises(EngineError, match="read-only"):
            engine.put_archive(identity, "/data", archive_of({"file": b"x"}))
        with pytest.raises(EngineError, match="in use"):
            engine.remove_volume(name)
        engine.remove(identity)
        engine.remove_volume(name)
        engine.remove_volume(name)
        assert engine.volumes(mine) == []

    def test_a_joined_container_has_no_name_of_its_own(
        self, engine: Engine, image: str, name: str, labels: dict[str, str]
    ) -> None:
        host = self.started(engine, self.spec(image, name, labels, CAT))
        for more in ({"hostname": "other"}, {"hosts": {"db": "198.18.0.1"}}):
            with pytest.raises(EngineError, match="conflicting options"):
                engine.create(self.spec(image, name + "b", labels, CAT, join=host, **more))
