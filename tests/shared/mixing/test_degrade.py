"""Samples of the source gpu in little memory: split, and nothing else changed."""

from pathlib import Path

import pytest
import torch

from shared.degradation import gpu
from shared.mixing.degrade import SMALL_BUDGET_BYTES, Degrader
from shared.mixing.pool import find_pool
from shared.mixing.samples import Loaded, Samples, images_of
from shared.mixing.tasks import find_tasks
from shared.mixing.tickets import Ticket


@pytest.fixture(scope="module")
def loaded(val_only: Path) -> Loaded:
    """Six HR crops that the device is to degrade."""
    tasks = find_tasks(val_only, on_the_fly=True)
    samples = Samples(tasks, 0, True, [0, 0, 0], find_pool("photos", tasks, seed=0))
    return samples.batch([Ticket(i % 3, i, "gpu") for i in range(6)])


def complete(degrader: Degrader, loaded: Loaded) -> torch.Tensor:
    """LR images, uint8 [6, 3, 19, 19]."""
    lr, hr = images_of(loaded.memory, 6, 76, 4)
    return degrader.complete(lr, hr, loaded.pending, torch.device("cpu"))[0]


def test_a_small_budget_splits_the_batch_and_changes_nothing(loaded: Loaded) -> None:
    expected = complete(Degrader(4), loaded)
    assert (expected.float().mean(dim=(1, 2, 3)) > 1).all()
    assert torch.equal(complete(Degrader(4, budget_bytes=1), loaded), expected)


def test_out_of_memory_leads_to_a_smaller_split_once_with_a_warning(loaded: Loaded, monkeypatch) -> None:
    execute, budgets = gpu.execute, []

    def small_device(hr, steps, scale, budget_bytes):
        budgets.append(budget_bytes)
        if budget_bytes > 300 << 20:
            raise torch.OutOfMemoryError("simulated")
        return execute(hr, steps, scale, budget_bytes)

    expected = complete(Degrader(4), loaded)
    monkeypatch.setattr(gpu, "execute", small_device)
    degrader = Degrader(4)
    with pytest.warns(RuntimeWarning, match="degradation on cpu ran out of memory: its budget is"):
        assert torch.equal(complete(degrader, loaded), expected)
    complete(degrader, loaded)  # no second warning: the budget stays small
    assert budgets == [gpu.BUDGET_BYTES, SMALL_BUDGET_BYTES, SMALL_BUDGET_BYTES]


def test_a_device_that_is_too_small_even_so_is_an_error(loaded: Loaded, monkeypatch) -> None:
    def no_device(*arguments):
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(gpu, "execute", no_device)
    degrader = Degrader(4)
    with (
        pytest.warns(RuntimeWarning, match="ran out of memory"),
        pytest.raises(torch.OutOfMemoryError, match="simulated"),
    ):
        complete(degrader, loaded)
    with pytest.raises(torch.OutOfMemoryError, match="simulated"):  # and no second warning
        complete(degrader, loaded)
