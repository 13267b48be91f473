"""Which source serves a task, and samples that are made on the fly: by loader workers or by the device."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.degradation import cpu, gpu
from shared.degradation.partition import get_subspace
from shared.degradation.plan import draw_plan
from shared.degradation.presets import get_space
from shared.errors import RunError
from shared.mixing.loader import Batch
from shared.mixing.plans import Box, Frozen
from shared.mixing.pool import find_pool
from shared.mixing.sources import choose_source
from shared.mixing.tasks import Task, find_tasks
from shared.shards.reader import Dataset
from tests.shared.mixing.delivery import counts_of, joined, make_loader, on_ranks, samples_of, steps_of
from tests.train.conftest import TASKS


@pytest.mark.parametrize(
    ("wanted", "rows", "read", "quota", "max_repeats", "accelerated", "expected"),
    [
        ("auto", 100, 0, 500, None, True, "shards"),
        ("auto", 0, 0, 5, None, True, "gpu"),
        ("auto", 0, 0, 5, None, False, "fly"),
        ("auto", 100, 150, 50, 2.0, True, "shards"),  # exactly twice
        ("auto", 100, 150, 51, 2.0, True, "gpu"),
        ("auto", 100, 150, 51, 2.0, False, "fly"),
        ("shards", 100, 900, 500, None, True, "shards"),
        ("gpu", 100, 0, 5, None, False, "gpu"),
        ("fly", 100, 0, 5, None, True, "fly"),
    ],
)
def test_the_choice_of_a_source(wanted, rows, read, quota, max_repeats, accelerated, expected) -> None:
    assert choose_source(wanted, rows, read, quota, max_repeats, accelerated) == expected


def images(batch: Batch, place: int) -> tuple[np.ndarray, np.ndarray]:
    """(lr, hr) of one sample, uint8 [h, w, 3]."""
    return tuple(each[place].permute(1, 2, 0).numpy() for each in (batch.lr, batch.hr))


def expected_plan(task: str, ordinal: int):
    """The plan of split fly whose row is the ordinal."""
    box = get_subspace(get_space("paper"), "2x2", task)
    return draw_plan(box, seed=0, split="fly", row=ordinal, height=76, width=76)


# ---- on the fly


def test_fly_degrades_crops_of_the_pool_by_plans_of_their_own(val_only: Path) -> None:
    pool = find_pool("photos", find_tasks(val_only, on_the_fly=True), seed=0)
    with make_loader(val_only, source="fly", hr="photos", flip=False) as loader:
        for batch in loader.interval([1, 1, 1], 3):
            assert batch.row.tolist() == [-1] * 4
            for place, (number, ordinal) in enumerate(zip(batch.task.tolist(), batch.ordinal.tolist(), strict=True)):
                lr, hr = images(batch, place)
                assert np.array_equal(hr, pool.crop(TASKS[number], ordinal))
                assert np.array_equal(lr, cpu.render(hr, expected_plan(TASKS[number], ordinal)))
        assert loader.record
        assert loader.record.sources == ["fly"] * 3


def test_plans_on_the_fly_are_never_those_of_a_shard(tasks: list[Task]) -> None:
    assert tasks[0].train
    stored = {Dataset(tasks[0].train).meta(row).plan for row in range(28)}
    drawn = {tasks[0].plans.draw(0, ordinal, 76, 4).to_json() for ordinal in range(28)}
    assert len(drawn) == 28
    assert not stored & drawn


def test_without_a_pool_hr_images_come_from_the_tasks_own_shards(shards: Path, tasks: list[Task]) -> None:
    with make_loader(shards, source="fly", flip=False) as loader:
        rows = []
        for batch in loader.interval([0, 1, 0], 7):
            for place, (ordinal, row) in enumerate(zip(batch.ordinal.tolist(), batch.row.tolist(), strict=True)):
                lr, hr = images(batch, place)
                assert np.array_equal(hr, Dataset(tasks[1].train).hr(row))
                assert np.array_equal(lr, cpu.render(hr, expected_plan("noise", ordinal)))
                rows.append(row)
        assert sorted(rows) == list(range(28))  # each once


def test_a_task_without_shards_takes_hr_images_from_the_others_in_turn(copy: Path, tasks: list[Task]) -> None:
    (copy / "noise").rename(copy.parent / "elsewhere")
    with make_loader(copy, tasks=TASKS, flip=False) as loader:
        steps = []
        for batch in loader.interval(quotas=[4, 12, 4]):
            steps.append(batch)
        assert loader.record
        assert loader.record.sources == ["shards", "fly", "shards"]
    for batch in steps:
        for place in (batch.task == 1).nonzero().flatten().tolist():
            owner = (0, 2)[int(batch.ordinal[place]) % 2]
            assert np.array_equal(images(batch, place)[1], Dataset(tasks[owner].train).hr(int(batch.row[place])))


def test_any_number_of_workers_and_ranks_makes_the_same_samples(val_only: Path) -> None:
    def deliver(**options) -> list:
        with make_loader(val_only, hr="photos", **options) as loader:
            return steps_of(loader.interval([2, 1, 1], 4))

    expected = deliver()
    assert counts_of(expected) == [8, 4, 4]
    assert deliver(workers=2) == expected
    assert joined(on_ranks(2, lambda options: deliver(**options))) == expected


# ---- the device


def test_without_a_device_gpu_is_an_error_and_auto_falls_back_to_fly(val_only: Path) -> None:
    with pytest.raises(ValueError, match="source is gpu: give the device that degrades, such as device='cuda'"):
        make_loader(val_only, source="gpu", hr="photos")
    for device in (None, "cpu"):
        with make_loader(val_only, hr="photos", device=device) as loader:
            loader.interval([1, 1, 1], 1)
            assert loader.record
            assert loader.record.sources == ["fly"] * 3


@pytest.mark.parametrize("workers", [0, 2])
def test_the_source_gpu_is_complete_on_a_torch_device(workers: int, val_only: Path) -> None:
    options = {"hr": "photos", "workers": workers}
    with (
        make_loader(val_only, source="gpu", device="cpu", **options) as loader,
        make_loader(val_only, source="fly", **options) as by_workers,
        make_loader(val_only, source="fly", flip=False, **options) as not_flipped,
    ):
        iterators = (each.interval([1, 1, 1], 4) for each in (loader, by_workers, not_flipped))
        flips = 0
        for batch, fly, plain in zip(*iterators, strict=True):
            assert torch.equal(batch.hr, fly.hr)
            pairs = zip(batch.task.tolist(), batch.ordinal.tolist(), strict=True)
            made = gpu.render(plain.hr, [expected_plan(TASKS[task], ordinal) for task, ordinal in pairs])
            for place in range(4):
                is_flipped = not torch.equal(batch.hr[place], plain.hr[place])
                flips += is_flipped
                assert torch.equal(batch.lr[place], made[place].flip(2) if is_flipped else made[place])
        assert 0 < flips < 16  # of the keyed coins, not by chance
        assert loader.record
        assert loader.record.sources == ["gpu"] * 3


def test_an_interval_may_mix_all_sources(copy: Path, shards: Path) -> None:
    (copy / "severe").rename(copy.parent / "elsewhere")
    with make_loader(copy, tasks=TASKS, hr="photos", max_repeats=0.2) as loader, make_loader(shards) as stored:
        steps = steps_of(loader.interval(quotas=[5, 10, 5]))
        assert loader.record
        assert loader.record.sources == ["shards", "fly", "fly"]
        assert counts_of(steps) == [5, 10, 5]
        mild = [sample for sample in chain(*steps) if sample.task == 0]
        assert mild == samples_of(stored.peek("mild", 5))
        assert {sample.row for sample in chain(*steps) if sample.task} == {-1}


# ---- repeats


def test_repeated_rows_are_limited_and_counted_from_shards_alone(shards: Path) -> None:
    sources, rows = [], []
    with make_loader(shards, max_repeats=1.0) as loader:
        for quotas in ([20, 0, 0], [20, 0, 0], [8, 12, 0], [20, 0, 0]):
            steps = steps_of(loader.interval(quotas=quotas))
            assert counts_of(steps) == quotas
            assert loader.record
            sources.append(loader.record.sources[0])
            mild = [sample.row for sample in chain(*steps) if sample.task == 0]
            rows += mild if sources[-1] == "shards" else []
        assert sources == ["shards", "fly", "shards", "fly"]  # 28 rows: 20 of them, then no 20 are left, but 8 are
        assert sorted(rows) == list(range(28))
        state = loader.state_dict()
        assert {name: count for name, count in state["read"].items() if count} == {"mild": 28, "noise": 12}
        assert state["consumed"] == {"mild": 68, "noise": 12, "severe": 0}


def test_a_task_that_can_have_no_sample_is_refused(val_only: Path, copy: Path) -> None:
    with pytest.raises(RunError, match="there are no shards to take HR images from: give hr, a folder of HR images"):
        make_loader(val_only, source="fly")
    (copy / "noise").rename(copy.parent / "elsewhere")
    with pytest.raises(RunError, match=r"task noise has no shards: render some, or .* \(source auto\)"):
        make_loader(copy, tasks=TASKS, source="shards")


# ---- plans


def test_a_frozen_plan_has_the_same_numbers_and_fresh_noise() -> None:
    box = Box(get_subspace(get_space("paper"), "2x2", "noise"))
    frozen = Frozen("one", box.draw(0, 3, 256, 4), patch=256)
    first, again, second = (frozen.draw(0, ordinal, 256, 4) for ordinal in (0, 0, 1))
    assert first == again
    assert first.noise1.seed != second.noise1.seed != second.noise2.seed
    for plan in (first, second):
        assert (plan.blur1, plan.resize1, plan.jpeg1, plan.final) == (
            frozen.plan.blur1,
            frozen.plan.resize1,
            frozen.plan.jpeg1,
            frozen.plan.final,
        )
        assert plan.noise1.level == frozen.plan.noise1.level
    smaller = frozen.draw(0, 0, 128, 4).resize1
    assert (smaller.height, smaller.width) == (frozen.plan.resize1.height // 2, frozen.plan.resize1.width // 2)
