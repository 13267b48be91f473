"""Runs on a GPU: every source trains, the device's pictures are logged, and a resumed run sees the same ones."""

from pathlib import Path

import pytest

from tests.train.command import flags, succeed
from tests.train.conftest import TASKS
from tests.train.records import intervals, metrics


@pytest.fixture(scope="module")
def tiny() -> dict:
    """A run of two intervals without references."""
    return {"policy": "uniform", "iterations": 10}


def test_auto_takes_the_device_where_rows_run_out(shards: Path, tmp_path: Path, tiny: dict) -> None:
    succeed(flags(shards=shards, run="run", max_repeats=0.5, **tiny | {"iterations": 20}), tmp_path)
    lines = intervals(tmp_path / "run")[:-1]
    assert [line["sources"] for line in lines] == [["shards"] * 3, ["shards"] * 3, ["gpu"] * 3, ["gpu"] * 3]
    assert [line["data/fallback/noise"] for line in lines] == [0, 0, *(line["quotas"][1] for line in lines[2:])]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 5e-2)])
def test_the_device_makes_all_samples_and_a_resumed_run_trains_on_the_same(
    precision: str, tolerance: float, shards: Path, tmp_path: Path, tiny: dict
) -> None:
    # Gradients on a GPU are summed in any order, and the tiny run is violent: its losses agree in the mean digits only.
    argv = flags(shards=shards, source="gpu", hr="photos", precision=precision, **tiny)
    succeed([*argv, "--run", "whole"], tmp_path)
    succeed([*argv, "--run", "parts", "--iterations", "5"], tmp_path)
    succeed([*argv, "--run", "parts", "--workers", "0"], tmp_path)
    whole, parts = (metrics(tmp_path / run) for run in ("whole", "parts"))
    assert [line["counts"] for line in parts] == [line["counts"] for line in whole]
    assert [line["loss"] for line in parts] == pytest.approx([line["loss"] for line in whole], rel=tolerance)
    for line in whole:
        assert [line[f"data/fallback/{task}"] for task in TASKS] == line["counts"]
