"""A run folder's evidence: `events.jsonl` ⇄ `Records`, and the captures under `pcap/`.

`events.jsonl` has one JSON object on each line, with its `kind`: first the version, then the facts of the
whole case, then the events in order of time. Bytes are written as `{"text": …}` or `{"hex": …}`.
"""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from io import TextIOWrapper
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct, ValidationError

from lab.attachment import NETWORK
from lab.errors import UsageError
from lab.evidence import model
from lab.evidence.model import Json, Records
from lab.evidence.packets import Capture
from lab.evidence.reader import read_capture
from lab.evidence.sound import unsound
from lab.evidence.trace import Trace
from lab.files import EVENTS, opened, replacing
from lab.numbers import read_json
from lab.plain import plain, read_plain
from lab.tolerance import Tolerance

EVENTS_FILE = "events.jsonl"
EVENTS_VERSION = 1
MAX_LINE = 160 << 20  #: bytes of one of its lines: 64 MB of a call, in hex
_OWN_KIND = (
    "type"  #: the key for a record's own `kind` (of a socket, of a wire), as the line has a `kind` too
)


class Evidence(Struct, frozen=True, dict=True):
    """The input of the checks and the report: the records and the packets."""

    records: Records
    captures: Mapping[str, Capture]  #: by host name

    @cached_property
    def trace(self) -> Trace:
        return Trace(self.captures, self.records)


class _Kind(Struct, frozen=True):
    """How one kind of line maps to a field of `Records`; without `at` it comes before the timed ones."""

    name: str
    field: str
    record: type[Any]
    at: Callable[[Any], int] | None = None
    shape: str = "tuple"  #: tuple, mapping (by the record's host or name), or one


_KINDS = (
    _Kind("host", "hosts", model.HostFacts, shape="mapping"),
    _Kind("tolerance", "tolerance", Tolerance, shape="one"),
    _Kind("wire", "wire", model.WireFacts, shape="one"),
    _Kind("capture", "captures", model.CaptureFacts),
    _Kind("counters", "counters", model.CounterRecord, shape="mapping"),
    _Kind("stream", "streams", model.StreamRecord),
    _Kind("step", "steps", model.StepRecord, lambda r: r.start_wall_ns),
    _Kind("wire event", "wire_events", model.WireEvent, lambda r: r.wall_ns),
    _Kind("call", "calls", model.CallRecord, lambda r: r.start_wall_ns),
    _Kind("run", "runs", model.RunRecord, lambda r: r.start_wall_ns),
    _Kind(
        "service",
        "services",
        model.ServiceRecord,
        lambda r: r.started_wall_ns or r.ended_wall_ns or 0,
    ),
    _Kind("log", "logs", model.LogRecord, lambda r: r.wall_ns),
    _Kind("state", "states", model.StateSample, lambda r: r.wall_ns),
)
_BY_NAME = {kind.name: kind for kind in _KINDS}


def _plain(value: object) -> Json:
    """Convert what json.dumps cannot write by itself."""
    if isinstance(value, bytes):
        text = value.decode("utf-8", "replace")
        whole = text.encode() == value and all(c.isprintable() or c in "\r\n\t" for c in text)
        return {"text": text} if whole else {"hex": value.hex()}
    if isinstance(value, Decimal | IPv4Address | IPv6Address):
        return str(value)
    raise TypeError(f"{type(value).__name__} in a record: {value!r}")


def _bytes(value: Json) -> bytes | None:
    if value is None:
        return None
    return value["text"].encode() if "text" in value else bytes.fromhex(value["hex"])


def _records_of(records: Records, kind: _Kind) -> Iterable[Any]:
    held = getattr(records, kind.field)
    if kind.shape == "mapping":
        return list(held.values())
    if kind.shape == "one":
        return () if held is None else (held,)
    return list(held)


def _timed(kind: _Kind, records: Iterable[Any]) -> Iterator[tuple[int, int, _Kind, Any]]:
    """The records with times that never decrease, so merging keeps the order within a kind."""
    assert kind.at is not None
    now = 0
    for record in records:
        now = max(now, kind.at(record))
        yield now, _KINDS.index(kind), kind, record


def _lines(records: Records) -> Iterator[tuple[_Kind, Any]]:
    for kind in _KINDS:
        if kind.at is None:
            for record in _records_of(records, kind):
                yield kind, record
    streams = [_timed(kind, _records_of(records, kind)) for kind in _KINDS if kind.at is not None]
    for _, _, kind, record in heapq.merge(*streams, key=lambda item: item[:2]):
        yield kind, record


def write_records(folder: Path, records: Records) -> Path:
    """Write `events.jsonl` into a run folder, and give its path."""
    path = folder / EVENTS_FILE
    with replacing(path) as raw, TextIOWrapper(raw, encoding="utf-8", errors="surrogatepass") as file:
        file.write(json.dumps({"kind": "lab events", "version": EVENTS_VERSION}) + "\n")
        for kind, record in _lines(records):
            fields = plain(record, defaults=kind.name == "tolerance")
            if "kind" in fields:
                fields[_OWN_KIND] = fields.pop("kind")
            line = {"kind": kind.name, **fields}
            file.write(json.dumps(line, default=_plain, ensure_ascii=False) + "\n")
    return path


def read_records(folder: Path) -> Records:
    """Read `events.jsonl`. Raises `UsageError` if it is missing, broken or of another version."""
    path = folder / EVENTS_FILE
    try:
        with opened(path, EVENTS, folder) as raw, open(os.dup(raw.fileno()), "rb") as file:
            return _assemble(path, _bounded_lines(path, file))
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder}: no {EVENTS_FILE} in it: not a run folder", hint="look in runs/, or at runs/latest"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path}: cannot be read: {why}") from error


def _bounded_lines(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, none longer than a record can be."""
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise UsageError(f"{path}: a line is longer than {MAX_LINE:,} bytes: not a line of events")
        yield line


def _assemble(path: Path, file: Iterable[bytes]) -> Records:
    held: dict[str, list[Any]] = {}
    for number, text in enumerate(file, 1):
        try:
            line = read_json(text.decode("utf-8", "surrogatepass"))
            name = line.pop("kind")
            if number == 1:
                _check_version(path, name, line)
                continue
            kind = _BY_NAME[name]
            if _OWN_KIND in line:
                line["kind"] = line.pop(_OWN_KIND)
            if "data" in line:
                line["data"] = _bytes(line["data"])
            if name == "host" and "attachments" not in line:
                line = _attached(line)
            record = read_plain(line, kind.record)
            if wrong := unsound(record):
                raise UsageError(f"{path}:{number}: {name}: {wrong}")
            held.setdefault(kind.field, []).append(record)
        except ValidationError as error:
            raise UsageError(f"{path}:{number}: {name}: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f"{path}:{number}: not a line of events: {error}") from error
    if not held:
        raise UsageError(f"{path}: no events in it")
    return Records(
        **{kind.field: _shaped(kind, held.get(kind.field, [])) for kind in _KINDS if _wanted(kind, held)}
    )


def _attached(line: dict[str, Any]) -> dict[str, Any]:
    """A host in the format before attachments: one address in a /24, one MAC, one link."""
    address, mac, link = line.pop("address"), line.pop("mac"), line.pop("link", {})
    number = int(str(address).rpartition(".")[2])
    place = {"host": line["name"], "network": NETWORK, "number": number, "mac": mac, "link": link}
    return {**line, "attachments": [{**place, "addresses": {"ipv4": address}, "prefixes": {"ipv4": 24}}]}


def _wanted(kind: _Kind, held: Mapping[str, Sequence[Any]]) -> bool:
    """Whether a field is set: without a line, a field with a default keeps it."""
    return kind.field in held or kind.field in ("hosts", "wire")


def _shaped(kind: _Kind, records: list[Any]) -> Any:
    if kind.shape == "one":
        return records[-1] if records else None
    if kind.shape == "mapping":
        return {getattr(r, "name", None) or r.host: r for r in records}
    return tuple(records)


def _check_version(path: Path, name: str, line: Mapping[str, Any]) -> None:
    if name != "lab events":
        raise UsageError(f"{path}:1: not the events of a run: kind {name!r}, must be 'lab events'")
    if line.get("version") != EVENTS_VERSION:
        raise UsageError(f"{path}:1: version {line.get('version')}, this lab reads {EVENTS_VERSION}")


def load_captures(folder: Path, records: Records) -> dict[str, Capture]:
    """The captures that the records name, by host. One file for each host, with all its boots."""
    paths: dict[str, str] = {}
    for facts in records.captures:
        if paths.setdefault(facts.host, facts.path) != facts.path:
            raise UsageError(
                f"{folder}: two capture files of {facts.host}: {paths[facts.host]} and {facts.path}"
            )
    return {host: read_capture(folder / path, host, root=folder) for host, path in paths.items()}


def load_evidence(folder: Path) -> Evidence:
    """The evidence of a stored run; reads the captures at once. Raises `UsageError` or `CaptureError`."""
    records = read_records(folder)
    return Evidence(records, load_captures(folder, records))
