"""Runs whose datasets grow: rows are taken up at an interval boundary, and resuming stays exact."""

import shutil
import signal
from pathlib import Path

import pytest

from gen.render import main as render
from tests.train.command import flags, run, succeed
from tests.train.conftest import PATCH, ROWS_PER_SHARD
from tests.train.records import intervals, require_same_run
from train.record.checkpoint import latest_checkpoint
from train.record.state import load_state


def grow(shards: Path, task: str, count: int) -> None:
    words = ["--patch", str(PATCH), "--rows-per-shard", str(ROWS_PER_SHARD), "--workers", "1"]
    render(["--subspace", task, "--out", str(shards), "--count", str(count), *words])


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    shutil.copytree(shards, tmp_path / "shards")
    return tmp_path / "shards"


def test_a_run_takes_up_new_rows_at_the_next_boundary_and_does_not_go_on_without_them(
    copy: Path, shards: Path, tmp_path: Path
) -> None:
    argv = flags(shards=copy, policy="uniform", workers=0)
    run([*argv, "--run", "run"], tmp_path, signal_after=(signal.SIGTERM, 7))
    grow(copy, "noise", 45)  # the short shard that the interval reads is no more
    run([*argv, "--run", "run"], tmp_path, signal_after=(signal.SIGTERM, 7))
    first, second = intervals(tmp_path / "run")
    third = load_state(latest_checkpoint(tmp_path / "run")).record
    assert [line["rows"] for line in (first, second, third)] == [[28, 28, 28], [28, 28, 28], [28, 45, 28]]
    # from here on, a run of any number of stops goes the same way
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    succeed([*argv, "--run", "run"], tmp_path)
    shutil.move(copy, tmp_path / "grown")
    shutil.copytree(shards, copy)
    outcome = run([*argv, "--run", "again"], tmp_path)
    assert outcome.errors == ["error: dataset noise/train has changed since again was begun: use another --run"]
    shutil.rmtree(copy)
    shutil.move(tmp_path / "grown", copy)
    for _ in range(2):
        run([*argv, "--run", "again"], tmp_path, signal_after=(signal.SIGTERM, 1))
    require_same_run(tmp_path / "again", tmp_path / "run")


def test_references_stay_valid_for_a_run_whose_rows_have_grown(copy: Path, references: Path, tmp_path: Path) -> None:
    argv = flags(shards=copy, references=references, run="run", workers=0)
    run(argv, tmp_path, signal_after=(signal.SIGTERM, 7))
    grow(copy, "noise", 45)
    succeed(argv, tmp_path)
    assert intervals(tmp_path / "run")[2]["rows"] == [28, 45, 28]
    outcome = run(flags(shards=copy, references=references, run="new", workers=0), tmp_path)
    assert "was trained with train_rows" in outcome.errors[0]
