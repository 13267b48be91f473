"""The torch backend on a GPU: the CPU device's pictures, in bounded memory, at speed, without waiting for the device.

How close it comes to the CPU backend is tested with the operators, on every device (`tests/shared/degradation`).
"""

import time
import warnings

import numpy as np
import pytest
import torch

from scripts.bench.parity import crops, plans
from shared.degradation import gpu
from shared.degradation.gpu_steps import steps_of
from shared.degradation.presets import SPACES
from shared.mixing.degrade import SMALL_BUDGET_BYTES, Degrader
from shared.mixing.samples import Pending

BATCH, SIDE = 48, 256


def pictures(count: int = BATCH, side: int = SIDE) -> torch.Tensor:
    return torch.from_numpy(crops(count, side)).permute(0, 3, 1, 2).contiguous()


def steps(count: int = BATCH, side: int = SIDE, space: str = "realesrgan", first: int = 0) -> list:
    return [steps_of(plan, side // 4, side // 4) for plan in plans(space, range(first, first + count), side)]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("side", [256, 101])
def test_every_device_makes_the_same_pictures_noise_included(space, side, device):
    hr, chosen = pictures(16, side), plans(space, range(16), side)
    assert torch.equal(gpu.render(hr.to(device), chosen).cpu(), gpu.render(hr, chosen))


def test_tensor_cores_change_nothing(device, monkeypatch):
    hr, chosen = pictures().to(device), steps()
    expected = gpu.execute(hr, chosen)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with torch.autocast("cuda", torch.bfloat16):
        assert torch.equal(gpu.execute(hr, chosen), expected)


def test_a_sample_is_the_same_in_any_batch(device):
    hr, chosen = pictures().to(device), steps()
    lr = gpu.execute(hr, chosen)
    assert torch.equal(gpu.execute(hr, chosen), lr)
    assert torch.equal(gpu.execute(hr.flip(0), chosen[::-1]), lr.flip(0))
    for part in (slice(0, 1), slice(5, 12), slice(12, BATCH)):
        assert torch.equal(gpu.execute(hr[part], chosen[part]), lr[part])
    assert torch.equal(gpu.execute(hr, chosen, budget_bytes=200 << 20), lr)


def test_the_host_never_waits_for_the_device(device):
    batches = [steps(first=BATCH * number) for number in range(3)]
    hr = pictures().to(device)
    for chosen in batches:  # memory is reserved, tables are built
        gpu.execute(hr, chosen)
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mode announces itself as a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        for chosen in batches:
            gpu.execute(hr, chosen)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_batch_is_completed_without_waiting(device):
    lr, hr, pending = batch_of(pictures(), steps())
    batch = lr.pin_memory(), hr.pin_memory(), pending
    degrader = Degrader(4)
    degrader.complete(*batch, device)
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
    try:
        degrader.complete(*batch, device)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def batch_of(hr: torch.Tensor, chosen: list) -> tuple[torch.Tensor, torch.Tensor, list[Pending]]:
    """(lr, hr, pending) of a batch of which the device has to make every LR image."""
    count, _, height, width = hr.shape
    lr = torch.zeros(count, 3, height // 4, width // 4, dtype=torch.uint8)
    return lr, hr, [Pending(place, one, place % 2 == 0) for place, one in enumerate(chosen)]


@pytest.mark.parametrize("budget_bytes", [gpu.BUDGET_BYTES, 300 << 20])
def test_working_memory_stays_below_the_stated_bound(budget_bytes, device):
    hr, chosen = pictures().to(device), plans("realesrgan", range(BATCH), SIDE)
    gpu.render(hr, chosen, budget_bytes=budget_bytes)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    gpu.render(hr, chosen, budget_bytes=budget_bytes)
    used = torch.cuda.max_memory_allocated() - before
    largest = max(gpu.working_bytes(plan, SIDE, SIDE) for plan in chosen)
    bound = min(BATCH * largest, max(budget_bytes, largest))
    print(f"{used / 2**20:.0f} MiB of {bound / 2**20:.0f}")
    assert used < bound + (64 << 20)  # the result, and the workspace of matrix products


def test_out_of_memory_is_survived_with_a_smaller_split(device):
    hr, chosen = pictures(), steps()
    expected, _ = Degrader(4).complete(*batch_of(hr, chosen), device)
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    kept = torch.empty(max(0, free - (400 << 20)), dtype=torch.uint8, device=device)
    degrader = Degrader(4)
    try:
        with pytest.warns(RuntimeWarning, match="degradation on cuda ran out of memory: its budget is 256 MiB"):
            lr, _ = degrader.complete(*batch_of(hr, chosen), device)
    finally:
        del kept
    assert torch.equal(lr, expected)
    assert degrader.budget_bytes == SMALL_BUDGET_BYTES


def test_a_batch_takes_less_time_than_the_cpu_backend_would_take_for_its_hundredth(device):
    """48 pairs in 60 ms: 800 pairs/s, a tenth of what is expected of a data-centre GPU."""
    hr, batches = pictures().to(device), [steps(first=BATCH * number) for number in range(6)]
    gpu.execute(hr, batches[0])
    torch.cuda.synchronize()
    seconds = []
    for chosen in batches[1:]:
        start = time.perf_counter()
        gpu.execute(hr, chosen)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    print(f"{BATCH / np.median(seconds):.0f} pairs/s")
    assert np.median(seconds) < 0.06
