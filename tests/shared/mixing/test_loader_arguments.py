"""Arguments of a loader and of its intervals: what they may be, and what is refused."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import RunError, UsageError
from tests.shared.mixing.delivery import (
    Sample,
    counts_of,
    make_loader,
    steps_of,
)


def test_quotas_and_weights_are_given_by_name_or_in_the_order_of_tasks(shards: Path) -> None:
    def interval(*arguments: Any, **named: Any) -> list[list[Sample]]:
        with make_loader(shards) as loader:
            return steps_of(loader.interval(*arguments, **named))

    expected = interval(quotas=[3, 0, 5])
    assert interval(quotas={"severe": 5, "mild": 3}) == expected
    assert interval(quotas=np.array([3, 0, 5]), steps=2) == expected
    assert interval({"severe": 50, "mild": 30, "noise": 0}, 2) == expected
    assert interval(np.array([0.3, 0, 0.5]), steps=2) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no interval is open: a new one needs weights and steps, or quotas"),
        ({"steps": 5}, "no interval is open: a new one needs weights and steps, or quotas"),
        ({"weights": [1, 1, 1], "quotas": [4, 0, 0]}, "weights and steps, or quotas: give one of the two"),
        ({"weights": [1, 1, 1]}, "steps is None: give a positive number of steps"),
        ({"weights": [1, 1, 1], "steps": 0}, "steps is 0"),
        ({"weights": [1, 1], "steps": 1}, r"weights are \[1, 1\]: 3 tasks need as many"),
        ({"weights": {"mild": 1, "blur": 1}, "steps": 1}, "weights name a task 'blur': the tasks are mild, noise, se"),
        ({"weights": [0, 0, 0], "steps": 1}, "must be finite, not negative and not all zero"),
        ({"weights": [1, -1, 1], "steps": 1}, "must be finite, not negative and not all zero"),
        ({"weights": [1, float("nan"), 1], "steps": 1}, "must be finite, not negative and not all zero"),
        ({"weights": {}, "steps": 1}, "must be finite, not negative and not all zero"),
        ({"quotas": [4, 4]}, r"quotas are \[4, 4\]: 3 tasks need as many"),
        ({"quotas": {"blur": 4}}, "quotas name a task 'blur'"),
        ({"quotas": [1, 1, 1]}, r"quotas are \[1, 1, 1\]: .* whose sum is a positive multiple of batch_size 4"),
        ({"quotas": [0, 0, 0]}, "a positive multiple of batch_size 4"),
        ({"quotas": [8, -4, 0]}, "not negative"),
        ({"quotas": [2.5, 1.5, 0]}, "they must be integers"),
        ({"quotas": [4, 4, 0], "steps": 3}, "whose sum is 3 steps x batch_size 4"),
    ],
)
def test_arguments_that_make_no_interval_are_refused(arguments: dict[str, Any], message: str, shards: Path) -> None:
    with make_loader(shards) as loader:
        with pytest.raises(ValueError, match=message):
            loader.interval(**arguments)
        assert counts_of(steps_of(loader.interval([1, 0, 0], 1))) == [4, 0, 0]  # nothing has begun


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        (
            {"batch_size": 5, "rank": 0, "num_ranks": 2, "gather": list},
            "batch_size is 5: it must be a multiple of the 2",
        ),
        ({"rank": 0, "num_ranks": 2}, "num_ranks is 2: give gather, or initialise torch.distributed first"),
        ({"rank": 1}, "rank is 1, num_ranks None: give both or none"),
        ({"rank": 2, "num_ranks": 2, "gather": list}, "rank is 2: it must be between 0 and num_ranks - 1, 1"),
        ({"workers": -1}, "workers is -1, window_shards 2: at least 0 and 1 are needed"),
        ({"window_shards": 0}, "workers is 0, window_shards 0: at least 0 and 1 are needed"),
        ({"source": "disk"}, "source is 'disk': it must be auto, shards, fly or gpu"),
        ({"source": "gpu"}, "source is gpu: give the device that degrades"),
        ({"tasks": ["noise", "blur"]}, "task 'blur' is not in .*: it holds mild, noise, severe"),
        ({"patch": 80}, "patch is 80: the shards in .* have 76, leave it out"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(options: dict[str, Any], message: str, shards: Path) -> None:
    with pytest.raises(UsageError, match=message):
        make_loader(shards, **options)


def test_tasks_are_found_or_chosen_by_name(shards: Path) -> None:
    with make_loader(shards, tasks=["severe", "mild"]) as loader:
        assert loader.tasks == ("mild", "severe")
        chosen = steps_of(loader.interval([1, 1], 4))
    with make_loader(shards) as loader:
        all_of_them = list(chain(*steps_of(loader.interval([1, 0, 0], 2))))
    assert [sample for sample in chain(*chosen) if sample.task == 0] == all_of_them  # the name decides, not the number


def test_a_single_task_may_be_given_as_a_word(shards: Path) -> None:
    with make_loader(shards, tasks="noise") as loader:
        assert loader.tasks == ("noise",)


def test_a_folder_without_datasets_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no shards in .*: render some with"):
        make_loader(tmp_path)
