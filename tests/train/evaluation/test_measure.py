"""What is measured at a border: PSNR of the network's 8-bit output on the stored validation rows."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from shared.errors import RunError
from shared.metrics import to_8bit_values
from shared.mixing.tasks import Task
from train.evaluation.measure import measure, photographs_of
from train.networks.build import build_network

CPU = torch.device("cpu")


class Nearest(nn.Module):
    """Enlarges by repeating pixels, and adds a constant."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        return lr.repeat_interleave(4, 2).repeat_interleave(4, 3) + self.offset


def test_psnr_is_measured_on_y_without_a_border_of_scale_pixels(tasks: list[Task]) -> None:
    rows = tasks[1].val_rows()
    for number, found in enumerate(measure(Nearest(), rows, range(8), CPU)):
        hr, lr, _ = rows[number]
        error = hr.astype(float) - lr.repeat(4, 0).repeat(4, 1)
        luma_error = (error @ [65.481, 128.553, 24.966] / 255)[4:-4, 4:-4]
        assert found == pytest.approx(10 * math.log10(255**2 / (luma_error**2).mean()), abs=1e-4)


def test_less_than_half_a_level_is_lost_in_the_file(tasks: list[Task]) -> None:
    rows = tasks[0].val_rows()
    exact = measure(Nearest(), rows, range(8), CPU)
    assert measure(Nearest(0.4 / 255), rows, range(8), CPU) == exact
    assert measure(Nearest(0.6 / 255), rows, range(8), CPU) != exact


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_value_depends_on_neither_threads_nor_the_other_images(threads: int, tasks: list[Task]) -> None:
    rows, network = tasks[1].val_rows(), build_network("msrresnet", {"num_feat": 24, "num_block": 2}, 4, 0).eval()
    alone = [measure(network, rows, [number], CPU)[0] for number in range(8)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert measure(network, rows, range(8), CPU) == alone
        assert measure(network, rows, [6, 1], CPU) == [alone[6], alone[1]]
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_an_output_that_is_not_finite_is_an_error_that_names_the_row(tasks: list[Task]) -> None:
    with pytest.raises(RunError, match="output on validation row 3 is not finite"):
        measure(Nearest(math.nan), tasks[0].val_rows(), [3, 4], CPU)


class Oracle(nn.Module):
    """Gives the HR picture itself."""

    def __init__(self, hr: np.ndarray) -> None:
        super().__init__()
        self.hr = torch.from_numpy(hr).permute(2, 0, 1)[None] / 255

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        return self.hr


def test_an_image_without_any_error_counts_a_hundred_decibels(tasks: list[Task]) -> None:
    rows = tasks[0].val_rows()
    assert measure(Oracle(rows[3].hr), rows, [3], CPU) == [100.0]


def test_an_image_is_worth_the_same_in_any_batch(tasks: list[Task]) -> None:
    rows, order = tasks[2].val_rows(), [5, 0, 7, 3]
    together = measure(Nearest(), rows, range(8), CPU)
    assert measure(Nearest(), rows, order, CPU) == pytest.approx([together[i] for i in order], rel=1e-12)
    assert measure(Nearest(), rows, [], CPU) == []


def test_values_outside_the_range_of_a_file_are_clipped() -> None:
    values = to_8bit_values(torch.tensor([-0.2, 0.0, 0.5, 1.0, 1.7]))
    assert (values * 255).round().tolist() == [0, 0, 128, 255, 255]


def test_a_row_shows_the_same_crop_of_the_same_photograph_in_every_task(tasks: list[Task]) -> None:
    names = [photographs_of(task.val_rows()) for task in tasks]
    assert names[0] == names[1] == names[2]
    assert 1 <= len(set(names[0])) <= 8
    for number in range(8):
        crops = [task.val_rows()[number].hr for task in tasks]
        assert np.array_equal(crops[0], crops[1])
        assert np.array_equal(crops[0], crops[2])
