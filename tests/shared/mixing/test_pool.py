"""The pool of HR images: none of a validation set, the same crops wherever pixels are kept."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import RunError
from shared.mixing.pool import HRPool, find_pool
from shared.mixing.tasks import Task, find_tasks
from shared.photos.find import find_hr_images
from tests.shared.mixing.delivery import make_loader


@pytest.fixture(scope="module")
def tasks(val_only: Path) -> list[Task]:
    """Tasks without shards."""
    return find_tasks(val_only, on_the_fly=True)


def showing(task: Task, paths: list[Path]) -> Task:
    """The task, with a validation set said to show these images."""
    listed = [{"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in paths]
    return replace(task, validation=replace(task.val_manifest, photographs=listed))


def crops_of(pool: HRPool) -> list[bytes]:
    """Crops that show every image."""
    return [pool.crop("noise", ordinal).tobytes() for ordinal in range(60)]


def test_no_image_of_a_validation_set_is_in_the_pool(tasks: list[Task], hr_images: Path) -> None:
    files = sorted(hr_images.iterdir())
    assert len(find_pool(str(hr_images), tasks, 0)) == 11  # one scene in twenty, at least one, is held out by its hash
    held_out = find_hr_images(str(hr_images), "val", 76).photographs[0].path
    shown = [path for path in files if str(path) != held_out][:4]
    assert len(find_pool(str(hr_images), [showing(tasks[0], shown)], 0)) == 7
    with pytest.raises(RunError, match=r"no usable HR image in .* \(12 images held out for validation"):
        find_pool(str(hr_images), [showing(tasks[0], files)], 0)


def test_a_loader_leaves_the_images_of_validation_sets_out(shards: Path) -> None:
    tasks = find_tasks(shards)
    shown = {image["sha256"] for task in tasks for image in task.val_manifest.photographs}
    pool = find_pool("photos", tasks, 0)
    with make_loader(shards, hr="photos", source="fly") as loader:
        assert loader.state_dict()["hr"] == pool.identity()
    assert shown
    everything = find_hr_images("photos", "train", 76).photographs
    assert len(pool) == len([image for image in everything if image.sha256 not in shown])


def test_an_image_that_changes_during_the_run_stops_it(tasks: list[Task], hr_images: Path) -> None:
    pool = find_pool(str(hr_images), tasks, 0)
    for path in hr_images.iterdir():
        path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(RunError, match=r".*hr/\d\d.png has changed since it was listed"):
        pool.crop("noise", 0)


@pytest.mark.parametrize("gigabytes", ["1", "0.00006", "0"])  # all, two of eleven, none
def test_no_crop_depends_on_where_pixels_are_kept(
    tasks: list[Task], hr_images: Path, tmp_path: Path, gigabytes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = crops_of(find_pool(str(hr_images), tasks, 0))
    monkeypatch.setenv("REALSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REALSR_CACHE_GB", gigabytes)
    for _ in range(2):
        assert crops_of(find_pool(str(hr_images), tasks, 0)) == expected


def test_the_pool_needs_files_only_for_what_is_not_kept(
    tasks: list[Task], hr_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALSR_CACHE", str(tmp_path / "cache"))
    expected = crops_of(find_pool(str(hr_images), tasks, 0))
    another = find_pool(str(hr_images), tasks, 0)
    shutil.rmtree(hr_images)
    assert crops_of(another) == expected


def test_a_pool_that_may_hold_little_in_memory_gives_the_same_crops(
    tasks: list[Task], hr_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = crops_of(find_pool(str(hr_images), tasks, 0))
    monkeypatch.setattr("shared.mixing.pool.POOL_BYTES", 70_000)  # two of the images
    assert crops_of(find_pool(str(hr_images), tasks, 0)) == expected
