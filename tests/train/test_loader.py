"""The loader on real shards: the same batches, bit by bit, with any number of workers."""

import pickle
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from gen.render import main as render
from shared.errors import RunError
from shared.images import encode_png
from shared.mixing.memory import NO_SLOT, BatchMemory, Pictures
from shared.mixing.sources import IN_USE, Batch, TicketDataset, batches, make_loader
from shared.mixing.tasks import Task, find_tasks
from shared.mixing.tickets import RowOrder, Ticket, TicketSampler
from shared.shards.reader import Dataset
from train.feed import Feed
from train.settings import TrainSettings

INTERVALS = [[7, 7, 6], [2, 18, 0], [0, 0, 20], [40, 0, 0]]
"""Quotas of four intervals in batches of four; the last one is longer and repeats rows of a second epoch."""

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # 3 workers on 2 cores


def dataset(tasks: list[Task], flip: bool = True) -> TicketDataset:
    return TicketDataset(tasks, seed=0, flip=flip)


def one(tasks: list[Task], task: int, ordinal: int, flip: bool = True) -> Batch:
    """A batch of one stored row: the task's `ordinal`-th in its order."""
    row = RowOrder([8, 8, 8, 4], 0, tasks[task].name, 2).take(ordinal, 1)[0]
    return dataset(tasks, flip).batch([Ticket(task, ordinal, "shards", task, row)])


def deliver(tasks: list[Task], workers: int, rank: int = 0, num_ranks: int = 1) -> list[list[Batch]]:
    """The batches of every interval, through one feed as in a run."""
    settings = TrainSettings(batch_size=4, interval_steps=5, iterations=5, workers=workers, window_shards=2)
    feed, consumed, delivered = Feed(tasks, settings, torch.device("cpu"), rank, num_ranks), [0, 0, 0], []
    for interval, quotas in enumerate(INTERVALS):
        record = {"quotas": quotas, **feed.decide(quotas)}
        delivered.append(list(feed.interval(record, consumed, interval, 0)))
        feed.close(record)
        consumed = [a + b for a, b in zip(consumed, quotas, strict=True)]
    return delivered


def equal(mine: Batch, expected: Batch) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(mine, expected, strict=True)
    )


@pytest.fixture(scope="module")
def without_workers(tasks: list[Task]) -> list[list[Batch]]:
    return deliver(tasks, 0)


def test_every_interval_delivers_exactly_its_quotas(without_workers: list[list[Batch]]) -> None:
    for interval, quotas in zip(without_workers, INTERVALS, strict=True):
        counts = torch.bincount(torch.cat([batch.task for batch in interval]), minlength=3)
        assert counts.tolist() == quotas


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_batches_in_the_same_order(
    tasks: list[Task], without_workers: list[list[Batch]], workers: int
) -> None:
    delivered = deliver(tasks, workers)
    assert [len(interval) for interval in delivered] == [5, 5, 5, 10]
    for mine, expected in zip(chain(*delivered), chain(*without_workers), strict=True):
        assert equal(mine, expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_interval_delivers_a_ticket_of_another_one(tasks: list[Task], workers: int) -> None:
    consumed = [0, 0, 0]
    for interval, quotas in zip(deliver(tasks, workers), INTERVALS, strict=True):
        for task in range(3):
            ordinals = torch.cat([batch.ordinal[batch.task == task] for batch in interval]).tolist()
            assert ordinals == list(range(consumed[task], consumed[task] + quotas[task]))
            consumed[task] += quotas[task]


def test_two_ranks_together_deliver_the_samples_of_one(tasks: list[Task], without_workers: list[list[Batch]]) -> None:
    ranks = [deliver(tasks, 0, rank, 2) for rank in range(2)]
    for one, *halves in zip(chain(*without_workers), chain(*ranks[0]), chain(*ranks[1]), strict=True):
        for whole, *parts in zip(one[:6], *(half[:6] for half in halves), strict=True):
            assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole)


def test_a_sample_is_the_pair_of_its_row(tasks: list[Task]) -> None:
    noise = tasks[1].train
    assert noise is not None
    sample = one(tasks, 1, 3, flip=False)
    assert sample.hr.shape == (1, 3, 76, 76)
    assert sample.lr.shape == (1, 3, 19, 19)
    assert sample.hr.dtype == sample.lr.dtype == torch.uint8
    assert (sample.task, sample.ordinal, sample.owner) == (1, 3, 1)

    stored = Dataset(noise)[int(sample.row)]
    assert (stored.hr == _rgb(sample.hr)).all()
    assert (stored.lr == _rgb(sample.lr)).all()


def _rgb(image_1CHW: torch.Tensor) -> np.ndarray:
    return image_1CHW[0].permute(1, 2, 0).numpy()


def test_hr_and_lr_are_flipped_together_half_of_the_time(tasks: list[Task]) -> None:
    num_flips = 0
    for task in range(3):
        for ordinal in range(200):
            before, after = one(tasks, task, ordinal, flip=False), one(tasks, task, ordinal)
            flipped = not torch.equal(before.hr, after.hr)
            num_flips += flipped
            for original, image in ((before.hr, after.hr), (before.lr, after.lr)):
                assert torch.equal(image, original.flip(3) if flipped else original)
    # 600 fair coins: standard deviation 12.2; five of them are passed once in 1.7 million
    assert abs(num_flips - 300) < 5 * 12.25


def test_the_flip_belongs_to_the_ticket_not_to_the_row(tasks: list[Task]) -> None:
    flips = [not torch.equal(one(tasks, 0, i).hr, one(tasks, 0, i, flip=False).hr) for i in range(56)]
    again = [not torch.equal(one(tasks, 0, i).hr, one(tasks, 0, i, flip=False).hr) for i in reversed(range(56))]
    assert flips == again[::-1]
    assert flips[:28] != flips[28:]  # the next epoch of 28 rows flips others


def test_a_used_dataset_survives_the_way_to_a_worker(tasks: list[Task]) -> None:
    used = dataset(tasks)
    tickets = [Ticket(task, 5, "shards", task, 9) for task in range(3)]
    before = used.batch(tickets)
    sent = pickle.loads(pickle.dumps(used))
    assert equal(sent.batch(tickets), before)
    del sent  # closes no file of the first one
    assert equal(used.batch(tickets), before)


def test_a_red_photograph_is_red_in_the_batch(tmp_path: Path) -> None:
    for number in range(3):
        picture = np.full((90, 90, 3), (200 + number, 30, 60), np.uint8)
        (tmp_path / "hr").mkdir(exist_ok=True)
        (tmp_path / f"hr/{number}.png").write_bytes(encode_png(picture))
    for split in ("train", "val"):
        words = ["--hr", str(tmp_path / "hr"), "--out", str(tmp_path / "shards"), "--patch", "76", "--count", "4"]
        render(["--subspace", "mild", "--split", split, "--workers", "1", *words])
    batch = dataset(find_tasks(tmp_path / "shards")).batch([Ticket(0, i, "shards", 0, i) for i in range(4)])
    red, green, blue = (batch.hr[:, channel].float().mean() for channel in range(3))
    assert 200 <= red <= 202
    assert (green, blue) == (30, 60)
    red, green, blue = (batch.lr[:, channel].float().mean() for channel in range(3))
    assert red > 180 > 80 > blue > green


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_arrives_in_its_own_words(tasks: list[Task], tmp_path: Path, workers: int) -> None:
    class Broken(TicketDataset):
        def batch(self, tickets: Sequence[Ticket], pictures: Pictures | None = None) -> Batch:
            raise RunError("row noise-000001-00002 is damaged")

    sampler = TicketSampler(4)
    sampler.start([4, 0, 0], [0, 0, 0], 0, 0)
    loader = make_loader(Broken(tasks, 0, True), sampler, workers, pin_memory=False)
    with pytest.raises(RunError, match=r"^row noise-000001-00002 is damaged$"):
        next(batches(loader))


# ---- memory that is used again


def test_a_slot_is_free_again_when_the_last_view_of_it_is_gone() -> None:
    memory = BatchMemory(2, batch_size=3, patch=8, scale=4)
    first, second = memory.take(), memory.take()
    assert {first, second} == {0, 1}
    assert memory.take() == NO_SLOT
    memory.pictures(first).hr[...] = 7
    lr, hr = memory.show(first)
    assert hr.shape == (3, 3, 8, 8)
    assert (hr == 7).all()
    view = hr[1][:, :2]
    del lr, hr
    assert memory.take() == NO_SLOT  # a part of it is still seen
    del view
    assert memory.take() == first


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_that_are_kept_are_never_written_to_again(
    tasks: list[Task], without_workers: list[list[Batch]], workers: int
) -> None:
    """`deliver` keeps all 25, more than there are slots."""
    for mine, expected in zip(chain(*deliver(tasks, workers)), chain(*without_workers), strict=True):
        assert equal(mine, expected)


def test_batches_that_are_let_go_use_the_same_memory(tasks: list[Task]) -> None:
    settings = TrainSettings(batch_size=4, interval_steps=20, iterations=20, workers=0)
    feed, places = Feed(tasks, settings, torch.device("cpu")), set()
    quotas = [40, 20, 20]
    for batch in feed.interval({"quotas": quotas, **feed.decide(quotas)}, [0, 0, 0], 0, 0):
        places.add(batch.hr.data_ptr())
    assert len(places) <= IN_USE
