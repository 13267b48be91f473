"""Small datasets of three tasks, made once for all tests: those that the tests of the trainer use."""

import shutil
from pathlib import Path

import pytest

from tests.train.conftest import hr_images, once, shards, tasks, with_camera

__all__ = ["hr_images", "once", "shards", "tasks", "with_camera"]


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """The datasets, to be changed."""
    shutil.copytree(shards, tmp_path / "shards")
    return tmp_path / "shards"


@pytest.fixture(scope="session")
def val_only(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The validation sets alone."""
    folder = tmp_path_factory.mktemp("val-only") / "shards"
    shutil.copytree(shards, folder, ignore=shutil.ignore_patterns("mild", "noise", "severe"))
    return folder
