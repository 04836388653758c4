"""Between the agent's JSON and the lab's types."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Literal, cast

from lab.errors import UsageError
from lab.evidence.model import CallError, CallRecord, Endpoint, Json, RunRecord, StateSample, StreamRecord
from lab.host.specs import CallSpec, RunSpec
from lab.socket_options import OPTIONS, decode, encode
from lab.units import Duration, Size

PRINTED = (1 << 20) + 64  #: characters of each output of a program: what the agent keeps, and its note
SHOWN = 256  #: bytes of data that a record's arguments show whole

Kind = Literal["tcp", "udp"]


def address(text: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port`."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{text!r} is not an address: host:port, like server:8001")
    return host, int(port)


def encode_arguments(arguments: Mapping[str, Json]) -> dict[str, Json]:
    """As the agent takes them: durations in ns, sizes in bytes, addresses as [host, port]."""
    encoded: dict[str, Json] = {}
    if "option" in arguments:
        encoded |= _option_arguments(str(arguments["option"]), arguments)
    for key, value in arguments.items():
        if "option" in arguments and key in ("option", "value"):
            continue
        if isinstance(value, Duration):
            encoded[key] = value.ns
        elif isinstance(value, Size):
            encoded[key] = value.bytes
        elif key == "to":
            encoded[key] = list(address(value) if isinstance(value, str) else value)
        else:
            encoded[key] = value
    return encoded


def _option_arguments(name: str, arguments: Mapping[str, Json]) -> dict[str, Json]:
    """An option as the agent takes it: level, number, and the bytes of its value, or how many to ask for."""
    option = OPTIONS.get(name)
    if option is None:
        raise UsageError(f"{name!r} is not a socket option of Linux")
    found: dict[str, Json] = {"level": option.level, "number": option.number}
    if "value" not in arguments:
        return found | {"size": option.size}
    value = arguments["value"]
    ns = value.ns if isinstance(value, Duration) else None
    try:
        return found | {"raw": encode(option, None if ns is not None else value, ns=ns).hex()}
    except ValueError as error:
        raise UsageError(str(error)) from error


def shown_arguments(spec: CallSpec) -> dict[str, Json]:
    """As a reader wants them: units as text, long data as {length, sha256}."""
    shown: dict[str, Json] = {}
    for key, value in spec.arguments.items():
        if isinstance(value, Duration | Size):
            shown[key] = str(value)
        elif key == "to" and not isinstance(value, str):
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


def endpoint(raw: Any) -> Endpoint | None:
    return None if raw is None else Endpoint(str(raw[0]), int(raw[1]))


def call_record(host: str, spec: CallSpec, raw: Mapping[str, Any]) -> CallRecord:
    error = raw.get("error")
    data = raw.get("data")
    return CallRecord(
        step=spec.step,
        host=host,
        process=spec.process,
        call=spec.call,
        arguments=shown_arguments(spec),
        socket=raw.get("socket"),
        fd=raw.get("fd"),
        kind=raw.get("kind"),
        start_mono_ns=raw["start_mono_ns"],
        end_mono_ns=raw["end_mono_ns"],
        start_wall_ns=raw["start_wall_ns"],
        end_wall_ns=raw["end_wall_ns"],
        local=endpoint(raw.get("local")),
        remote=endpoint(raw.get("remote")),
        result=_result(spec, raw.get("result")),
        data=None if data is None else base64.b64decode(data),
        length=raw.get("length"),
        sha256=raw.get("sha256"),
        eof=bool(raw.get("eof")),
        peer=endpoint(raw.get("peer")),
        truncated=raw.get("truncated"),
        error=None if error is None else CallError(error["name"], error["errno"], error["message"]),
        notes=tuple(raw.get("notes", ())),
    )


def _result(spec: CallSpec, result: Json) -> Json:
    if spec.call != "getsockopt" or result is None:
        return result
    return decode(OPTIONS[spec.arguments["option"]], bytes.fromhex(result))


def run_record(host: str, spec: RunSpec, raw: Mapping[str, Any], limit: str | None = None) -> RunRecord:
    """`limit` is what is said of a limit that the program ran into; it comes before the error it led to."""
    return RunRecord(
        step=spec.step,
        host=host,
        command=tuple(spec.argv),
        exit_code=raw["exit_code"],
        stdout=_bounded(raw["stdout"]),
        stderr=_bounded(raw["stderr"]),
        start_mono_ns=raw["start_mono_ns"],
        end_mono_ns=raw["end_mono_ns"],
        start_wall_ns=raw["start_wall_ns"],
        end_wall_ns=raw["end_wall_ns"],
        error=raw["error"] if limit is None else limit,
    )


def _bounded(text: str) -> str:
    """The agent cuts what a program prints and says so; this holds where it did not."""
    if len(text) <= PRINTED:
        return text
    return f"{text[:PRINTED]}\n… ({len(text) - PRINTED} characters more)"


def stream_record(host: str, raw: Mapping[str, Any]) -> StreamRecord:
    return StreamRecord(
        host=host,
        process=raw["process"],
        socket=raw["socket"],
        local=Endpoint(*raw["local"]),
        remote=Endpoint(*raw["remote"]),
        sent_bytes=raw["sent"],
        sent_sha256=raw["sent_sha256"],
        received_bytes=raw["received"],
        received_sha256=raw["received_sha256"],
    )


def state_sample(host: str, raw: Mapping[str, Any]) -> StateSample:
    return StateSample(
        host=host,
        wall_ns=raw["wall_ns"],
        kind=cast(Kind, raw["kind"]),
        local=Endpoint(*raw["local"]),
        remote=endpoint(raw["remote"]),
        state=raw["state"],
        recv_queue=raw["recv_queue"],
        send_queue=raw["send_queue"],
        final=raw.get("final", False),
        timer=raw.get("timer"),
        left_ns=raw["left_ms"] * 1_000_000 if raw.get("left_ms") else None,
    )
