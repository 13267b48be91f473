"""The order of rows: each row once per epoch from a bounded set of shards, also while a dataset grows."""

import numpy as np
import pytest

from shared.mixing.rows import DatasetVersion, GrowingOrder, RowOrder
from shared.shards.manifest import Manifest, ShardEntry

SHARDS = [
    pytest.param([8, 8, 8, 4], 2, id="short last shard"),
    pytest.param([8, 8, 8, 8], 1, id="one shard at a time"),
    pytest.param([5], 3, id="a single shard"),
    pytest.param([1, 1, 1], 2, id="single rows"),
    pytest.param([500] * 7 + [13], 8, id="window of all"),
    pytest.param([3, 9, 1, 7, 2], 3, id="all sizes differ"),
]


@pytest.mark.parametrize(("shard_rows", "window"), SHARDS)
def test_each_row_comes_once_in_every_epoch(shard_rows: list[int], window: int) -> None:
    order, total = RowOrder(shard_rows, 0, "noise", window), sum(shard_rows)
    for epoch in range(3):
        assert sorted(order.take(epoch * total, total)) == list(range(total))


@pytest.mark.parametrize(("shard_rows", "window"), SHARDS)
def test_rows_come_from_at_most_window_shards_at_a_time(shard_rows: list[int], window: int) -> None:
    order, total = RowOrder(shard_rows, 0, "noise", window), sum(shard_rows)
    shard_of_row = [shard for shard, rows in enumerate(shard_rows) for _ in range(rows)]
    left, begun = list(shard_rows), set()
    for row in order.take(0, total):
        shard = shard_of_row[row]
        begun.add(shard)
        assert len(begun) <= window
        left[shard] -= 1
        if all(left[s] == 0 for s in begun):
            begun = set()  # a window is finished as a whole


def test_epochs_tasks_and_seeds_have_orders_of_their_own() -> None:
    def rows(seed: int, task: str, epoch: int) -> list[int]:
        order = RowOrder([8, 8, 8, 4], seed, task, 2)
        return order.take(28 * epoch, 28).tolist()

    orders = [rows(0, "noise", 0), rows(0, "noise", 1), rows(0, "blur", 0), rows(1, "noise", 0)]
    assert len({tuple(each) for each in orders}) == 4
    assert rows(0, "noise", 0) == orders[0]


def test_a_single_shard_is_visited_in_another_order_every_epoch() -> None:
    order = RowOrder([28], 0, "noise", 1)
    assert order.take(0, 28).tolist() != order.take(28, 28).tolist()


def test_an_ordinal_far_away_needs_no_history() -> None:
    order, visited = RowOrder([8, 8, 8, 4], 0, "noise", 2), RowOrder([8, 8, 8, 4], 0, "noise", 2)
    rows = visited.take(0, 28 * 40)
    for ordinal in (1119, 3, 560, 561, 28):
        assert order.take(ordinal, 1) == rows[ordinal]


# ---- datasets that grow


def manifest(rows: int, digest: str = "a1b2c3", damaged: int | None = None) -> Manifest:
    """A dataset of shards of eight rows; the shard `damaged` has other content."""
    sizes = [min(8, rows - first) for first in range(0, rows, 8)]
    entries = [
        ShardEntry(f"noise-{i}-{n}.tar", n, n, "", f"{i} of {n}{' changed' * (i == damaged)}")
        for i, n in enumerate(sizes)
    ]
    return Manifest("noise", "noise", "train", digest, {"rows_per_shard": 8}, rows, 1, "", {}, [], {}, entries)


def growing(versions: list[DatasetVersion], rows: int) -> GrowingOrder:
    return GrowingOrder(versions, manifest(rows), 0, "noise", 2)


BEGIN = DatasetVersion.of(manifest(28), 0)


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
    assert (BEGIN.is_current(now), BEGIN.has_grown_to(now)) == (same, grown)
    assert now.extends(manifest(28)) == grown


def test_the_last_full_shard_of_a_dataset_without_a_short_one_is_final() -> None:
    whole = DatasetVersion.of(manifest(24), 0)
    assert whole.shards == 3
    assert whole.has_grown_to(manifest(28))
    assert not whole.has_grown_to(manifest(28, damaged=2))


def test_rows_that_are_not_taken_up_yet_change_nothing() -> None:
    assert (growing([BEGIN], 45).take(0, 200) == growing([BEGIN], 28).take(0, 200)).all()


@pytest.mark.parametrize("taken", [0, 1, 27, 28, 29, 70])
def test_after_growth_the_epoch_ends_then_come_the_new_rows_then_epochs_of_all(taken: int) -> None:
    grown = growing([BEGIN, DatasetVersion.of(manifest(45), taken)], 45)
    rows, end = grown.take(0, 1000), -(-taken // 28) * 28
    assert (rows[:end] == growing([BEGIN], 28).take(0, end)).all()
    if end:
        assert sorted(rows[end : end + 17]) == list(range(28, 45))
        end += 17
    for first in range(end, end + 450, 45):
        assert sorted(rows[first : first + 45]) == list(range(45))


def test_a_dataset_may_grow_again_before_its_new_rows_were_visited() -> None:
    versions = [BEGIN, DatasetVersion.of(manifest(45), 20), DatasetVersion.of(manifest(60), 31)]
    rows = growing(versions, 60).take(0, 120)
    assert sorted(rows[:28]) == list(range(28))
    assert sorted(rows[28:45]) == list(range(28, 45))
    assert sorted(rows[45:60]) == list(range(45, 60))
    assert sorted(rows[60:]) == list(range(60))


def test_any_ordinal_is_found_without_its_history() -> None:
    versions = [BEGIN, DatasetVersion.of(manifest(45), 33)]
    whole = growing(versions, 45).take(0, 300)
    for first in (0, 27, 28, 55, 56, 72, 73, 74, 200):
        assert (growing(versions, 45).take(first, 50) == whole[first : first + 50]).all()


@pytest.mark.parametrize("taken", [0, 10, 28, 60, 84])
def test_the_limit_of_repeats_holds_for_the_rows_most_visited(taken: int) -> None:
    grown = growing([BEGIN, DatasetVersion.of(manifest(45), taken)], 45)
    rows = grown.take(0, 400)
    for ordinals in range(taken, 400):
        most = int(np.bincount(rows[:ordinals], minlength=45).max())
        assert most <= max(-(-taken // 28), -(-grown.visits(ordinals) // 45))
