"""The log of an interval: one flat line, of this version and of earlier ones."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from shared.mixing.interval_record import IntervalRecord
from train.record.interval_log import IntervalLog, made_on_the_fly

RECORD = IntervalRecord(
    3, 5, ["mild", "noise"], [12, 8], ["shards", "fly"], [28, 0], {"noise": ["a.tar"]}, [4, 4], [0, 2], [(0, 3)]
)
LOG = IntervalLog(
    15,
    ["mild", "noise"],
    ["one", "two"],
    [[30.0, 31.0], [28.5, 29.0]],
    p=[0.6, 0.4],
    c=[1.0, 1.0],
    totals=[[1.5, 2.5], [4.0, 4.0]],
    interval=3,
    record=RECORD,
)
GOLDEN = Path(__file__).parents[2] / "golden" / "run"


def read_again(log: IntervalLog) -> IntervalLog:
    return IntervalLog.from_json(json.loads(json.dumps(log.to_json())), batch_size=4)


@pytest.mark.parametrize(
    "log",
    [
        LOG,
        replace(LOG, totals=None, losses=[0.1, None], delivered_weights=[0.6, 0.4]),
        IntervalLog(0, ["mild"], ["one"], [[30.0]]),  # the last line of a run
        replace(LOG, record=replace(RECORD, tasks=["mild", "frozen"])),  # trained on others than were measured
    ],
    ids=["under way", "finished", "last", "frozen plans"],
)
def test_a_log_survives_json(log: IntervalLog) -> None:
    assert read_again(log) == log


def test_what_is_not_known_is_left_out() -> None:
    assert list(IntervalLog(0, ["mild"], ["one"], [[30.0]]).to_json()) == [
        "step",
        "tasks",
        "photographs",
        "shared_db",
        "interval",
    ]


def test_the_line_is_flat_and_has_the_keys_of_the_record() -> None:
    line = LOG.to_json()
    assert line["tasks"] == ["mild", "noise"]
    assert {name: line[name] for name in RECORD.to_json()} == RECORD.to_json()
    other = replace(LOG, record=replace(RECORD, tasks=["mild", "frozen"])).to_json()
    assert (other["tasks"], other["trained"]) == (["mild", "noise"], ["mild", "frozen"])


def test_records_of_earlier_versions_are_read() -> None:
    line = LOG.to_json()
    for name in ("steps", "delivered"):
        del line[name]
    assert IntervalLog.from_json(line, batch_size=4).record == replace(RECORD, steps=5, delivered=[0, 0])
    with pytest.raises(ValueError, match="sources"):
        IntervalLog.from_json({name: value for name, value in line.items() if name != "sources"}, batch_size=4)


def test_the_state_and_log_of_the_version_before_are_read() -> None:
    state = json.loads(next(GOLDEN.glob("checkpoints/*/state.json")).read_text())
    assert "steps" not in state["record"]
    for values in (state["record"], json.loads((GOLDEN / "intervals.jsonl").read_text().splitlines()[0])):
        log = IntervalLog.from_json(values, batch_size=4)
        assert log.record
        assert log.record.steps * 4 == sum(log.record.quotas)
        kept = {name: value for name, value in values.items() if not name.startswith("data/fallback/")}
        assert log.to_json().items() >= kept.items()


def test_samples_on_the_fly_are_counted_by_task() -> None:
    assert made_on_the_fly(RECORD, [4, 3]) == {"data/fallback/mild": 0, "data/fallback/noise": 3}
