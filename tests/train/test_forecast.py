"""What a command says it will do before it does it, and `--dry-run`, which does no more."""

import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from shared.mixing.tasks import Task
from shared.rebalance.policies import make_policy
from tests.train.command import flags, run, succeed
from tests.train.conftest import ROWS, TASKS, VAL_ROWS
from tests.train.records import require_same_run
from train.forecast import Cost, Forecast, measure
from train.loop import RunSpec
from train.networks import GENERATOR
from train.networks.build import num_parameters
from train.networks.weights import NetworkSpec, weights_digest
from train.settings import GroupingSettings, TrainSettings

CPU = torch.device("cpu")
SPEC = NetworkSpec("msrresnet", {"num_feat": 4, "num_block": 1}, 4)
COST = Cost(step_seconds=2.0, samples=8, image_seconds=0.5, memory_bytes=0, parameters={GENERATOR: 1000})


def job(title: str, folder: Path, tasks: list[Task], settings: TrainSettings) -> RunSpec:
    return RunSpec(folder, title, settings, tasks, SPEC, {}, make_policy("uniform"))


def forecast(tasks: list[Task], folder: Path, **changes: Any) -> Forecast:
    settings = TrainSettings(
        **{"iterations": 100, "interval_steps": 20, "batch_size": 8, "run": str(folder), **changes}
    )
    reference = job(f"reference {tasks[0].name}", folder / "a", tasks[:1], settings)
    jobs = [reference, job("shared", folder / "b", tasks, settings)]
    return Forecast(settings, SPEC, jobs, {settings.stage: COST}, 2, CPU)


def test_samples_and_epochs_of_every_network(tasks: list[Task], tmp_path: Path) -> None:
    lines = "\n".join(forecast(tasks, tmp_path).plan())
    assert f"reference mild: 100 steps, 5 intervals, in {tmp_path / 'a'}\n  mild: 800 samples, " in lines
    assert f"  mild: 800 samples, {800 / ROWS:.3g} epochs of its {ROWS} rows\nshared: 100 steps" in lines
    assert f"  severe: 267 samples at equal shares, {800 / 3 / ROWS:.3g} epochs of its {ROWS} rows" in lines
    assert "batch: 2 processes x 4 samples\n" in lines
    assert "begin from: random weights of seed 0\n" in lines


def test_time_is_that_of_steps_and_of_validation_images(tasks: list[Task], tmp_path: Path) -> None:
    found = forecast(tasks, tmp_path)
    images = 6 * (1 + 3) * VAL_ROWS  # six boundaries of both networks
    assert found.seconds == 2 * 100 * 2.0 + images * 0.5 / 2
    assert "time: about 7.47 min; a step takes 2 s (measured on 8 samples at once)" in "\n".join(found.plan())


def test_references_of_another_stage_cost_what_that_stage_costs(tasks: list[Task], tmp_path: Path) -> None:
    plain = forecast(tasks, tmp_path)
    reference, shared = plain.jobs
    costs = {"psnr": COST, "gan": replace(COST, step_seconds=5.0)}
    settings = replace(plain.settings, stage="gan")
    found = replace(plain, settings=settings, costs=costs, jobs=[reference, replace(shared, settings=settings)])
    assert found.seconds == plain.seconds + 100 * (5.0 - 2.0)
    assert "a step takes 5 s (measured on 8 samples at once), one of stage psnr 2 s, a" in "\n".join(found.plan())


def test_the_evaluation_of_references_on_the_tasks_of_the_others_is_counted(tasks: list[Task], tmp_path: Path) -> None:
    plain = forecast(tasks, tmp_path)
    reference, shared = plain.jobs
    found = replace(plain, jobs=[replace(reference, others=tasks[1:]), shared])
    assert found.seconds == plain.seconds + 6 * 2 * VAL_ROWS * 0.5 / 2  # six boundaries of one network, two other tasks


def test_a_pilot_is_as_long_as_its_share(tasks: list[Task], tmp_path: Path) -> None:
    plain = forecast(tasks, tmp_path)
    short = replace(plain.jobs[0], settings=replace(plain.settings, iterations=20))
    found = replace(plain, jobs=[short, plain.jobs[1]])
    assert found.steps == 20 + 100
    assert "1 networks x 20 steps, then 1 networks x 100 steps" in found.summary()
    for share, steps in (
        (0.2, 20),
        (0.01, 20),
        (0.3, 40),
        (0.5, 40),
        (1.0, 100),
    ):  # whole intervals of 20
        assert TrainSettings(iterations=100, interval_steps=20, pilot_share=share).pilot_iterations == steps


def test_what_is_measured_is_a_whole_step_on_weights_of_its_own(tasks: list[Task]) -> None:
    weights = SPEC.build().state_dict()
    before = weights_digest(weights)
    settings = TrainSettings(batch_size=8, accumulate=2)
    cost = measure(SPEC, weights, settings, tasks[0], 2, CPU, nullcontext)
    assert cost.samples == 2  # of a process, in a part
    assert cost.step_seconds is not None
    assert cost.step_seconds > 0 < cost.image_seconds
    assert cost.parameters == {GENERATOR: num_parameters(SPEC.build())}
    assert weights_digest(weights) == before


def test_a_step_that_does_not_fit_is_no_error_yet(tasks: list[Task], tmp_path: Path) -> None:
    found = forecast(tasks, tmp_path)
    cost = Cost(None, 24, 0.5, 0, {GENERATOR: 1000})
    lines = Forecast(found.settings, SPEC, found.jobs, {"psnr": cost}, 2, CPU).plan()
    assert "time: unknown; 24 samples at once did not fit into the memory of cpu: take them in more parts" in lines[-1]


def test_a_search_for_groups_comes_first_and_costs_its_samples(tasks: list[Task], tmp_path: Path) -> None:
    found = forecast(tasks, tmp_path, grouping=GroupingSettings(plans=5, steps=3))
    searching = replace(found, search_samples=80.0)
    assert searching.seconds == found.seconds + 80 * 2.0 / 4  # a step of two seconds has four samples of a process
    steps = searching.settings.grouping.total_steps
    assert f"to train: 5 frozen plans tried in {steps} steps, then 2 networks x 100 steps" in searching.summary()
    alone = replace(searching, jobs=[])
    assert f"to train: 5 frozen plans tried in {steps} steps x 8 samples on cpu, about " in alone.summary()


# ---- as a command


def test_a_dry_run_prints_the_plan_and_writes_nothing(shards: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    outcome = succeed([*flags(shards=shards, run="run", trackers=None), "--dry-run"], tmp_path)
    lines = outcome.stdout.splitlines()
    assert [path for path in set(tmp_path.iterdir()) - before if ".log-" not in path.name] == []
    names = [f"reference {task}" for task in TASKS]
    assert [line.split(":")[0] for line in lines if "3 intervals" in line] == [*names, "shared"]
    assert f"  noise: 60 samples, {60 / ROWS:.3g} epochs of its {ROWS} rows" in lines
    assert f"  noise: 20 samples at equal shares, {20 / ROWS:.3g} epochs of its {ROWS} rows" in lines
    assert any(line.startswith("time: about ") for line in lines)
    assert "to train: 4 networks x 15 steps x 4 samples on cpu, 60 steps left, about " in outcome.stdout
    assert lines[-1] == "curves: tensorboard --logdir run"
    assert outcome.stderr == ""


def test_a_dry_run_of_a_run_that_was_stopped_counts_what_is_left(
    shards: Path, references: Path, whole_run: Path, tmp_path: Path
) -> None:
    argv = flags(shards=shards, references=references, run="run")
    run(argv, tmp_path, signal_after=(signal.SIGTERM, 7))
    outcome = succeed([*argv, "--dry-run"], tmp_path)
    assert "shared: 15 steps, 7 of them done, 3 intervals, in run\n" in outcome.stdout
    assert "to train: 1 networks x 15 steps x 4 samples on cpu, 8 steps left, about " in outcome.stdout
    succeed(argv, tmp_path)
    require_same_run(tmp_path / "run", whole_run)
    assert "nothing is left to do" in succeed([*argv, "--dry-run"], tmp_path).stdout


def test_a_dry_run_finds_the_mistakes_of_a_run(shards: Path, tmp_path: Path) -> None:
    outcome = run([*flags(shards=shards, run="run", init="none.pth"), "--dry-run"], tmp_path)
    assert (outcome.code, len(outcome.errors)) == (2, 1)
    assert "no weights file none.pth" in outcome.errors[0]
