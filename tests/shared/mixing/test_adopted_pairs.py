"""Pairs that were made elsewhere, as a task beside rendered ones: from shards alone."""

import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from shared.errors import RunError, UsageError
from shared.mixing.tasks import find_tasks
from shared.shards.reader import Dataset
from tests.shared.mixing.delivery import counts_of, make_loader, steps_of
from tests.train.conftest import TASKS

ALL = [*TASKS, "camera"]


def test_the_task_comes_after_the_rendered_ones_and_has_no_plans(with_camera: Path) -> None:
    tasks = find_tasks(with_camera)
    assert [task.name for task in tasks] == ALL
    assert [task.plans is None for task in tasks] == [False, False, False, True]
    assert [task.val_manifest.rows for task in tasks] == [8, 8, 8, 6]
    assert [task.name for task in find_tasks(with_camera, ["camera"])] == ["camera"]


def test_a_loader_mixes_it_in_exact_counts_and_shows_its_pairs(with_camera: Path) -> None:
    rows = Dataset(with_camera / "camera")
    with make_loader(with_camera, flip=False) as loader:
        assert loader.tasks == tuple(ALL)
        batches = list(loader.interval({"mild": 0.25, "noise": 0.25, "camera": 0.5}, 10))
    assert counts_of(steps_of(batches), 4) == [10, 10, 0, 20]
    seen = []
    for batch in batches:
        for place in np.flatnonzero(batch.task.numpy() == ALL.index("camera")):
            number = int(batch.row[place])
            seen.append(number)
            for image, stored in zip((batch.hr, batch.lr), (rows[number].hr, rows[number].lr), strict=True):
                assert np.array_equal(image[place].permute(1, 2, 0).numpy(), stored)
    assert sorted(seen[:19]) == list(range(19))  # every row once an epoch


def test_a_state_within_an_interval_is_continued(with_camera: Path) -> None:
    with make_loader(with_camera) as loader:
        whole = steps_of(loader.interval([1, 1, 1, 1], 6))
    with make_loader(with_camera) as loader:
        batches = loader.interval([1, 1, 1, 1], 6)
        first = steps_of([next(batches) for _ in range(2)])
        state = loader.state_dict()
    with make_loader(with_camera) as loader:
        loader.load_state_dict(state)
        assert [*first, *steps_of(loader.interval())] == whole


@pytest.mark.parametrize("source", ["fly", "gpu"])
def test_no_sample_of_it_is_made_on_the_fly(with_camera: Path, source: str) -> None:
    device = "cpu" if source == "gpu" else None
    with pytest.raises(UsageError, match=f"source is '{source}': the pairs of task camera were made elsewhere"):
        make_loader(with_camera, source=source, device=device)


def test_auto_repeats_its_rows_where_others_are_made_on_the_fly(with_camera: Path) -> None:
    with make_loader(with_camera, max_repeats=1.0) as loader:
        steps = steps_of(loader.interval([1, 1, 1, 1], 40))
        assert loader.record.sources == ["fly", "fly", "fly", "shards"]
    assert all((sample.row >= 0) == (sample.task == 3) for sample in chain(*steps) if sample.task == 3)


def test_validation_pairs_alone_are_no_task(with_camera: Path, tmp_path: Path) -> None:
    shutil.copytree(with_camera / "camera-val", tmp_path / "camera-val")
    with pytest.raises(RunError, match="task camera has validation pairs alone"):
        find_tasks(tmp_path, on_the_fly=True)


def test_pairs_to_train_on_alone_are_told_how_to_be_validated(with_camera: Path, tmp_path: Path) -> None:
    shutil.copytree(with_camera / "camera", tmp_path / "camera")
    with pytest.raises(RunError, match=r"no validation set .*camera-val: adopt it with \S+ .*--subspace camera"):
        find_tasks(tmp_path)
