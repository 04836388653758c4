"""What is written without a schema is what pydantic would write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from lab.evidence import store
from lab.plain import plain
from lab.result import Result
from tests.unit.report_helpers import result
from tests.unit.test_evidence_store import RECORDS

STORED = Path(__file__).parents[1] / "data" / "captures"


def as_pydantic(kind: store._Kind, record: object) -> object:
    written = kind.adapter.dump_python(record, exclude_defaults=kind.name != "tolerance")
    return json.loads(json.dumps(written, default=store._plain))


def as_written(kind: store._Kind, record: object) -> object:
    return json.loads(json.dumps(plain(record, defaults=kind.name == "tolerance"), default=store._plain))


@pytest.mark.parametrize("folder", sorted(STORED.iterdir()), ids=lambda folder: folder.name)
def test_stored_runs(folder: Path) -> None:
    records = store.read_records(folder)
    lines = list(store._lines(records))
    assert lines
    for kind, record in lines:
        assert as_written(kind, record) == as_pydantic(kind, record)


def test_one_of_every_kind() -> None:
    for kind, record in store._lines(RECORDS):
        assert as_written(kind, record) == as_pydantic(kind, record)


def test_a_result() -> None:
    written = json.loads(json.dumps(plain(result()), default=str))
    assert written == json.loads(TypeAdapter(Result).dump_json(result()))
