"""The control channel against a scripted stream: order, refusals, death, nonsense."""

from __future__ import annotations

import json
import queue
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest

from lab.errors import AgentError, EngineError
from lab.host.channel import AgentRefused, Channel


class ScriptedStream:
    """What is put into `lines` the channel reads; what it writes is in `written`."""

    def __init__(self, tail: str = "") -> None:
        self.lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.written: list[dict[str, Any]] = []
        self.broken = False
        self.tail = tail

    def say(self, message: Mapping[str, Any]) -> None:
        self.lines.put(json.dumps(message).encode())

    def write(self, data: bytes) -> None:
        if self.broken:
            raise EngineError("the container is gone")
        assert data.endswith(b"\n")
        self.written.append(json.loads(data))

    def read_line(self) -> bytes | None:
        return self.lines.get()

    def stderr_tail(self) -> str:
        return self.tail

    def close(self) -> None:
        self.lines.put(None)


def test_replies_find_their_requests_in_any_order() -> None:
    stream = ScriptedStream()
    with closing(Channel(stream, "client")) as channel:
        first, second = channel.submit("counters"), channel.submit("sysctls", names=["a"])
        assert stream.written == [{"id": 1, "op": "counters"}, {"id": 2, "op": "sysctls", "names": ["a"]}]
        stream.say({"id": 2, "ok": "two"})
        stream.say({"id": 1, "ok": "one"})
        assert (first.result(1), second.result(1)) == ("one", "two")


def test_ready_and_other_events_are_told() -> None:
    events: list[Mapping[str, Any]] = []
    stream = ScriptedStream()
    with closing(Channel(stream, "client", on_event=events.append)) as channel:
        stream.say({"event": "ready", "kernel": "6.1"})
        assert channel.wait_ready(1)["kernel"] == "6.1"
        stream.say({"event": "begun", "step": "a"})
        future = channel.submit("counters")
        stream.say({"id": 1, "ok": None})
        future.result(1)
    assert events == [{"event": "begun", "step": "a"}]


def test_a_refusal_says_who_what_and_why() -> None:
    stream = ScriptedStream()
    with closing(Channel(stream, "client")) as channel:
        future = channel.submit("call")
        stream.say({"id": 1, "error": {"kind": "name", "message": "no socket 'x'"}})
        with pytest.raises(AgentRefused, match=r"^client: call: no socket 'x'$") as refused:
            future.result(1)
        assert refused.value.kind == "name"


def test_death_fails_what_is_pending_and_what_comes_later_with_the_last_words() -> None:
    stream = ScriptedStream("Traceback: boom\n")
    channel = Channel(stream, "server")
    pending = channel.submit("call")
    stream.lines.put(None)
    with pytest.raises(AgentError, match=r"(?s)server: call: the agent is gone: its output ended.*boom"):
        pending.result(1)
    with pytest.raises(AgentError, match="boom"):
        channel.request("counters", timeout=1)
    with pytest.raises(AgentError, match="server: start: the agent is gone"):
        channel.wait_ready(1)
    channel.close()


def test_a_write_to_a_dead_container_is_an_agent_error() -> None:
    stream = ScriptedStream()
    stream.broken = True
    with (
        closing(Channel(stream, "server")) as channel,
        pytest.raises(AgentError, match="the container is gone"),
    ):
        channel.request("counters", timeout=1)


def test_no_reply_in_time() -> None:
    with (
        closing(Channel(ScriptedStream("slow"), "server")) as channel,
        pytest.raises(AgentError, match=r"(?s)server: no reply to counters within 0.01 s.*slow"),
    ):
        channel.request("counters", timeout=0.01)


@pytest.mark.parametrize("line", [b"hello", b"[1]", b'{"id": 99, "ok": 1}'])
def test_nonsense_ends_the_channel(line: bytes) -> None:
    stream = ScriptedStream()
    with closing(Channel(stream, "server")) as channel:
        future = channel.submit("counters")
        stream.lines.put(line)
        with pytest.raises(AgentError, match="server: counters: the agent is gone: it "):
            future.result(1)


def test_closing_fails_what_is_pending() -> None:
    channel = Channel(ScriptedStream(), "server")
    future = channel.submit("call")
    channel.close()
    channel.close()
    with pytest.raises(AgentError, match="the lab closed the channel"):
        future.result(1)
