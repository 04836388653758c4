"""What is written is read back as it was, and what is wrong in it is named."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.evidence import model, store
from lab.link import Impairment
from lab.plain import plain, read_plain
from lab.result import Result
from lab.units import Percent
from tests.unit.report_helpers import result
from tests.unit.test_evidence_store import RECORDS

STORED = Path(__file__).parents[1] / "data" / "captures"


@pytest.mark.parametrize("folder", sorted(STORED.iterdir()), ids=lambda folder: folder.name)
def test_stored_runs_would_be_written_as_they_are(folder: Path, tmp_path: Path) -> None:
    """All lines but those of hosts, which have attachments now."""
    written = _lines(store.write_records(tmp_path, store.read_records(folder)))
    stored = _lines(folder / store.EVENTS_FILE)
    assert len(written) == len(stored) > 1
    for new, old in zip(written, stored, strict=True):
        assert new["kind"] == old["kind"]
        assert new == old or old["kind"] == "host"


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_one_of_every_kind_as_msgspec_writes_it() -> None:
    """Whole, and read back; without its defaults, it is the same record."""
    kinds = set()
    for kind, record in store._lines(RECORDS):
        kinds.add(kind.name)
        whole = plain(record)
        assert as_json(whole) == as_json(
            msgspec.to_builtins(record, builtin_types=(bytes, Decimal), enc_hook=str)
        )
        assert read_plain(whole, kind.record) == record
        assert read_plain(plain(record, defaults=False), kind.record) == record
    assert kinds >= {"host", "wire", "call", "run", "stream", "state", "wire event"}


def as_json(value: object) -> object:
    return json.loads(json.dumps(value, default=store._plain))


def test_a_result() -> None:
    written = plain(result())
    assert json.loads(json.dumps(written)) == json.loads(msgspec.json.encode(result()))
    assert read_plain(json.loads(json.dumps(written)), Result) == result()


def test_a_default_is_left_out_and_a_field_without_one_is_not() -> None:
    assert plain(Impairment(loss=Percent(Decimal(1))), defaults=False) == {"loss": {"percent": Decimal(1)}}
    assert plain(model.DropCount("cut", 0), defaults=False) == {"rule": "cut", "dropped": 0}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rule": "cut"}, "`dropped`"),
        ({"rule": "cut", "dropped": "1"}, "`$.dropped`"),
        ({"rule": "cut", "dropped": True}, "`$.dropped`"),
        ({"rule": None, "dropped": 1}, "`$.rule`"),
        ([], "expected|Expected"),
    ],
)
def test_what_is_wrong_is_named(fields: object, said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said.replace("$", r"\$")):
        read_plain(fields, model.DropCount)


@pytest.mark.parametrize("share", ["NaN", "Infinity", "-Infinity", "1e999999999", "-0.1", "100.1", "x", None])
def test_a_share_is_one(share: object) -> None:
    """A stored one too: the digits of 1e999999999 would fill the memory."""
    with pytest.raises(msgspec.ValidationError, match=r"`\$.loss"):
        read_plain({"loss": {"percent": share}}, Impairment)
