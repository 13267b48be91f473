"""The torch backend against the CPU backend: whole pictures; independence of batch, canvas and memory.

With noise off the two differ by the float32 rounding of the CPU backend's filters alone. A level that falls on the
other side of a tie can tip a JPEG coefficient, and one of those costs the LR image of a small patch several decibels.
"""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scripts.bench.parity import (
    LEAST_IDENTICAL,
    LEAST_POOLED_DB,
    LEAST_WITHIN_ONE,
    cells,
    crops,
    measure,
    plans,
    quiet,
)
from shared.degradation import cpu, gpu
from shared.degradation.gpu_canvas import from_levels, repeat_edges
from shared.degradation.gpu_steps import Filter, steps_of
from shared.degradation.plan import Resize
from shared.degradation.presets import SPACES
from tests.shared.degradation.gpu_pictures import (
    HEAVY,
    to_images,
    to_tensor,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_both_backends_have_the_same_operators():
    assert set(gpu.OPERATORS) == set(cpu.OPERATORS)


# --- whole pictures, noise off ------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", SPACES)
def test_with_noise_off_small_patches_are_those_of_the_cpu_backend(space, device):
    # LR images of 24 to 32 pixels: one tipped coefficient of a final JPEG costs 4 times as much as at the size in use.
    found = measure(space, 96, (96, 112, 128, 101), device)
    print(" | ".join(cells(found)))
    assert found.identical >= LEAST_IDENTICAL
    assert found.pooled_db >= LEAST_POOLED_DB
    assert found.within_one >= LEAST_WITHIN_ONE
    assert found.worst_db >= 38


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES)
def test_with_noise_off_500_patches_of_the_size_in_use_are_those_of_the_cpu_backend(space, device):
    found = measure(space, 500, (256, 255), device)
    assert found.holds(), " | ".join(cells(found))


def test_the_smallest_picture_renders_and_lr_sides_are_rounded_down(device):
    hr = crops(24, 75)[:, :74]
    chosen = [quiet(plan) for plan in plans("paper-realesrgan", range(24), 74)]
    lr = gpu.render(to_tensor(hr, device), chosen)
    assert lr.shape == (24, 3, 18, 18)
    assert lr.dtype == torch.uint8
    assert lr.device.type == device.type
    identical = [np.array_equal(a, cpu.render(h, p)) for a, h, p in zip(to_images(lr), hr, chosen, strict=True)]
    assert np.mean(identical) >= 0.7


def test_a_picture_may_lie_in_memory_as_it_likes(device):
    hr, chosen = to_tensor(crops(4, 80), device), plans("paper", range(4), 80)
    assert torch.equal(gpu.render(hr.to(memory_format=torch.channels_last), chosen), gpu.render(hr, chosen))


def test_no_pictures_give_no_pictures(device):
    assert gpu.render(torch.zeros(0, 3, 80, 84, dtype=torch.uint8, device=device), []).shape == (0, 3, 20, 21)


def test_a_float_picture_renders_as_the_8_bit_picture_it_equals(device):
    hr, chosen = to_tensor(crops(8, 80), device), plans("paper", range(8), 80)
    before = from_levels(hr)
    sharp = before.clone()
    assert torch.equal(gpu.render(sharp, chosen), gpu.render(hr, chosen))
    assert torch.equal(sharp, before)


@pytest.mark.parametrize(("sides", "num_plans"), [((73, 80), 2), ((80, 73), 2), ((80, 80), 1)])
def test_wrong_arguments_are_refused(sides, num_plans):
    with pytest.raises(ValueError, match=r"both sides must be 74|1 plans for 2 images"):
        gpu.render(torch.zeros(2, 3, *sides, dtype=torch.uint8), plans("paper", range(num_plans), 80))


# --- independence -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["paper", "realesrgan"])
def test_a_sample_is_the_same_alone_in_any_batch_and_again(space, device, monkeypatch):
    hr, chosen = to_tensor(crops(12, 80), device), plans(space, range(12), 80)
    lr = gpu.render(hr, chosen)
    assert torch.equal(gpu.render(hr, chosen), lr)
    assert torch.equal(gpu.render(hr.flip(0), chosen[::-1]), lr.flip(0))
    for row, plan in enumerate(chosen):
        assert torch.equal(gpu.render(hr[row : row + 1], [plan])[0], lr[row])
    monkeypatch.setattr(gpu, "WASTED_PIXELS", {device.type: 1 << 30})  # all sizes on one canvas
    assert torch.equal(gpu.render(hr, chosen), lr)
    monkeypatch.setattr(gpu, "WASTED_PIXELS", {device.type: 0})  # each size on its own
    assert torch.equal(gpu.render(hr, chosen), lr)


def test_steps_that_were_worked_out_before_are_those_of_the_plans(device):
    hr, chosen = to_tensor(crops(6, 80), device), plans("realesrgan", range(6), 80)
    steps = pickle.loads(pickle.dumps([steps_of(plan, 20, 20) for plan in chosen]))  # from another process
    assert torch.equal(gpu.execute(hr, steps), gpu.render(hr, chosen))


def test_a_blur_is_one_step_with_the_resize_behind_it_but_not_with_the_one_before():
    names, values = zip(*steps_of(HEAVY, 32, 32), strict=True)
    assert names == ("blur", "noise", "jpeg", "blur", "noise", "resize", "blur", "jpeg")
    of_filters = [(value.blur is not None, value.resize) for value in values if isinstance(value, Filter)]
    to_lr = Resize("keep", HEAVY.final.resize_mode, 32, 32)
    assert of_filters == [(True, HEAVY.resize1), (True, HEAVY.resize2), (False, to_lr), (True, None)]
    unblurred = replace(HEAVY, blur1=None, blur2=None, final=replace(HEAVY.final, sinc=None))
    names = [name for name, _ in steps_of(unblurred, 32, 32)]
    assert names == ["resize", "noise", "jpeg", "resize", "noise", "resize", "jpeg"]


def test_the_host_needs_no_pixel():
    # On a device without data; so on a GPU it has nothing to wait for.
    steps = [steps_of(plan, 20, 20) for space in SPACES for plan in plans(space, range(2), 80)]
    hr = torch.empty(len(steps), 3, 80, 80, dtype=torch.uint8, device="meta")
    assert gpu.execute(hr, steps).shape == (len(steps), 3, 20, 20)


def test_another_seed_makes_another_picture(device):
    hr, plan = to_tensor(crops(1, 80), device), plans("paper", [0], 80)[0]
    other = replace(plan, noise1=replace(plan.noise1, seed=plan.noise1.seed + 1))
    assert not torch.equal(gpu.render(hr, [plan]), gpu.render(hr, [other]))


@pytest.mark.parametrize("budget_bytes", [1, 20 << 20])
def test_splitting_by_budget_changes_nothing(budget_bytes, device, monkeypatch):
    hr, chosen = to_tensor(crops(12, 80), device), plans("realesrgan", range(12), 80)
    whole = gpu.render(hr, chosen)
    parts, render_part = [], gpu._render_part
    monkeypatch.setattr(gpu, "_render_part", lambda *args: parts.append(len(args[1])) or render_part(*args))
    assert torch.equal(gpu.render(hr, chosen, budget_bytes=budget_bytes), whole)
    assert sum(parts) == 12
    assert len(parts) > 1
    smallest = min(gpu.working_bytes(plan, 80, 80) for plan in chosen)
    assert max(parts) <= max(1, budget_bytes // smallest)


@pytest.mark.parametrize("resize1", [Resize("up", "bicubic", 192, 192), Resize("keep", "area", 128, 128)])
def test_working_memory_stays_below_the_stated_bound(resize1):
    hr, plan = to_tensor(crops(4, 128), "cpu"), replace(HEAVY, resize1=resize1)
    steps = [steps_of(plan, 32, 32)] * 4
    gpu.execute(hr[:1], steps[:1])  # tables are built
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiled:
        gpu.execute(hr, steps)
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    peak = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]).max()
    bound = 4 * gpu.working_bytes(plan, 128, 128)
    print(f"peak {peak / bound:.2f} of the bound")
    assert bound / 3 < peak < bound  # a bound that says something


class Operands(TorchDispatchMode):
    """Notes the most tensors of integers that an operation takes."""

    def __init__(self):
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        integers = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if function.__name__.startswith(("index", "gather", "take")):
            self.most = max(self.most, sum(leaf.dtype == torch.int64 for leaf in integers))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", [torch.float32, torch.uint8])
def test_repeated_edges_are_the_nearest_ones_by_a_single_index(kind):
    """Of several index tensors a GPU makes copies as large as the result, times eight bytes each."""
    planes = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).remainder(251).to(kind)
    with Operands() as operands:
        found = repeat_edges(planes, [(2, 3), (4, 1)])
    for image, height, width in ((0, 2, 3), (1, 4, 1)):
        inside = planes[image, :, :height, :width].numpy()
        around = ((0, 0), (0, 4 - height), (0, 5 - width))
        assert np.array_equal(found[image].numpy(), np.pad(inside, around, mode="edge"))
    assert operands.most == 1
