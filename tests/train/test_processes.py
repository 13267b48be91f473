"""Several processes train the same network on the same samples as one."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.errors import UsageError
from tests.train.command import SCRIPT, THREADS, Command, flags, run, start_ranks, succeed
from tests.train.records import intervals, metrics, require_same_run
from train.launcher import require_all_processes
from train.record.state import latest_checkpoint, load_state


def require_equal_training(run: Path, expected: Path) -> None:
    """Same samples, losses within 1e-5, tables of PSNR within a hundredth of a decibel."""
    assert [line["counts"] for line in metrics(run)] == [line["counts"] for line in metrics(expected)]
    assert [line["loss"] for line in metrics(run)] == pytest.approx(
        [line["loss"] for line in metrics(expected)], rel=1e-5
    )
    for mine, theirs in zip(intervals(run), intervals(expected), strict=True):
        assert mine.get("quotas") == theirs.get("quotas")
        assert mine.get("delivered") == theirs.get("delivered")
        assert np.abs(np.subtract(mine["shared_db"], theirs["shared_db"])).max() < 0.01


@pytest.fixture(scope="module")
def one_process(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    succeed(flags(shards=shards, run="run", iterations=10, lr=0.002), folder)
    return folder / "run"


def test_two_processes_give_the_quotas_and_losses_of_one(shards: Path, one_process: Path, tmp_path: Path) -> None:
    ranks = start_ranks(flags(shards=shards, run="run", iterations=10, lr=0.002), tmp_path)
    outcomes = [rank.wait() for rank in ranks]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert "shared step 5" in outcomes[0].stdout
    said = [line for line in outcomes[1].stdout.splitlines() if not line.startswith("[Gloo]")]  # torch 2.8's own
    assert said == []  # one of them speaks
    require_equal_training(tmp_path / "run", one_process)
    for task in ("mild", "noise", "severe"):
        require_equal_training(tmp_path / "run/references" / task, one_process / "references" / task)


@pytest.mark.parametrize("machine", ["1 thread", "2 threads", "2 processes"])
def test_a_checkpoint_gives_the_same_quotas_on_any_number_of_threads_and_processes(
    machine: str, shards: Path, one_process: Path, tmp_path: Path
) -> None:
    shutil.copytree(one_process, tmp_path / "run")
    (tmp_path / "run/latest").write_text("step-00000005")
    lines = (one_process / "intervals.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run/intervals.jsonl").write_text(lines[0])
    argv = flags(shards=shards, run="run", iterations=10, lr=0.002)
    if machine == "2 processes":
        assert [rank.wait().code for rank in start_ranks(argv, tmp_path)] == [0, 0]
    else:
        succeed(argv, tmp_path, env={THREADS: machine[0]})
    found, expected = intervals(tmp_path / "run")[1], json.loads(lines[1])
    assert expected["step"] == 5
    for key in ("shared_db", "estimate", "p", "quotas"):
        assert found[key] == expected[key], key


def test_processes_stop_together_at_the_same_step(shards: Path, tmp_path: Path) -> None:
    long = flags(shards=shards, run="long", policy="uniform", iterations=100_000, interval_steps=50_000)
    ranks = start_ranks(long, tmp_path)
    ranks[0].wait_until(lambda: len(metrics(tmp_path / "long")) >= 3)
    ranks[1].signal_group(signal.SIGTERM)  # only one of them is told
    outcomes = [rank.wait() for rank in ranks]
    step = load_state(latest_checkpoint(tmp_path / "long")).step
    assert len(metrics(tmp_path / "long")) == step
    for outcome in outcomes:
        assert outcome.code == 128 + signal.SIGTERM
        assert outcome.stderr.endswith(f"stopped at step {step}, saved; run the same command again to go on\n")


def test_a_run_begun_by_two_processes_is_finished_by_one(shards: Path, one_process: Path, tmp_path: Path) -> None:
    argv = flags(shards=shards, run="run", iterations=10, lr=0.002, references=one_process / "references")
    ranks = start_ranks(argv, tmp_path, signal_after=(signal.SIGTERM, 7))
    assert [rank.wait().code for rank in ranks] == [143, 143]
    assert load_state(latest_checkpoint(tmp_path / "run")).step == 7
    succeed(argv, tmp_path)
    require_equal_training(tmp_path / "run", one_process)


def test_torchrun_gives_the_quotas_and_losses_of_one_process(shards: Path, one_process: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--", str(SCRIPT)]
    words = flags(shards=shards, run="run", iterations=10, lr=0.002, references=one_process / "references")
    env = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    outcome = subprocess.run([*launcher, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    require_equal_training(tmp_path / "run", one_process)


# ---- a launcher that does not start what it was asked for

BY_ACCELERATE = {"ACCELERATE_MIXED_PRECISION": "no"}


@pytest.mark.parametrize(
    ("environment", "num_processes"),
    [
        ({}, 1),
        ({"MASTER_PORT": "29500"}, 1),  # of a shell that sets it for everything
        (BY_ACCELERATE, 1),
        ({**BY_ACCELERATE, "WORLD_SIZE": "2", "MASTER_PORT": "29500"}, 2),
        ({"WORLD_SIZE": "1"}, 1),
    ],
)
def test_a_run_of_all_its_processes_goes_on(environment: dict, num_processes: int) -> None:
    require_all_processes(environment, num_processes)


@pytest.mark.parametrize(
    ("environment", "num_processes", "message"),
    [
        ({**BY_ACCELERATE, "MASTER_PORT": "29500"}, 1, "accelerate was asked for several processes and started one"),
        ({**BY_ACCELERATE, "WORLD_SIZE": "2", "MASTER_PORT": "29500"}, 1, "WORLD_SIZE is 2, but 1 train together"),
        ({"WORLD_SIZE": "4"}, 2, "WORLD_SIZE is 4, but 2 train together"),
    ],
)
def test_processes_that_are_missing_are_named_with_the_remedy(environment, num_processes, message) -> None:
    with pytest.raises(UsageError, match=f"{message}: on CPU start several with `torchrun"):
        require_all_processes(environment, num_processes)


def test_accelerate_launch_cpu_is_refused_instead_of_training_alone(shards: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", str(SCRIPT)]
    words = flags(shards=shards, run="run", policy="uniform", iterations=5)
    outcome = subprocess.run([*launcher, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert outcome.returncode != 0
    assert "error: accelerate was asked for several processes and started one" in outcome.stderr
    assert not (tmp_path / "run").exists()


# ---- one process, then two, then one


def test_a_run_goes_on_exactly_with_two_processes_and_again_with_one(
    shards: Path, one_process: Path, tmp_path: Path
) -> None:
    argv = flags(shards=shards, run="run", iterations=10, lr=0.002, references=one_process / "references", workers=2)
    assert run([*argv, "--workers", "0"], tmp_path, signal_after=(signal.SIGTERM, 3)).code == 143
    ranks = start_ranks(argv, tmp_path, signal_after=(signal.SIGTERM, 4))
    assert [rank.wait().code for rank in ranks] == [143, 143]
    assert load_state(latest_checkpoint(tmp_path / "run")).step == 7
    succeed(argv, tmp_path)
    require_equal_training(tmp_path / "run", one_process)


def test_a_killed_rank_ends_the_run_and_its_last_checkpoint_goes_on(
    shards: Path, one_process: Path, tmp_path: Path
) -> None:
    argv = flags(shards=shards, run="run", iterations=10, lr=0.002, references=one_process / "references", save_steps=1)
    ranks = start_ranks(argv, tmp_path, signal_after=(signal.SIGKILL, 7))
    assert [rank.wait().code for rank in ranks] == [-signal.SIGKILL] * 2
    assert load_state(latest_checkpoint(tmp_path / "run")).step == 6
    succeed(argv, tmp_path)
    require_equal_training(tmp_path / "run", one_process)


FAULTY = f"""
import runpy, torch
from train.loop import Run
def training_step(self, *args):
    {{}}
Run.training_step = training_step
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""


def test_a_fault_of_ours_ends_the_run_instead_of_waiting_for_its_loader_workers(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY.format("1 / 0"))
    words = flags(shards=shards, run="run", policy="uniform", workers=2)
    outcome = run(words, tmp_path, script=tmp_path / "faulty.py")
    assert "ZeroDivisionError" in outcome.stderr


def test_a_device_without_memory_for_a_step_is_an_error_with_a_remedy(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY.format("raise torch.OutOfMemoryError('CUDA out of memory.')"))
    outcome = run(flags(shards=shards, run="run", policy="uniform"), tmp_path, script=tmp_path / "faulty.py")
    assert outcome.code == 1
    assert outcome.errors == [
        "error: the device is out of memory: give it less at once, in another --run, by more parts of a batch "
        "(--accumulate), --precision bf16, a smaller --patch or --batch-size"
    ]


def test_a_killed_loader_worker_stops_the_run_which_then_goes_on_exactly(shards: Path, tmp_path: Path) -> None:
    argv = flags(shards=shards, run="run", policy="uniform", iterations=100, interval_steps=50, workers=2, save_steps=1)
    command = Command(argv, tmp_path)
    command.wait_until(lambda: len(metrics(tmp_path / "run")) >= 3)
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    outcome = command.wait()
    assert outcome.code == 1
    assert "a loader worker was killed" in outcome.errors[0]
    succeed(argv, tmp_path)
    succeed([*argv, "--run", "whole"], tmp_path)
    require_same_run(tmp_path / "run", tmp_path / "whole")
