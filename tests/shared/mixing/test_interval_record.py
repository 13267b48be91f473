"""The record of an interval as plain data."""

import json

import pytest

from shared.mixing.interval_record import IntervalRecord

RECORD = IntervalRecord(
    3,
    5,
    ["mild", "noise"],
    [12, 8],
    ["shards", "fly"],
    [28, 40],
    {"noise": ["a.tar"]},
    [4, 4],
    [0, 2],
    [(0, 3), (1, 9)],
)


def test_a_record_survives_json() -> None:
    assert IntervalRecord.from_json(json.loads(json.dumps(RECORD.to_json()))) == RECORD


def test_its_keys_are_those_of_logs_and_states() -> None:
    keys = "interval steps tasks quotas sources rows missing delivered substituted lost"
    assert list(RECORD.to_json()) == keys.split()


def test_further_keys_are_ignored_and_missing_ones_named() -> None:
    values = RECORD.to_json()
    assert IntervalRecord.from_json({**values, "estimate": 1}) == RECORD
    del values["quotas"]
    with pytest.raises(KeyError, match="quotas"):
        IntervalRecord.from_json(values)
