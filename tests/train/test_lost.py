"""Runs over rows that cannot be read: exact, resumed, logged; too many of them stop the run before a step."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.shared.mixing.damage import flip_a_bit, tar
from tests.train.command import flags, run, start_ranks, succeed
from tests.train.records import intervals, metrics, require_same_run
from train.record.checkpoint import latest_checkpoint
from train.record.state import load_state

LOST = {(1, 3), (1, 9), (1, 20)}


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    shutil.copytree(shards, tmp_path / "shards")
    return tmp_path / "shards"


@pytest.fixture
def damaged(copy: Path) -> Path:
    """Three rows of one task cannot be read."""
    for shard, row in ((0, 3), (1, 1), (2, 4)):
        flip_a_bit(copy / "noise", shard, row)
    return copy


def test_a_run_over_damaged_rows_resumes_exactly_and_logs_them(damaged: Path, tmp_path: Path) -> None:
    argv = flags(shards=damaged, policy="uniform", max_damage=0.5)
    succeed([*argv, "--run", "whole"], tmp_path)
    for number, steps in ((signal.SIGKILL, 3), (signal.SIGTERM, 5)):
        run([*argv, "--run", "run", "--save-steps", "1"], tmp_path, signal_after=(number, steps))
    succeed([*argv, "--run", "run", "--workers", "2"], tmp_path)
    require_same_run(tmp_path / "run", tmp_path / "whole")
    lines = intervals(tmp_path / "whole")[:-1]
    assert {tuple(each) for line in lines for each in line["lost"]} <= LOST
    assert sum(sum(line["substituted"]) for line in lines) >= 2  # one sample may meet two of them
    assert all(line["delivered"] == line["quotas"] for line in lines)


def test_two_processes_log_what_either_of_them_has_found(damaged: Path, tmp_path: Path) -> None:
    argv = flags(shards=damaged, policy="uniform", max_damage=0.5, iterations=10, workers=0)
    succeed([*argv, "--run", "one"], tmp_path)
    ranks = start_ranks([*argv, "--run", "two"], tmp_path)
    assert [rank.wait().code for rank in ranks] == [0, 0]
    for key in ("lost", "substituted", "delivered"):
        assert [line.get(key) for line in intervals(tmp_path / "two")] == [
            line.get(key) for line in intervals(tmp_path / "one")
        ]


def test_too_much_damage_stops_the_run_before_the_step(copy: Path, tmp_path: Path) -> None:
    tar(copy / "noise", 0).unlink()
    argv = flags(shards=copy, run="run", policy="uniform", source="shards", save_steps=1)
    outcome = run(argv, tmp_path)
    assert outcome.code == 1
    assert "more than max_damage 0.01 allows: shard file" in outcome.errors[0]
    assert tar(copy / "noise", 0).stem in outcome.errors[0]
    checkpoint = latest_checkpoint(tmp_path / "run")
    done = load_state(checkpoint).step if checkpoint else 0
    assert len(metrics(tmp_path / "run")) == done < 5
