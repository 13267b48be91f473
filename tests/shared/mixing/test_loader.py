"""The mixing loader: exact counts, the same samples for any number of workers and ranks, errors in words."""

import random
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from shared.errors import RunError, UsageError
from shared.mixing.loader import MixingLoader
from shared.mixing.quotas import order
from shared.shards.reader import Dataset
from tests.shared.mixing.delivery import (
    Meeting,
    Sample,
    counts_of,
    joined,
    make_loader,
    on_ranks,
    samples_of,
    steps_of,
)

INTERVALS = [[7, 7, 6], [2, 18, 0], [0, 0, 20], [40, 0, 0]]
"""Quotas of four intervals in batches of four; the last one is longer and repeats rows of a second epoch."""

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # 3 workers on 2 cores


def deliver(shards: Path, **changes: Any) -> list[list[list[Sample]]]:
    """The samples of every step of every interval."""
    with make_loader(shards, **changes) as loader:
        return [steps_of(loader.interval(quotas=quotas)) for quotas in INTERVALS]


@pytest.fixture(scope="module")
def expected(shards: Path) -> list[list[list[Sample]]]:
    """What one rank delivers without workers."""
    return deliver(shards)


# ---- counts


def test_every_interval_delivers_exactly_its_quotas(expected: list[list[list[Sample]]]) -> None:
    for interval, quotas in zip(expected, INTERVALS, strict=True):
        assert counts_of(interval) == quotas
        assert {len(step) for step in interval} == {4}
    assert [len(interval) for interval in expected] == [5, 5, 5, 10]


def test_ordinals_run_on_through_all_intervals(expected: list[list[list[Sample]]]) -> None:
    delivered = [sample for interval in expected for sample in chain(*interval)]
    for task, total in enumerate(map(sum, zip(*INTERVALS, strict=True))):
        assert [sample.ordinal for sample in delivered if sample.task == task] == list(range(total))


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 6])
def test_counts_are_exact_over_all_ranks_for_random_weights_with_zeros(num_ranks: int, shards: Path) -> None:
    draws, steps, batch_size = random.Random(num_ranks), 5, 12
    weights = [[draws.choice([0.0, draws.random()]) for _ in range(3)] for _ in range(6)] + [[0, 0, 1], [1e-9, 1, 0]]
    weights = [each for each in weights if any(each)]

    def work(options: dict[str, Any]) -> list[list[list[Sample]]]:
        with make_loader(shards, batch_size=batch_size, **options) as loader:
            return [steps_of(loader.interval(each, steps)) for each in weights]

    ranks = on_ranks(num_ranks, work)
    for number, each in enumerate(weights):
        interval = joined(rank[number] for rank in ranks)
        counts, total = counts_of(interval), steps * batch_size
        assert sum(counts) == total
        for count, weight in zip(counts, each, strict=True):
            assert abs(count - total * weight / sum(each)) < 1  # the largest remainder rounds up or down
            assert count == 0 or weight > 0
        tasks = [sample.task for sample in chain(*interval)]
        assert tasks == order(counts, 0, number).tolist()  # so every batch is near its ratios (test_quotas.py)


# ---- workers and ranks


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_batches_in_the_same_order(
    workers: int, shards: Path, expected: list[list[list[Sample]]]
) -> None:
    assert deliver(shards, workers=workers) == expected


@pytest.mark.parametrize(("num_ranks", "workers"), [(2, 0), (4, 0), (2, 1)])
def test_the_ranks_together_deliver_the_samples_of_one(
    num_ranks: int, workers: int, shards: Path, expected: list[list[list[Sample]]]
) -> None:
    ranks = on_ranks(num_ranks, lambda options: deliver(shards, workers=workers, **options))
    assert [joined(parts) for parts in zip(*ranks, strict=True)] == expected


def test_batches_that_are_kept_are_never_written_to_again(shards: Path) -> None:
    with make_loader(shards, workers=2) as loader:
        kept = list(loader.interval([1, 1, 1], 25))
        assert list(map(samples_of, kept)) == steps_of(make_loader(shards).interval([1, 1, 1], 25))


def test_ranks_gather_when_an_interval_begins_and_ends_and_in_refresh_only(shards: Path) -> None:
    meeting = Meeting(2)

    def work(options: dict[str, Any]) -> list[int]:
        times = []

        def note() -> None:
            times.append(meeting.times[options["rank"]])

        with make_loader(shards, **options) as loader:
            note()
            batches = loader.interval([1, 1, 1], 3)
            note()
            for _ in batches:
                loader.state_dict()
                note()
            note()
            loader.peek("mild", 2)
            note()
            assert loader.refresh() == {}
            note()
        note()
        return times

    assert on_ranks(2, work, meeting) == [[0, 1, 1, 1, 1, 2, 2, 4, 4]] * 2


def test_what_rank_0_gives_holds_for_all_ranks(shards: Path) -> None:
    def work(options: dict[str, Any]) -> list[int]:
        weights = {"noise": 1.0} if options["rank"] == 0 else {"mild": 1.0}
        with make_loader(shards, **options) as loader:
            return counts_of(steps_of(loader.interval(weights, 2)))

    assert on_ranks(2, work) == [[0, 4, 0]] * 2


@pytest.mark.parametrize("weights", [{"blur": 1.0}, {"mild": "much"}])
def test_an_error_of_rank_0_is_raised_by_all(weights: dict[str, Any], shards: Path) -> None:
    def work(options: dict[str, Any]) -> str:
        with make_loader(shards, **options) as loader, pytest.raises((ValueError, TypeError)) as found:
            loader.interval(weights, 2)
        return str(found.value)

    first, second = on_ranks(2, work)
    assert first == second


# ---- batches


def test_a_batch_shows_the_stored_pairs_of_its_rows(shards: Path, tasks: list) -> None:
    with make_loader(shards, flip=False) as loader:
        assert loader.tasks == ("mild", "noise", "severe")
        for batch in loader.interval({"severe": 3, "noise": 1}, 3):
            assert (batch.lr.shape, batch.hr.shape) == ((4, 3, 19, 19), (4, 3, 76, 76))
            assert batch.lr.dtype == batch.hr.dtype == torch.uint8
            assert batch.task.dtype == batch.ordinal.dtype == batch.row.dtype == torch.int64
            for place, (task, row) in enumerate(zip(batch.task.tolist(), batch.row.tolist(), strict=True)):
                stored = Dataset(tasks[task].train)[row]
                assert np.array_equal(batch.hr[place].permute(1, 2, 0), stored.hr)
                assert np.array_equal(batch.lr[place].permute(1, 2, 0), stored.lr)


def test_a_new_weight_acts_on_the_first_sample_of_the_next_interval(shards: Path) -> None:
    with make_loader(shards, workers=2) as loader:
        for task in (0, 2, 1):
            weights = [float(task == other) for other in range(3)]
            interval = steps_of(loader.interval(weights, 3))
            assert {sample.task for sample in chain(*interval)} == {task}


def test_peek_shows_what_comes_next_and_consumes_nothing(shards: Path) -> None:
    with make_loader(shards) as loader, make_loader(shards) as undisturbed:
        for weights in ([1, 2, 1], [0, 1, 0]):
            peeked = samples_of(loader.peek("noise", 6))
            assert samples_of(loader.peek("noise", 6)) == peeked
            interval = steps_of(loader.interval(weights, 6))
            assert [sample for sample in chain(*interval) if sample.task == 1][:6] == peeked
            assert interval == steps_of(undisturbed.interval(weights, 6))
        assert loader.state_dict() == undisturbed.state_dict()
        with pytest.raises(UsageError, match="unknown task 'blur': the tasks are mild, noise, severe"):
            loader.peek("blur", 1)


def test_peek_within_an_interval_goes_on_from_the_batches_that_are_done(shards: Path) -> None:
    with make_loader(shards) as loader:
        steps = []
        for batch in loader.interval([1, 2, 1], 6):
            steps.append(samples_of(batch))
            peeked = samples_of(loader.peek("noise", 3))
            done = sum(sample.task == 1 for sample in chain(*steps[:-1]))
            assert [sample.ordinal for sample in peeked] == list(range(done, done + 3))
            state = loader.state_dict()
            peeked = samples_of(loader.peek("noise", 3))
            assert [sample.ordinal for sample in peeked] == [
                n + sum(s.task == 1 for s in steps[-1]) for n in range(done, done + 3)
            ]
            assert loader.state_dict() == state
        assert samples_of(loader.peek("noise", 3))[0].ordinal == 12


def test_peek_goes_on_from_a_state_that_was_loaded(shards: Path) -> None:
    with make_loader(shards) as loader, make_loader(shards) as restored:
        batches = loader.interval([1, 2, 1], 6)
        next(batches)
        next(batches)
        restored.load_state_dict(loader.state_dict())
        assert samples_of(restored.peek("noise", 3)) == samples_of(loader.peek("noise", 3))
        assert restored.peek("noise", 3).ordinal.tolist() == [4, 5, 6]


def test_train_folders_are_enough(copy: Path, shards: Path) -> None:
    for task in ("mild", "noise", "severe"):
        for path in (copy / f"{task}-val").rglob("*"):
            path.unlink(missing_ok=True) if path.is_file() else None
    assert deliver(copy) == deliver(shards)


# ---- iterators


def test_leaving_the_loop_early_and_calling_interval_again_yields_the_rest(shards: Path) -> None:
    for workers in (0, 2):
        with make_loader(shards) as whole, make_loader(shards, workers=workers) as loader:
            expected, steps = steps_of(whole.interval([1, 2, 1], 7)), []
            for arguments in ((([1, 2, 1], 7)), (), ([2, 4, 2], 7), ((), ())):
                batches = loader.interval(*(arguments if any(arguments) else ()))
                for _ in range(2):
                    if batch := next(batches, None):
                        steps.append(samples_of(batch))
            assert steps == expected
            assert (loader.interval_number, loader.step) == (1, 0)


def test_a_loop_that_is_left_at_the_last_batch_has_finished_its_interval(shards: Path) -> None:
    with make_loader(shards) as loader, make_loader(shards) as whole:
        for _ in loader.interval([1, 2, 1], 3):
            if loader.step == 2:
                break
        list(whole.interval([1, 2, 1], 3))
        assert loader.state_dict() == whole.state_dict()
        assert loader.refresh() == {}
        assert steps_of(loader.interval([1, 0, 1], 2)) == steps_of(whole.interval([1, 0, 1], 2))


@pytest.mark.parametrize(
    "arguments",
    [
        {"weights": [1, 1, 1], "steps": 6},
        {"weights": [1, 2, 1], "steps": 5},
        {"quotas": [8, 8, 8]},
        {"quotas": {"noise": 24}},
        {"steps": 7},
    ],
)
def test_other_arguments_within_an_interval_are_refused(arguments: dict[str, Any], shards: Path) -> None:
    with make_loader(shards) as loader:
        expected = steps_of(loader.interval([1, 2, 1], 6))
    with make_loader(shards) as loader:
        batches = loader.interval([1, 2, 1], 6)
        steps = [samples_of(next(batches)) for _ in range(2)]
        with pytest.raises(ValueError, match=r"interval 0 is at step 2 of 6 with quotas \[6, 12, 6\]: finish it first"):
            loader.interval(**arguments)
        assert steps + steps_of(loader.interval(quotas=[6, 12, 6], steps=6)) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stale_iterator_is_refused_and_takes_no_batch_from_its_successor(workers: int, shards: Path) -> None:
    with make_loader(shards) as loader:
        expected = steps_of(loader.interval([1, 2, 1], 6))
    with make_loader(shards, workers=workers) as loader:
        stale = loader.interval([1, 2, 1], 6)
        steps = [samples_of(next(stale)) for _ in range(2)]
        batches = loader.interval()
        steps.append(samples_of(next(batches)))
        with pytest.raises(RunError, match=r"this iterator is out of date"):
            next(stale)
        assert steps + steps_of(batches) == expected


@pytest.mark.parametrize("workers", [0, 1])
def test_after_close_the_iterator_is_refused_and_the_interval_goes_on(workers: int, shards: Path) -> None:
    with make_loader(shards) as loader:
        expected = steps_of(loader.interval([1, 2, 1], 6))
    loader = make_loader(shards, workers=workers)
    batches = loader.interval([1, 2, 1], 6)
    steps = [samples_of(next(batches)) for _ in range(2)]
    loader.close()
    with pytest.raises(RunError, match=r"this iterator is out of date"):
        next(batches)
    assert steps + steps_of(loader.interval()) == expected
    loader.close()


# ---- in somebody else's process


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_states_and_the_threads_of_opencv_are_left_alone(workers: int, shards: Path) -> None:
    def settings() -> tuple[Mapping[str, Any], bytes, object, int, int]:
        numpy = np.random.get_state(legacy=False)  # noqa: NPY002
        return (
            numpy,
            torch.get_rng_state().numpy().tobytes(),
            random.getstate(),
            cv2.getNumThreads(),
            torch.get_num_threads(),
        )

    threads = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        before = settings()
        with make_loader(shards, workers=workers) as loader:
            loader.peek("mild", 2)
            for _ in range(2):
                for _ in loader.interval([1, 1, 1], 3):
                    np.testing.assert_equal(settings(), before)
        np.testing.assert_equal(settings(), before)
    finally:
        cv2.setNumThreads(threads)


def test_worker_init_is_called_in_each_worker_with_its_number(shards: Path, tmp_path: Path) -> None:
    with make_loader(shards, workers=2, worker_init=lambda number: (tmp_path / str(number)).touch()) as loader:
        list(loader.interval([1, 1, 1], 2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_two_loaders_do_not_disturb_each_other(shards: Path, expected: list[list[list[Sample]]]) -> None:
    with make_loader(shards, workers=1) as one, MixingLoader(shards, 4, seed=1, workers=0) as other:
        for quotas, interval in zip(INTERVALS, expected, strict=True):
            pairs = zip(one.interval(quotas=quotas), other.interval(quotas=quotas), strict=True)
            steps = [(samples_of(mine), samples_of(theirs)) for mine, theirs in pairs]
            assert [mine for mine, _ in steps] == interval
            assert [theirs for _, theirs in steps] != interval
