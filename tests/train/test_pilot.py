"""References that know all tasks, the pilot, and the policies that need it: in runs, resumed after any interruption."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from shared.rebalance.references import References, Trace
from tests.train.command import flags, run, start_ranks, succeed
from tests.train.records import intervals, require_same_run
from train.record.mixtures import load_mixture
from train.record.references import load_pack, load_trace, save_trace

PLANNED = {"policy": "planned", "policy-options.aim": "gap", "policy-options.floor": 0.1, "pilot_share": 0.3}
SERVED_DB = {"mild": 0.1, "noise": 0.3, "severe": 1.0}
"""What a network shall be better on its own task than the others, in made-up pilots: nobody overfits."""


def test_references_know_all_tasks_at_every_boundary(references: Path) -> None:
    traces = load_pack(references / "references.json")
    found = References([*traces.values()])
    for step in (0, 5, 10, 15):
        values, hr_ids = found.across(step)
        assert np.array(values).shape == (len(traces), len(traces), len(hr_ids[0]))
        assert np.array_equal([network[number] for number, network in enumerate(values)], found.at(step))
    first = found.across(0)[0]
    assert all(np.array_equal(first[0], row) for row in first)  # all start from the same weights


@pytest.fixture(scope="module")
def pilot(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a pilot of one interval of 5 steps, whose networks are then said to serve their own tasks best."""
    folder = tmp_path_factory.mktemp("pilot")
    outcome = succeed(flags(shards=shards, run="run", mode="pilot", pilot_share=0.3), folder)
    assert "python -m train.plan_mixture run" in outcome.stdout
    assert not (folder / "run/config.yaml").exists()
    traces = load_pack(folder / "run/pilot/references.json")
    for task, trace in traces.items():
        assert trace == load_trace(folder / "run/pilot" / task)
        assert trace.last_step == 5  # of 15 steps .3, in whole intervals of 5
        best = [max(values) for values in zip(*_all(traces, task), strict=True)]
        trace.add(5, [value + SERVED_DB[task] for value in best])
    for task, trace in traces.items():
        save_trace(trace, folder / "run/pilot" / task)
    return folder / "run"


def _all(traces: dict[str, Trace], task: str) -> list[list[float]]:
    """What each network achieves on the images of a task."""
    return [trace.psnr_db["5"] if name == task else trace.others[task].psnr_db["5"] for name, trace in traces.items()]


@pytest.fixture(scope="module")
def planned(shards: Path, pilot: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of the policy planned on that pilot, and what it said."""
    folder = tmp_path_factory.mktemp("planned")
    shutil.copytree(pilot, folder / "run")
    return folder / "run", succeed(flags(shards=shards, run="run", **PLANNED), folder).stdout


def test_the_run_trains_the_mixture_that_the_pilot_predicts(planned: tuple[Path, str], pilot: Path) -> None:
    folder, said = planned
    mixture = load_mixture(folder / "mixture.json")
    tasks = intervals(folder)[0]["tasks"]
    shares = [mixture.weights[task] for task in tasks]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) >= 0.1
    assert shares[tasks.index("severe")] > 0.4  # which has most to lose
    assert mixture.origin["aim"] == "gap"
    for record in intervals(folder)[:-1]:
        assert record["p"] == pytest.approx(shares)
    assert "dB, not validated" in said
    assert not (folder / "references").exists()


def test_a_planned_run_is_resumed_exactly_and_never_chooses_again(
    planned: tuple[Path, str], pilot: Path, shards: Path, tmp_path: Path
) -> None:
    shutil.copytree(pilot, tmp_path / "run")
    argv = flags(shards=shards, run="run", workers=0, **PLANNED)
    for _ in range(3):
        run(argv, tmp_path, signal_after=(6, 2))
    before = (tmp_path / "run/mixture.json").read_bytes()
    shutil.rmtree(tmp_path / "run/pilot")
    succeed(argv, tmp_path)
    require_same_run(tmp_path / "run", planned[0])
    assert (tmp_path / "run/mixture.json").read_bytes() == before
    assert not (tmp_path / "run/pilot").exists()


def test_pilot_choice_and_run_are_one_command(shards: Path, tmp_path: Path) -> None:
    argv = flags(shards=shards, run="run", workers=0, lr=1e-12, **PLANNED)  # so slow that no network differs
    said = [run(argv, tmp_path, signal_after=(4, 2)).stdout for _ in range(3)]
    said.append(succeed(argv, tmp_path).stdout)
    assert "to train: 3 networks x 5 steps, then 1 networks x 15 steps" in said[0]
    assert sum("no mixture is predicted better than equal volumes" in each for each in said) == 1
    assert load_mixture(tmp_path / "run/mixture.json").weights == pytest.approx(dict.fromkeys(SERVED_DB, 1 / 3))
    assert all(record["p"] == [1 / 3] * 3 for record in intervals(tmp_path / "run")[:-1])


def test_two_processes_train_a_pilot_and_choose_once(shards: Path, tmp_path: Path) -> None:
    ranks = start_ranks(flags(shards=shards, run="run", workers=0, lr=1e-12, **PLANNED), tmp_path)
    outcomes = [rank.wait() for rank in ranks]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert "no mixture is predicted better than equal volumes" in outcomes[0].stdout
    assert outcomes[1].stdout == ""
    assert load_mixture(tmp_path / "run/mixture.json").weights == pytest.approx(dict.fromkeys(SERVED_DB, 1 / 3))


def test_two_processes_train_the_mixture_that_one_trains(
    shards: Path, pilot: Path, planned: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copytree(pilot, tmp_path / "run")
    ranks = start_ranks(flags(shards=shards, run="run", **PLANNED), tmp_path)
    assert [rank.wait().code for rank in ranks] == [0, 0]
    assert (tmp_path / "run/mixture.json").read_bytes() == (planned[0] / "mixture.json").read_bytes()
    found, expected = intervals(tmp_path / "run"), intervals(planned[0])
    assert [each.get("quotas") for each in found] == [each.get("quotas") for each in expected]


def test_a_pilot_that_overfits_predicts_nothing(shards: Path, tmp_path: Path) -> None:
    outcome = run(flags(shards=shards, run="run", **PLANNED), tmp_path)  # 5 steps at a violent rate
    assert outcome.code == 1
    assert "so no mixture can be predicted: either the references overfit" in outcome.errors[-1]
    assert not (tmp_path / "run/mixture.json").exists()


def test_a_plan_without_an_aim_is_refused_with_the_aims(shards: Path, tmp_path: Path) -> None:
    outcome = run(flags(shards=shards, run="run", policy="planned"), tmp_path)
    assert outcome.code == 2
    assert "aim is not given: choose one of worst (the largest PSNR" in outcome.errors[0]
    assert not (tmp_path / "run").exists()


def test_a_fixed_mixture_comes_from_a_file_and_stays_in_the_run(
    shards: Path, planned: tuple[Path, str], tmp_path: Path
) -> None:
    tasks = intervals(planned[0])[0]["tasks"]
    weights = dict(zip(tasks, (0.1, 0.2, 0.7), strict=True))
    mixture = {"format": "realsr-mixture-v1", "weights": weights, "origin": {}}
    (tmp_path / "m.json").write_text(json.dumps(mixture))
    argv = flags(shards=shards, run="run", policy="fixed", workers=0)
    run([*argv, "--policy-options.weights", "m.json"], tmp_path, signal_after=(6, 2))
    text = ",".join(f"{task}={weight}" for task, weight in weights.items())
    succeed([*argv, "--policy-options.weights", text], tmp_path)  # the same weights in words
    assert [record["quotas"] for record in intervals(tmp_path / "run")[:-1]] == [[2, 4, 14]] * 3
    mixture["weights"] = {**weights, "mild": 0.5}
    (tmp_path / "m.json").write_text(json.dumps(mixture))
    outcome = run([*argv, "--policy-options.weights", "m.json"], tmp_path)
    assert outcome.code == 2
    assert "was begun with policy_options = " in outcome.errors[0]


def test_weights_of_other_tasks_are_refused_before_anything_is_trained(shards: Path, tmp_path: Path) -> None:
    argv = flags(shards=shards, run="run", policy="fixed", **{"policy-options.weights": "mild=1,rain=1"})
    outcome = run(argv, tmp_path)
    assert outcome.code == 2
    assert "names mild, rain, the tasks are" in outcome.errors[0]
    assert not (tmp_path / "run").exists()
