"""Between the agent's JSON and the lab's types."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lab.errors import UsageError
from lab.evidence.model import CallError, CallRecord, Endpoint, Json, RunRecord, StateSample, StreamRecord
from lab.host.reply import Nonsense, Reply
from lab.host.specs import CallSpec, Moment, RunSpec
from lab.limits import Limits
from lab.socket_options import OPTIONS, decode, encode
from lab.units import Duration

PRINTED = (1 << 20) + 64  #: characters of each output of a program: what the agent keeps, plus its note
SHOWN = 256  #: bytes of data that a record's arguments show whole

Kind = Literal["tcp", "udp"]
Times = tuple[int, int]  #: one moment: ns on the monotonic clock, and on the wall clock
LIMITS = Limits.__struct_fields__  #: words of lab.yml
KINDS: tuple[Kind, Kind] = ("tcp", "udp")


def encode_arguments(arguments: Mapping[str, Json]) -> dict[str, Json]:
    """As the agent takes them: an option is its level, number, and the bytes of its value, or how many to
    ask for."""
    if "option" not in arguments:
        return dict(arguments)
    name = arguments["option"]
    option = OPTIONS.get(name)
    if option is None:
        raise UsageError(f"{name!r} is not a socket option of Linux")
    encoded = {key: value for key, value in arguments.items() if key not in ("option", "value")}
    encoded |= {"level": option.level, "number": option.number}
    if "value" not in arguments:
        return encoded | {"size": option.size}
    value = arguments["value"]
    ns = value.ns if isinstance(value, Duration) else None
    try:
        return encoded | {"raw": encode(option, None if ns is not None else value, ns=ns).hex()}
    except ValueError as error:
        raise UsageError(str(error)) from error


def shown_arguments(spec: CallSpec) -> dict[str, Json]:
    """As a reader wants them: units as text, long data as {length, sha256}."""
    shown: dict[str, Json] = {}
    for key, value in spec.arguments.items():
        if isinstance(value, Duration):
            shown[key] = str(value)
        elif key == "to":
            shown[key] = str(Endpoint(*value))
        elif key == "data":
            shown[key] = _shown_data(value)
        elif key == "value" and spec.call == "settimeout":
            shown[key] = "none" if value is None else str(Duration(value))
        else:
            shown[key] = value
    if spec.timeout is not None:
        shown["timeout"] = str(spec.timeout)
    return shown


def _shown_data(data: Json) -> Json:
    text = data["text"] if isinstance(data, Mapping) and "text" in data else data
    if isinstance(text, str):
        raw, short = text.encode(), text
    elif "hex" in text:
        raw, short = bytes.fromhex(text["hex"]), text
    else:
        return text  # a recipe says in a few words what it makes
    if len(raw) <= SHOWN:
        return short
    return {"length": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def call_record(host: str, spec: CallSpec, raw: Any) -> CallRecord:
    """Raises `Nonsense` where the reply is not a record of a call."""
    reply = Reply(raw)
    error = None if reply.json("error") is None else reply.object("error")
    return CallRecord(
        step=spec.step,
        host=host,
        process=spec.process,
        call=spec.call,
        arguments=shown_arguments(spec),
        socket=reply.optional(reply.text, "socket"),
        fd=reply.optional(reply.integer, "fd"),
        kind=reply.one_of("kind", None, *KINDS),
        start_mono_ns=reply.integer("start_mono_ns"),
        end_mono_ns=reply.integer("end_mono_ns"),
        start_wall_ns=reply.integer("start_wall_ns"),
        end_wall_ns=reply.integer("end_wall_ns"),
        local=reply.optional(reply.endpoint, "local"),
        remote=reply.optional(reply.endpoint, "remote"),
        result=_result(spec, reply.json("result")),
        data=reply.optional(reply.base64, "data"),
        length=reply.optional(reply.integer, "length"),
        sha256=reply.optional(reply.text, "sha256"),
        eof=bool(reply.optional(reply.flag, "eof")),
        peer=reply.optional(reply.endpoint, "peer"),
        truncated=reply.optional(reply.flag, "truncated"),
        error=None
        if error is None
        else CallError(error.text("name"), error.optional(error.integer, "errno"), error.text("message")),
        notes=reply.texts("notes"),
    )


def _result(spec: CallSpec, result: Json) -> Json:
    if spec.call != "getsockopt" or result is None:
        return result
    try:
        return decode(OPTIONS[spec.arguments["option"]], bytes.fromhex(result))
    except (TypeError, ValueError, struct.error):
        raise Nonsense("result is not the bytes of a socket option") from None


def run_record(host: str, spec: RunSpec, raw: Any, limit: str | None = None) -> RunRecord:
    """`limit` describes a limit that the program ran into; it precedes the error it led to.

    Raises `Nonsense` where the reply is not a record of a program.
    """
    reply = Reply(raw)
    error = reply.optional(reply.text, "error")
    return RunRecord(
        step=spec.step,
        host=host,
        command=tuple(spec.argv),
        exit_code=reply.optional(reply.integer, "exit_code"),
        stdout=_bounded(reply.long_text("stdout")),
        stderr=_bounded(reply.long_text("stderr")),
        start_mono_ns=reply.integer("start_mono_ns"),
        end_mono_ns=reply.integer("end_mono_ns"),
        start_wall_ns=reply.integer("start_wall_ns"),
        end_wall_ns=reply.integer("end_wall_ns"),
        error=error if limit is None else limit,
    )


def unheard_record(
    host: str, step: str, command: Sequence[str], began: Times, ended: Times, error: str, **more: Any
) -> RunRecord:
    """The record of a program of whose output and status nothing is known: it never ran, or ended with its
    container. `more` are further fields."""
    (mono, wall), (end_mono, end_wall) = began, ended
    return RunRecord(step, host, tuple(command), None, "", "", mono, end_mono, wall, end_wall, error, **more)


def limits_hit(raw: Any) -> tuple[str, ...]:
    """The limits of lab.yml that a program ran into."""
    words = Reply(raw).texts("limits")
    if unknown := next((word for word in words if word not in LIMITS), None):
        raise Nonsense(f"limits names {unknown[:50]!a}, which is none")
    return words


def _bounded(text: str) -> str:
    """The agent cuts what a program prints and says so; this limits the output where it did not."""
    if len(text) <= PRINTED:
        return text
    return f"{text[:PRINTED]}\n… ({len(text) - PRINTED} characters more)"


def stream_record(host: str, raw: Any) -> StreamRecord:
    reply = Reply(raw)
    return StreamRecord(
        host=host,
        process=reply.text("process"),
        socket=reply.text("socket"),
        local=reply.endpoint("local"),
        remote=reply.endpoint("remote"),
        sent_bytes=reply.integer("sent"),
        sent_sha256=reply.text("sent_sha256"),
        received_bytes=reply.integer("received"),
        received_sha256=reply.text("received_sha256"),
    )


def state_sample(host: str, raw: Any) -> StateSample:
    reply = Reply(raw)
    left = reply.optional(reply.integer, "left_ms")
    return StateSample(
        host=host,
        wall_ns=reply.integer("wall_ns"),
        kind=reply.one_of("kind", *KINDS),
        local=reply.endpoint("local"),
        remote=reply.optional(reply.endpoint, "remote"),
        state=reply.text("state"),
        recv_queue=reply.integer("recv_queue"),
        send_queue=reply.integer("send_queue"),
        final=bool(reply.optional(reply.flag, "final")),
        timer=reply.optional(reply.text, "timer"),
        left_ns=left * 1_000_000 if left else None,
    )


def moment(raw: Any) -> Moment:
    reply = Reply(raw)
    return Moment(reply.integer("wall_ns"), reply.integer("mono_ns"))
