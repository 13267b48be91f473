"""Runs whose samples are made on the fly: without shards, beyond the limit of repeats, and what is said otherwise."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.train.command import flags, run, succeed
from tests.train.conftest import TASKS
from tests.train.records import intervals, metrics, require_same_run


@pytest.fixture(scope="module")
def val_only(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The validation sets alone."""
    folder = tmp_path_factory.mktemp("val-only") / "shards"
    shutil.copytree(shards, folder, ignore=shutil.ignore_patterns(*TASKS))
    return folder


@pytest.mark.parametrize("source", ["fly", "gpu"])
def test_a_run_without_any_shards_trains_and_resumes_exactly(source: str, val_only: Path, tmp_path: Path) -> None:
    argv = flags(shards=val_only, policy="uniform", source=source, hr="photos", iterations=10)
    succeed([*argv, "--run", "whole"], tmp_path)
    outcome = run([*argv, "--run", "run"], tmp_path, signal_after=(signal.SIGTERM, 7))
    assert outcome.stderr.endswith("stopped at step 7, saved; run the same command again to go on\n")
    succeed([*argv, "--run", "run", "--workers", "2"], tmp_path)
    require_same_run(tmp_path / "run", tmp_path / "whole")
    assert all(line["sources"] == [source] * 3 for line in intervals(tmp_path / "run")[:-1])
    for line in metrics(tmp_path / "run"):
        assert [line[f"data/fallback/{task}"] for task in TASKS] == line["counts"]


def test_a_run_is_not_resumed_with_other_hr_images(val_only: Path, hr_images: Path, tmp_path: Path) -> None:
    argv = flags(shards=val_only, policy="uniform", source="fly", hr=hr_images, iterations=5)
    succeed([*argv, "--run", "run"], tmp_path)
    image = max(hr_images.iterdir())
    image.rename(tmp_path / image.name)
    longer = [*argv, "--run", "run", "--iterations", "10"]
    outcome = run(longer, tmp_path)
    assert outcome.errors[0].startswith("error: run was begun with other content of --hr (sha256 ")
    (tmp_path / image.name).rename(image)
    succeed(longer, tmp_path)


def test_quotas_beyond_max_repeats_are_served_on_the_fly_and_logged(shards: Path, tmp_path: Path) -> None:
    argv = flags(shards=shards, run="run", policy="uniform", max_repeats=0.5, iterations=20)
    succeed(argv, tmp_path)
    lines = intervals(tmp_path / "run")[:-1]
    assert [line["sources"] for line in lines] == [["shards"] * 3, ["shards"] * 3, ["fly"] * 3, ["fly"] * 3]
    assert [line["data/fallback/noise"] for line in lines] == [0, 0, *(line["quotas"][1] for line in lines[2:])]


def test_without_shards_and_hr_images_the_remedy_is_named(val_only: Path, tmp_path: Path) -> None:
    outcome = run(flags(shards=val_only, run="run", policy="uniform"), tmp_path)
    assert outcome.code == 1
    assert "--source fly --hr DIR" in outcome.errors[0]
    outcome = run(flags(shards=tmp_path, run="run", policy="uniform", source="fly", hr="photos"), tmp_path)
    assert outcome.code == 1
    assert "no validation sets in" in outcome.errors[0]
    assert "--subspace all --split val" in outcome.errors[0]
