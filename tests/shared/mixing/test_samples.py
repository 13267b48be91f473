"""From tickets to images: stored pairs, flips, and what a worker sends home."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from gen.render import main as render
from shared.errors import RunError
from shared.images import encode_png
from shared.mixing.rows import RowOrder
from shared.mixing.samples import Loaded, Samples, batch_bytes, images_of
from shared.mixing.tasks import Task, find_tasks
from shared.mixing.tickets import Ticket
from shared.mixing.workers import Workers
from shared.shards.reader import Dataset


def samples_of(tasks: list[Task], flip: bool = True) -> Samples:
    return Samples(tasks, 0, flip, [28] * len(tasks))


def images(loaded: Loaded) -> tuple[torch.Tensor, torch.Tensor]:
    """lr uint8 [b, 3, 19, 19] and hr uint8 [b, 3, 76, 76]."""
    return images_of(loaded.memory, loaded.columns.shape[1], 76, 4)


def tickets_of(task: Task, number: int, count: int) -> list[Ticket]:
    """The first stored rows of a task in their order."""
    rows = RowOrder([8, 8, 8, 4], 0, task.name, 2).take(0, count).tolist()
    return [Ticket(number, ordinal, "shards", number, row) for ordinal, row in enumerate(rows)]


def test_a_sample_is_the_pair_of_its_row(tasks: list[Task]) -> None:
    tickets = tickets_of(tasks[1], 1, 8)
    loaded = samples_of(tasks, flip=False).batch(tickets)
    lr, hr = images(loaded)
    assert (hr.shape, lr.shape) == ((8, 3, 76, 76), (8, 3, 19, 19))
    assert hr.dtype == lr.dtype == torch.uint8
    assert loaded.columns.tolist() == [[1] * 8, list(range(8)), [ticket.row for ticket in tickets]]
    assert tasks[1].train is not None
    stored = Dataset(tasks[1].train)
    for place, ticket in enumerate(tickets):
        assert np.array_equal(hr[place].permute(1, 2, 0), stored[ticket.row].hr)
        assert np.array_equal(lr[place].permute(1, 2, 0), stored[ticket.row].lr)


def test_hr_and_lr_are_flipped_together_half_of_the_time(tasks: list[Task]) -> None:
    num_flips = 0
    for number, task in enumerate(tasks):
        tickets = tickets_of(task, number, 200)
        plain, drawn = (images(samples_of(tasks, flip).batch(tickets)) for flip in (False, True))
        flipped = [not torch.equal(*pair) for pair in zip(plain[1], drawn[1], strict=True)]
        num_flips += sum(flipped)
        for before, after in zip(plain, drawn, strict=True):
            for is_flipped, original, image in zip(flipped, before, after, strict=True):
                assert torch.equal(image, original.flip(2) if is_flipped else original)
    # 600 fair coins: standard deviation 12.2; five of them are passed once in 1.7 million
    assert abs(num_flips - 300) < 5 * 12.25


def test_the_flip_belongs_to_the_ticket_not_to_the_row(tasks: list[Task]) -> None:
    tickets = [Ticket(0, ordinal, "shards", 0, 3) for ordinal in range(40)]
    _, hr = images(samples_of(tasks).batch(tickets))
    _, again = images(samples_of(tasks).batch(tickets[::-1]))
    flips = [not torch.equal(image, hr[0]) for image in hr]
    assert 0 < sum(flips) < 40
    assert torch.equal(hr, again.flip(0))


def test_used_samples_survive_the_way_to_a_worker(tasks: list[Task]) -> None:
    used = samples_of(tasks)
    tickets = [Ticket(task, 5, "shards", task, 9) for task in range(3)]
    before = used.batch(tickets)
    sent = pickle.loads(pickle.dumps(used))
    assert torch.equal(sent.batch(tickets).memory, before.memory)
    del sent  # closes no file of the first one
    assert torch.equal(used.batch(tickets).memory, before.memory)


def test_a_red_image_is_red_in_the_batch(tmp_path: Path) -> None:
    for number in range(3):
        picture = np.full((90, 90, 3), (200 + number, 30, 60), np.uint8)
        (tmp_path / "hr").mkdir(exist_ok=True)
        (tmp_path / f"hr/{number}.png").write_bytes(encode_png(picture))
    words = ["--hr", str(tmp_path / "hr"), "--out", str(tmp_path / "shards"), "--patch", "76", "--count", "4"]
    render(["--subspace", "mild", "--workers", "1", *words])
    tasks = find_tasks(tmp_path / "shards", validation=False)
    lr, hr = images(Samples(tasks, 0, True, [4]).batch([Ticket(0, i, "shards", 0, i) for i in range(4)]))
    red, green, blue = (hr[:, channel].float().mean() for channel in range(3))
    assert 200 <= red <= 202
    assert (green, blue) == (30, 60)
    red, green, blue = (lr[:, channel].float().mean() for channel in range(3))
    assert red > 180 > 80 > blue > green


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_arrives_in_its_own_words(tasks: list[Task], workers: int) -> None:
    class Broken(Samples):
        def batch(self, tickets: Sequence[Ticket]) -> Loaded:
            raise RunError("row noise-000001-00002 is damaged")

    loading = Workers(Broken(tasks, 0, True, [28] * 3), workers, batch_bytes(1, 76, 4), False, None)
    with pytest.raises(RunError, match=r"^row noise-000001-00002 is damaged$"):
        next(loading.batches([[Ticket(0, 0, "shards", 0, 0)]]))
    loading.close()
