"""Datasets that grow during a run are taken up at a boundary, exactly, and remembered."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gen.render import main as render
from shared.errors import RunError
from shared.mixing.generations import Generation, GrowingOrder, generation_of
from shared.mixing.tasks import find_tasks
from shared.shards.manifest import Manifest, ShardEntry, load_manifest
from shared.shards.reader import Dataset
from tests.train.command import flags, run, succeed
from tests.train.conftest import PATCH, ROWS_PER_SHARD, pretend_other_rows
from tests.train.records import intervals, require_same_run
from train.feed import Feed
from train.record.checkpoint import latest_checkpoint, load_state
from train.settings import TrainSettings


def manifest(rows: int, digest: str = "a1b2c3", damaged: int | None = None) -> Manifest:
    """A dataset of shards of eight rows; the shard `damaged` has other content."""
    sizes = [min(8, rows - first) for first in range(0, rows, 8)]
    entries = [
        ShardEntry(f"noise-{i}-{n}.tar", n, n, "", f"{i} of {n}{' changed' * (i == damaged)}")
        for i, n in enumerate(sizes)
    ]
    return Manifest("noise", "noise", "train", digest, {"rows_per_shard": 8}, rows, 1, "", {}, [], {}, entries)


def order(generations: list[Generation], rows: int) -> GrowingOrder:
    return GrowingOrder(generations, manifest(rows), 0, "noise", 2)


BEGIN = generation_of(manifest(28), 0)


@pytest.mark.parametrize(
    ("now", "same", "grown"),
    [
        (manifest(28), True, False),
        (manifest(29), False, True),  # the short shard has grown
        (manifest(60), False, True),
        (manifest(27), False, False),
        (manifest(28, "ffffff"), True, False),  # the same rows under another name
        (manifest(60, "ffffff"), False, False),  # another recipe
        (manifest(28, damaged=3), False, False),
        (manifest(60, damaged=1), False, False),
    ],
)
def test_growth_is_told_from_any_other_change(now: Manifest, same: bool, grown: bool) -> None:
    assert (BEGIN.is_that_of(now), BEGIN.is_before(now)) == (same, grown)
    assert now.extends(manifest(28)) == grown


def test_the_last_full_shard_of_a_dataset_without_a_short_one_is_final() -> None:
    whole = generation_of(manifest(24), 0)
    assert whole.shards == 3
    assert whole.is_before(manifest(28))
    assert not whole.is_before(manifest(28, damaged=2))


def test_rows_that_are_not_taken_up_yet_change_nothing() -> None:
    assert (order([BEGIN], 45).take(0, 200) == order([BEGIN], 28).take(0, 200)).all()


@pytest.mark.parametrize("taken", [0, 1, 27, 28, 29, 70])
def test_after_growth_the_epoch_ends_then_come_the_new_rows_then_epochs_of_all(taken: int) -> None:
    grown = order([BEGIN, generation_of(manifest(45), taken)], 45)
    rows, end = grown.take(0, 1000), -(-taken // 28) * 28
    assert (rows[:end] == order([BEGIN], 28).take(0, end)).all()
    if end:
        assert sorted(rows[end : end + 17]) == list(range(28, 45))
        end += 17
    for first in range(end, end + 450, 45):
        assert sorted(rows[first : first + 45]) == list(range(45))


def test_a_dataset_may_grow_again_before_its_new_rows_were_visited() -> None:
    generations = [BEGIN, generation_of(manifest(45), 20), generation_of(manifest(60), 31)]
    rows = order(generations, 60).take(0, 120)
    assert sorted(rows[:28]) == list(range(28))
    assert sorted(rows[28:45]) == list(range(28, 45))
    assert sorted(rows[45:60]) == list(range(45, 60))
    assert sorted(rows[60:]) == list(range(60))


def test_any_ordinal_is_found_without_its_history() -> None:
    generations = [BEGIN, generation_of(manifest(45), 33)]
    whole = order(generations, 45).take(0, 300)
    for first in (0, 27, 28, 55, 56, 72, 73, 74, 200):
        assert (order(generations, 45).take(first, 50) == whole[first : first + 50]).all()


@pytest.mark.parametrize("taken", [0, 10, 28, 60, 84])
def test_the_limit_of_repeats_holds_for_the_rows_most_visited(taken: int) -> None:
    grown = order([BEGIN, generation_of(manifest(45), taken)], 45)
    for ordinals in range(taken, 400):
        most = int(np.bincount(grown.take(0, ordinals), minlength=45).max())
        assert most <= max(-(-taken // 28), -(-grown.visits(ordinals) // 45))


# ---- on disk


def grow(shards: Path, task: str, count: int) -> None:
    words = ["--patch", str(PATCH), "--rows-per-shard", str(ROWS_PER_SHARD), "--workers", "1"]
    render(["--subspace", task, "--out", str(shards), "--count", str(count), *words])


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    shutil.copytree(shards, tmp_path / "shards")
    return tmp_path / "shards"


def test_a_short_shard_that_is_superseded_while_it_is_read_is_found_under_its_new_name(copy: Path) -> None:
    before = Dataset(copy / "noise")
    expected = [before[row].row for row in range(28)]
    opened = Dataset(copy / "noise")
    grow(copy, "noise", 30)
    assert [opened[row].row for row in range(28)] == expected


def settings() -> TrainSettings:
    return TrainSettings(batch_size=4, interval_steps=5, iterations=5, workers=0, window_shards=2)


def test_the_feed_takes_up_new_rows_only_when_it_is_told_to(copy: Path) -> None:
    state: dict = {}
    feed, quotas = Feed(find_tasks(copy), settings(), torch.device("cpu"), state=state), [20, 0, 0]
    assert feed.look() == [None] * 3
    record = {"quotas": quotas, **feed.decide(quotas)}
    grow(copy, "mild", 40)
    rows = torch.cat([batch.row for batch in feed.interval(record, [0, 0, 0], 0, 0)])
    assert record["rows"] == [28, 28, 28]
    assert rows.max() < 28
    feed.close(record)
    grown = feed.look()
    assert [m.rows if m else None for m in grown] == [40, None, None]
    feed.adopt(grown)
    record = {"quotas": quotas, **feed.decide(quotas)}
    assert record["rows"] == [40, 28, 28]
    assert [(g["first"], g["rows"]) for g in state["generations"]["mild"]] == [(0, 28), (20, 40)]
    rows = torch.cat([batch.row for batch in feed.interval(record, quotas, 1, 0)]).tolist()
    assert sorted(rows[8:]) == list(range(28, 40))  # the epoch has ended after eight more, then come the new rows


def test_any_other_change_at_a_border_is_refused(copy: Path) -> None:
    feed = Feed(find_tasks(copy), settings(), torch.device("cpu"))
    pretend_other_rows(copy / "mild")
    with pytest.raises(RunError, match="dataset mild/train has changed since the run was begun: use another --run"):
        feed.look()


# ---- whole runs


@pytest.fixture
def argv(copy: Path) -> list[str]:
    return flags(shards="shards", policy="uniform", workers=0)


def test_a_run_that_is_stopped_within_an_interval_takes_up_new_rows_at_its_end(
    argv: list[str], copy: Path, tmp_path: Path
) -> None:
    shutil.copytree(copy, tmp_path / "first")
    succeed([*argv, "--run", "whole"], tmp_path)
    run([*argv, "--run", "run"], tmp_path, signal_after=(signal.SIGTERM, 7))
    grow(copy, "noise", 45)  # the short shard that the interval reads is no more
    run([*argv, "--run", "run"], tmp_path, signal_after=(signal.SIGTERM, 7))
    first, second = intervals(tmp_path / "run")
    third = load_state(latest_checkpoint(tmp_path / "run")).record
    assert [line["rows"] for line in (first, second, third)] == [[28, 28, 28], [28, 28, 28], [28, 45, 28]]
    assert intervals(tmp_path / "run")[:2] == intervals(tmp_path / "whole")[:2]
    # from here on, a run of any number of stops goes the same way
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    succeed([*argv, "--run", "run"], tmp_path)
    for _ in range(3):
        run([*argv, "--run", "again"], tmp_path, signal_after=(signal.SIGTERM, 1))
    succeed([*argv, "--run", "again"], tmp_path)
    require_same_run(tmp_path / "again", tmp_path / "run")


@pytest.mark.parametrize("change", [lambda copy: shutil.copytree(copy.parent / "first", copy, dirs_exist_ok=True)])
def test_a_run_that_has_taken_up_rows_does_not_go_on_without_them(
    change: Callable[[Path], object], argv: list[str], copy: Path, tmp_path: Path
) -> None:
    shutil.copytree(copy, tmp_path / "first")
    run([*argv, "--run", "run"], tmp_path, signal_after=(signal.SIGTERM, 3))
    grow(copy, "noise", 45)
    run([*argv, "--run", "run"], tmp_path, signal_after=(signal.SIGTERM, 4))
    change(copy)
    assert load_manifest(copy / "noise").rows == 28
    outcome = run([*argv, "--run", "run"], tmp_path)
    assert outcome.errors == ["error: dataset noise/train has changed since run was begun: use another --run"]


def test_references_stay_valid_for_a_run_whose_rows_have_grown(copy: Path, references: Path, tmp_path: Path) -> None:
    argv = flags(shards="shards", references=references, run="run", workers=0)
    run(argv, tmp_path, signal_after=(signal.SIGTERM, 7))
    grow(copy, "noise", 45)
    succeed(argv, tmp_path)
    assert intervals(tmp_path / "run")[2]["rows"] == [28, 45, 28]
    outcome = run(flags(shards="shards", references=references, run="new", workers=0), tmp_path)
    assert "was trained with train_rows" in outcome.errors[0]
