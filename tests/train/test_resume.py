"""Running the same command again goes on exactly where the run stopped, however it stopped."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from shared.errors import RunError
from tests.train.command import Command, flags, run, succeed
from tests.train.conftest import pretend_other_rows
from tests.train.records import final_weights, intervals, metrics, require_same_run
from train.loop import Run
from train.record.state import latest_checkpoint, load_state


@pytest.fixture
def argv(shards: Path, references: Path) -> list[str]:
    """The command of `whole_run`, in another folder."""
    return flags(shards=shards, references=references, run="run")


@pytest.mark.parametrize(("steps", "workers"), [(3, 1), (7, 0), (8, 2), (14, 1)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_was_asked_to_stop_saves_and_goes_on_exactly(
    argv: list[str], whole_run: Path, tmp_path: Path, steps: int, workers: int, number: signal.Signals
) -> None:
    outcome = run(argv, tmp_path, signal_after=(number, steps))
    assert outcome.code == 128 + number
    assert outcome.stderr.endswith(f"stopped at step {steps}, saved; run the same command again to go on\n")
    assert outcome.errors == []
    assert load_state(latest_checkpoint(tmp_path / "run")).step == steps
    succeed([*argv, "--workers", str(workers)], tmp_path)
    require_same_run(tmp_path / "run", whole_run)


@pytest.mark.parametrize(("steps", "saved"), [(1, None), (3, 2), (5, 4), (6, 5), (9, 8), (15, 14)])
def test_a_killed_run_goes_on_from_its_last_checkpoint_exactly(
    argv: list[str], whole_run: Path, tmp_path: Path, steps: int, saved: int | None
) -> None:
    argv = [*argv, "--save-steps", "2"]
    assert run([*argv, "--workers", "0"], tmp_path, signal_after=(signal.SIGKILL, steps)).code == -signal.SIGKILL
    folder = latest_checkpoint(tmp_path / "run")
    assert (load_state(folder).step if folder else None) == saved
    succeed([*argv, "--workers", "2"], tmp_path)
    require_same_run(tmp_path / "run", whole_run)


def test_a_killed_run_can_be_started_again_at_once(argv: list[str], tmp_path: Path) -> None:
    run(argv, tmp_path, signal_after=(signal.SIGKILL, 3))
    succeed(argv, tmp_path)


def test_a_run_stopped_after_every_single_step_is_the_same_run(
    argv: list[str], whole_run: Path, tmp_path: Path
) -> None:
    for _ in range(15):
        run([*argv, "--workers", "0"], tmp_path, signal_after=(signal.SIGTERM, 1))
    succeed([*argv, "--workers", "0"], tmp_path)
    require_same_run(tmp_path / "run", whole_run)


def test_a_crash_between_the_log_and_the_checkpoint_of_a_border_logs_nothing_twice(
    argv: list[str], whole_run: Path, tmp_path: Path
) -> None:
    argv = [*argv, "--save-steps", "2", "--workers", "0"]
    run(argv, tmp_path, signal_after=(signal.SIGKILL, 9))
    with (tmp_path / "run/intervals.jsonl").open("a") as log:
        log.write(json.dumps(intervals(whole_run)[1]) + "\n")  # step 10 was logged, its checkpoint never came
    with (tmp_path / "run/metrics.jsonl").open("a") as log:
        log.write('{"step": 9, "loss": 0.1')  # nor did the end of this line
    succeed(argv, tmp_path)
    require_same_run(tmp_path / "run", whole_run)


def test_an_interrupted_reference_goes_on_too(shards: Path, references: Path, tmp_path: Path) -> None:
    argv = flags(mode="references", shards=shards, references="refs")
    assert run(argv, tmp_path, signal_after=(signal.SIGTERM, 22)).code == 143  # step 7 of the second reference
    succeed(argv, tmp_path)
    for task in ("mild", "noise", "severe"):
        require_same_run(tmp_path / "refs" / task, references / task)
        assert (tmp_path / "refs" / task / "trace.json").read_bytes() == (references / task / "trace.json").read_bytes()


def test_a_signal_to_all_processes_of_a_run_lets_it_save(shards: Path, tmp_path: Path) -> None:
    argv = flags(shards=shards, run="run", policy="uniform", iterations=100_000, interval_steps=50_000, workers=2)
    command = Command(argv, tmp_path)
    command.wait_until(lambda: len(metrics(tmp_path / "run")) >= 3)
    command.signal_group(signal.SIGTERM)  # as torchrun and Slurm do: loader workers get it as well
    outcome = command.wait()
    step = load_state(latest_checkpoint(tmp_path / "run")).step
    assert outcome.code == 128 + signal.SIGTERM
    assert outcome.stderr.endswith(f"stopped at step {step}, saved; run the same command again to go on\n")
    assert "Traceback" not in outcome.stderr
    assert len(metrics(tmp_path / "run")) == step


def test_a_loader_error_stops_the_run_instead_of_miscounting() -> None:
    class Fake:
        log = object()
        loader = type("Loader", (), {"record": type("Record", (), {"quotas": [12, 8]})()})()

    with pytest.raises(RunError, match=r"delivered \[11, 9\] samples instead of the quotas \[12, 8\]"):
        Run.close_interval(Fake(), [11, 9], [[0.0] * 2] * 2)


# ---- what cannot be resumed is refused


@pytest.fixture
def stopped(argv: list[str], tmp_path: Path) -> Path:
    """A run stopped in the middle of its second interval."""
    run(argv, tmp_path, signal_after=(signal.SIGTERM, 7))
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--window-shards", "3"], "window_shards = 8, now it is 3"),
        (["--policy", "uniform", "--seed", "1"], "policy = 'rebalance', now it is 'uniform'"),
        (["--iterations", "10"], "iterations = 15: a run can be lengthened, not cut"),
    ],
)
def test_a_changed_setting_is_named(argv: list[str], stopped: Path, change: list[str], message: str) -> None:
    before = final_weights(stopped)
    outcome = run([*argv, *change], stopped.parent)
    assert outcome.code == 2
    (error,) = outcome.errors
    assert f"run was begun with {message}" in error
    assert final_weights(stopped) == before


def test_changed_rows_are_refused(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    argv = flags(shards="shards", run="run", policy="uniform")
    run(argv, tmp_path, signal_after=(signal.SIGTERM, 7))
    pretend_other_rows(tmp_path / "shards/noise")
    outcome = run(argv, tmp_path)
    assert outcome.code == 1
    assert outcome.errors == ["error: dataset noise/train has changed since run was begun: use another --run"]


def test_an_added_task_is_refused(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards", ignore=shutil.ignore_patterns("severe*"))
    argv = flags(shards="shards", run="run", policy="uniform")
    run(argv, tmp_path, signal_after=(signal.SIGTERM, 7))
    shutil.rmtree(tmp_path / "shards")
    shutil.copytree(shards, tmp_path / "shards")
    outcome = run(argv, tmp_path)
    assert outcome.code == 1
    assert outcome.errors == ["error: dataset severe/train was added since run was begun: use another --run"]
