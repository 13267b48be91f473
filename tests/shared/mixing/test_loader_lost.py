"""Rows that cannot be read: replaced by others of their task, alike on all ranks, counted; too many are an error."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import RunError
from shared.mixing.interval_record import IntervalRecord
from shared.mixing.loader import MixingLoader
from shared.mixing.tickets import Ticket, candidates
from shared.shards.reader import Dataset
from tests.shared.mixing.damage import cut, flip_a_bit, tar
from tests.shared.mixing.delivery import (
    Sample,
    counts_of,
    joined,
    make_loader,
    on_ranks,
    samples_of,
    steps_of,
    through_json,
)

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # 2 workers on 1 core

LOST = {(1, 3), (1, 9), (1, 20)}
"""(task, row) of the rows that cannot be read."""
INTERVALS = [[8, 24, 8], [4, 16, 4], [0, 20, 0]]


@pytest.fixture
def damaged(copy: Path) -> Path:
    """Datasets with three damaged rows of one task."""
    for shard, row in ((0, 3), (1, 1), (2, 4)):
        flip_a_bit(copy / "noise", shard, row)
    return copy


def deliver(shards: Path, **changes: Any) -> tuple[list[list[list[Sample]]], list[IntervalRecord]]:
    """The samples of every step, and the record, of every interval."""
    found = []
    with make_loader(shards, **{"max_damage": 0.5, **changes}) as loader:
        for quotas in INTERVALS:
            steps = steps_of(loader.interval(quotas=quotas))
            assert loader.record is not None
            found.append((steps, loader.record))
    steps, records = zip(*found, strict=True)
    return list(steps), list(records)


def test_a_sample_whose_row_is_lost_shows_its_first_readable_candidate(damaged: Path, shards: Path) -> None:
    (steps, records), (whole, _) = deliver(damaged), deliver(shards)
    images = {sample.row: sample.images for sample in chain(*chain(*whole)) if sample.task == 1}
    for interval, record, expected in zip(steps, records, whole, strict=True):
        replaced, tried = 0, set()
        assert counts_of(interval) == record.quotas == record.delivered
        for mine, planned in zip(chain(*interval), chain(*expected), strict=True):
            assert mine[:2] == planned[:2]
            ticket = Ticket(planned.task, planned.ordinal, "shards", planned.task, planned.row)
            rows = list(candidates(ticket, 0, ("mild", "noise", "severe")[planned.task], 28))
            shown = next(position for position, row in enumerate(rows) if (planned.task, row) not in LOST)
            assert mine.row == rows[shown]
            assert (mine.images == planned.images) == (shown == 0)
            replaced += shown > 0
            tried |= {(planned.task, row) for row in rows[:shown]}
        if record.interval == 0:
            assert (record.lost, record.substituted) == (sorted(tried), [0, replaced, 0])
            assert replaced > 0
    assert len(images) == 28  # all rows were to be shown


def test_the_image_is_that_of_the_row_which_the_batch_names(damaged: Path) -> None:
    stored, seen = Dataset(damaged / "noise"), 0
    with make_loader(damaged, max_damage=0.5, flip=False) as loader:
        for batch in loader.interval({"noise": 1}, 7):
            for place, row in enumerate(batch.row.tolist()):
                assert np.array_equal(batch.hr[place].permute(1, 2, 0), stored[row].hr)
            assert loader.record
            seen += sum(loader.record.substituted) > 0
    assert seen > 0


def test_lost_rows_are_skipped_from_the_next_interval_on_without_changing_any_sample(damaged: Path) -> None:
    steps, records = deliver(damaged)
    found = {entry for record in records for entry in record.lost}
    assert found == LOST
    # 28 rows are visited in the first two intervals: what is found lost there is not tried again
    assert records[2].lost == []
    assert records[2].substituted == [0, 0, 0]
    with make_loader(damaged, max_damage=0.5) as fresh:  # one that knows of no lost rows
        state = through_json(fresh.state_dict())
        state |= {"interval": 2, "consumed": {"mild": 12, "noise": 40, "severe": 12}}
        fresh.load_state_dict({**state, "read": state["consumed"]})
        assert steps_of(fresh.interval(quotas=INTERVALS[2])) == steps[2]
        assert fresh.record
        assert fresh.record.substituted[1] > 0


@pytest.mark.parametrize(("num_ranks", "workers"), [(1, 2), (2, 0), (4, 0), (2, 1)])
def test_any_number_of_workers_and_ranks_replaces_alike_and_records_the_same(
    num_ranks: int, workers: int, damaged: Path
) -> None:
    steps, records = deliver(damaged)
    ranks = on_ranks(num_ranks, lambda options: deliver(damaged, workers=workers, **options))
    assert [joined(parts) for parts in zip(*(rank[0] for rank in ranks), strict=True)] == steps
    for _, found in ranks:
        assert found == records


def test_resuming_at_every_step_goes_on_with_the_same_replacements_and_counts(damaged: Path) -> None:
    def rest(loader: MixingLoader) -> list[list[Sample]]:
        found = steps_of(loader.interval()) if loader.step else []
        while loader.interval_number < 3:
            found += steps_of(loader.interval(quotas=INTERVALS[loader.interval_number]))
        return found

    steps, records = deliver(damaged)
    whole, states = list(chain(*steps)), []
    with make_loader(damaged, max_damage=0.5) as loader:
        for quotas in INTERVALS:
            states.append(through_json(loader.state_dict()))
            states += [through_json(loader.state_dict()) for _ in loader.interval(quotas=quotas)][:-1]
        final = loader.state_dict()
    with make_loader(damaged, max_damage=0.5) as loader:
        for done, state in enumerate(states):
            loader.load_state_dict(state)
            assert rest(loader) == whole[done:]
            assert loader.state_dict() == final
            assert loader.record == records[-1]


def test_the_record_tells_what_happened_so_far_while_the_interval_runs(damaged: Path) -> None:
    with make_loader(damaged, max_damage=0.5) as loader:
        assert loader.record is None
        delivered, earlier = [0, 0, 0], [0, 0, 0]
        for batch in loader.interval(quotas=INTERVALS[0]):
            record = loader.record
            assert record
            assert record.delivered == delivered
            assert (record.interval, record.steps, record.quotas) == (0, 10, INTERVALS[0])
            assert (record.sources, record.rows, record.missing) == (["shards"] * 3, [28] * 3, {})
            assert all(now >= before for now, before in zip(record.substituted, earlier, strict=True))
            earlier = record.substituted
            for task in batch.task.tolist():
                delivered[task] += 1
        assert loader.record
        assert loader.record.delivered == INTERVALS[0] == delivered
        assert loader.record == replace(record, delivered=delivered)


@pytest.mark.parametrize("workers", [0, 1])
def test_more_damage_than_is_allowed_is_an_error_that_names_the_shards(workers: int, copy: Path) -> None:
    tar(copy / "noise", 1).unlink()
    with make_loader(copy, max_damage=0.02, source="shards", workers=workers) as loader:
        message = (
            r"of the interval's 40 samples .* more than max_damage 0\.02 allows: shard file .*noise-x4-\w+-000001\."
        )
        with pytest.raises(RunError, match=message):
            list(loader.interval(quotas=[10, 20, 10]))


def test_damage_up_to_the_limit_is_allowed(damaged: Path) -> None:
    with make_loader(damaged, max_damage=0.5) as loader:
        list(loader.interval(quotas=[0, 28, 0]))
        assert loader.record
        (replaced,) = filter(None, loader.record.substituted)
    with make_loader(damaged, max_damage=replaced / 28) as loader:
        assert counts_of(steps_of(loader.interval(quotas=[0, 28, 0]))) == [0, 28, 0]
    with make_loader(damaged, max_damage=(replaced - 0.5) / 28) as loader, pytest.raises(RunError, match="max_damage"):
        list(loader.interval(quotas=[0, 28, 0]))


def test_a_dataset_without_any_readable_row_is_an_error_that_names_rows(copy: Path) -> None:
    for shard, rows in enumerate((8, 8, 8, 4)):
        for row in range(rows):
            flip_a_bit(copy / "noise", shard, row)
    message = r"none of 16 rows of task noise could be read: .*noise-x4-\w+-00000\d\.tar"
    with make_loader(copy, max_damage=1.0) as loader, pytest.raises(RunError, match=message):
        list(loader.interval({"noise": 1}, 2))


# ---- whole shards


@pytest.mark.parametrize("damage", [Path.unlink, cut])
def test_auto_serves_a_task_on_the_fly_whose_shards_are_missing(damage: Callable[[Path], None], copy: Path) -> None:
    damage(tar(copy / "noise", 1))
    with make_loader(copy, max_damage=0.02) as loader:
        peeked = samples_of(loader.peek("noise", 5))
        steps = steps_of(loader.interval(quotas=[10, 20, 10]))
        record = loader.record
    assert record
    assert record.sources == ["shards", "fly", "shards"]
    assert record.missing == {"noise": [tar(copy / "noise", 1).name]}
    assert (record.lost, record.substituted, record.delivered) == ([], [0, 0, 0], [10, 20, 10])
    made = [sample for sample in chain(*steps) if sample.task == 1]
    assert {(sample.task, sample.ordinal) for sample in peeked} == {(1, n) for n in range(5)}
    with make_loader(copy, tasks=["mild", "severe"], source="fly", flip=False) as others:
        rows = {name: {s.row for s in chain(*steps_of(others.interval({name: 1}, 7)))} for name in ("mild", "severe")}
    assert {sample.row for sample in made[::2]} <= rows["mild"]  # HR images of the tasks whose shards are whole
    assert {sample.row for sample in made[1::2]} <= rows["severe"]


def test_few_rows_of_a_missing_shard_are_replaced_one_by_one(copy: Path) -> None:
    tar(copy / "noise", 1).unlink()
    with make_loader(copy, max_damage=0.5) as loader:
        list(loader.interval(quotas=[10, 20, 10]))
        record = loader.record
    assert record
    assert record.sources == ["shards"] * 3
    assert 0 < record.substituted[1] <= 10
    assert all(task == 1 and 8 <= row < 16 for task, row in record.lost)


def test_when_no_task_has_its_shards_they_are_named_and_nothing_begins(copy: Path, shards: Path) -> None:
    for task in ("mild", "noise", "severe"):
        for shard in range(4):
            tar(copy / task, shard).unlink()
    with make_loader(copy) as loader:
        message = r"no task has shards to take HR images from, missing are mild-x4-.*\.tar: restore them or give hr"
        with pytest.raises(RunError, match=message):
            loader.interval([1, 1, 1], 5)
        shutil.copytree(shards, copy, dirs_exist_ok=True)
        assert steps_of(loader.interval([1, 0, 1], 3)) == steps_of(make_loader(shards).interval([1, 0, 1], 3))
