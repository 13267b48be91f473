"""Rows that cannot be read: replaced by others of their task, counted, logged, exactly; too many stop the run."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from shared.errors import RunError
from shared.mixing.sources import Batch
from shared.mixing.tasks import find_tasks
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset
from tests.train.command import flags, run, start_ranks, succeed
from tests.train.records import intervals, metrics, require_same_run
from train.feed import Feed
from train.record.checkpoint import latest_checkpoint, load_state
from train.settings import TrainSettings


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    shutil.copytree(shards, tmp_path / "shards")
    return tmp_path / "shards"


def tar(folder: Path, shard: int) -> Path:
    return folder / load_manifest(folder).shardlist[shard].url


def flip(folder: Path, shard: int, row: int) -> None:
    """Flip a bit in the middle of a row's HR image."""
    path = tar(folder, shard)
    line = path.with_suffix(".idx").read_text().splitlines()[1 + row].split(" ")
    data = bytearray(path.read_bytes())
    data[int(line[1]) + int(line[2]) // 2] ^= 1
    path.write_bytes(data)


def feed_of(copy: Path, rank: int = 0, num_ranks: int = 1, **changes) -> Feed:
    options = {"workers": 0, "window_shards": 2, "max_damage": 0.5, **changes}
    settings = TrainSettings(batch_size=4, interval_steps=10, iterations=10, **options)
    return Feed(find_tasks(copy), settings, torch.device("cpu"), rank, num_ranks)


def deliver(feeds: list[Feed], record: dict, first_step: int = 0, last_step: int = 10) -> list[list[Batch]]:
    """The batches of every rank, step by step, as the loop takes them: replaced, then noted for all ranks."""
    streams = [feed.interval(record, [0, 0, 0], 0, first_step) for feed in feeds]
    steps = []
    for _ in range(first_step, last_step):
        batches = [next(stream) for stream in streams]
        for feed, batch in zip(feeds, batches, strict=True):
            feed.replace_lost(batch, record)
        found = [lost for batch in batches for lost in batch.lost]
        feeds[0].note(found, record)
        steps.append(batches)
    return steps


def begin(feed: Feed) -> dict:
    quotas = [10, 20, 10]
    return {"quotas": quotas, **feed.decide(quotas)}


def rows(steps: list[list[Batch]]) -> list[list[tuple[int, int, int]]]:
    """(task, ordinal, row) of the samples of every step, over all ranks."""
    columns = ([(b.task, b.ordinal, b.row) for b in step] for step in steps)
    return [sorted(sample for b in step for sample in zip(*(v.tolist() for v in b), strict=True)) for step in columns]


@pytest.fixture
def damaged(copy: Path) -> Path:
    """Three rows of one task cannot be read: 3, 9 and 20."""
    for shard, row in ((0, 3), (1, 1), (2, 4)):
        flip(copy / "noise", shard, row)
    return copy


def test_a_lost_row_is_replaced_by_another_of_its_task_and_noted(copy: Path, shards: Path, damaged: Path) -> None:
    feed = feed_of(damaged)
    record = begin(feed)
    steps = deliver([feed], record)
    whole = rows(deliver([feed_of(shards)], begin(feed_of(shards))))
    affected = 0
    for mine, expected in zip(rows(steps), whole, strict=True):
        for (task, _, row), (_, _, planned) in zip(mine, expected, strict=True):
            affected += row != planned
            assert (task, row) not in {(1, 3), (1, 9), (1, 20)}
            assert row == planned or (task, planned) in {(1, 3), (1, 9), (1, 20)}
    lost = {tuple(each) for each in record["lost"]}
    assert lost <= {(1, 3), (1, 9), (1, 20)}
    assert record["substituted"] == [0, affected, 0]
    assert affected >= 1
    batch = next(b for (b,) in steps if b.lost)
    place = batch.ordinal.tolist().index(batch.lost[0].ordinal)
    shown = Dataset(damaged / "noise")[int(batch.row[place])]
    image = batch.hr[place].permute(1, 2, 0).numpy()
    assert (image == shown.hr).all() or (image == shown.hr[:, ::-1]).all()


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # 2 workers on 1 core
@pytest.mark.parametrize(("workers", "ranks"), [(2, 1), (0, 2)])
def test_any_number_of_workers_and_ranks_replaces_alike(workers: int, ranks: int, damaged: Path) -> None:
    record, again = begin(feed_of(damaged)), begin(feed_of(damaged))
    expected = rows(deliver([feed_of(damaged)], record))
    feeds = [feed_of(damaged, rank, ranks, workers=workers) for rank in range(ranks)]
    assert rows(deliver(feeds, again)) == expected
    assert again == record


def test_resuming_at_every_step_goes_on_with_the_same_replacements(damaged: Path) -> None:
    record = begin(feed_of(damaged))
    states, steps, feed = [json.dumps(record)], [], feed_of(damaged)
    for step in range(10):
        steps += deliver([feed], record, step, step + 1)
        states.append(json.dumps(record))
    for step in range(10):
        resumed = json.loads(states[step])
        assert rows(deliver([feed_of(damaged)], resumed, step)) == rows(steps[step:])
        assert json.dumps(resumed) == states[-1]


def test_a_row_that_comes_back_stays_replaced_within_its_interval(damaged: Path, shards: Path) -> None:
    record = begin(feed_of(damaged))
    steps = rows(deliver([feed_of(damaged)], record))
    again = {**record, "substituted": [0, 0, 0]}
    assert rows(deliver([feed_of(shards)], again)) == steps  # the list decides, not the disk


# ---- damage of whole shards


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize("damage", [Path.unlink, cut])
def test_a_task_whose_shards_cannot_be_had_is_served_on_the_fly_and_says_so(
    damage: Callable[[Path], None], copy: Path
) -> None:
    damage(tar(copy / "noise", 1))
    feed = feed_of(copy, max_damage=0.02)
    record = begin(feed)
    assert record["sources"] == ["shards", "fly", "shards"]
    assert record["missing"] == {"noise": [tar(copy / "noise", 1).name]}
    steps = deliver([feed], record)
    assert record["lost"] == []
    owners = {
        owner for (b,) in steps for task, owner in zip(b.task.tolist(), b.owner.tolist(), strict=True) if task == 1
    }
    assert owners == {0, 2}  # HR images of the tasks whose shards are whole


def test_few_missing_rows_are_replaced_one_by_one(copy: Path) -> None:
    tar(copy / "noise", 1).unlink()
    feed = feed_of(copy, max_damage=0.5)
    record = begin(feed)
    assert record["sources"] == ["shards"] * 3
    deliver([feed], record)
    assert 0 < record["substituted"][1] <= 10
    assert all(task == 1 and 8 <= row < 16 for task, row in record["lost"])


def test_when_no_task_has_its_shards_they_are_named(copy: Path) -> None:
    for task in ("mild", "noise", "severe"):
        for shard in range(4):
            tar(copy / task, shard).unlink()
    feed = feed_of(copy)
    record = begin(feed)
    with pytest.raises(RunError, match=r"no task has shards to take HR images from, missing are mild-x4-.*\.tar"):
        feed.interval(record, [0, 0, 0], 0, 0)


def test_more_damage_than_is_allowed_stops_with_the_shards_names(copy: Path) -> None:
    tar(copy / "noise", 1).unlink()
    feed = feed_of(copy, max_damage=0.02, source="shards")
    with pytest.raises(RunError, match=r"more than max_damage 0\.02 allows: shard file .*noise-x4-\w+-000001\.\w+ is"):
        deliver([feed], begin(feed))


# ---- whole runs


def test_a_run_over_damaged_rows_resumes_exactly_and_logs_them(damaged: Path, tmp_path: Path) -> None:
    argv = flags(shards="shards", policy="uniform", max_damage=0.5, workers=1)
    succeed([*argv, "--run", "whole"], tmp_path)
    for number, steps in ((signal.SIGKILL, 3), (signal.SIGTERM, 4), (signal.SIGTERM, 5)):
        run([*argv, "--run", "run", "--save-steps", "1"], tmp_path, signal_after=(number, steps))
    succeed([*argv, "--run", "run", "--workers", "2"], tmp_path)
    require_same_run(tmp_path / "run", tmp_path / "whole")
    lines = intervals(tmp_path / "whole")[:-1]
    assert {tuple(each) for line in lines for each in line["lost"]} == {(1, 3), (1, 9), (1, 20)}
    assert sum(sum(line["substituted"]) for line in lines) >= 2  # one sample may meet two of them
    assert all(line["delivered"] == line["quotas"] for line in lines)


def test_two_processes_note_what_either_of_them_has_found(damaged: Path, tmp_path: Path) -> None:
    argv = flags(shards="shards", policy="uniform", max_damage=0.5, iterations=10, workers=0)
    succeed([*argv, "--run", "one"], tmp_path)
    ranks = start_ranks([*argv, "--run", "two"], tmp_path)
    assert [rank.wait().code for rank in ranks] == [0, 0]
    for key in ("lost", "substituted", "delivered"):
        assert [line.get(key) for line in intervals(tmp_path / "two")] == [
            line.get(key) for line in intervals(tmp_path / "one")
        ]


def test_too_much_damage_stops_the_run_before_the_step(copy: Path, tmp_path: Path) -> None:
    tar(copy / "noise", 0).unlink()
    argv = flags(shards="shards", run="run", policy="uniform", source="shards", save_steps=1, workers=1)
    outcome = run(argv, tmp_path)
    assert outcome.code == 1
    assert "more than max_damage 0.01 allows: shard file" in outcome.errors[0]
    assert tar(copy / "noise", 0).stem in outcome.errors[0]
    checkpoint = latest_checkpoint(tmp_path / "run")
    done = load_state(checkpoint).step if checkpoint else 0
    assert len(metrics(tmp_path / "run")) == done < 5
