"""Policies in real runs: what they remember, what they do inside an interval, and exactness on resume."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.mixing.tasks import Task
from shared.rebalance.policies import make_policy
from tests.train.command import flags, run, start_ranks, succeed
from tests.train.records import intervals, metrics, require_same_run
from train.grouping.groups import load_grouping, most_improved


@pytest.mark.parametrize("name", ["rlw", "dwa", "gls", "achievement", "worst"])
def test_policies_that_act_inside_or_remember_resume_exactly(
    name: str, shards: Path, references: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"shards": shards, "policy": name, "workers": 0}
    if name == "achievement":
        settings["references"] = references
    succeed(flags(**settings, run="whole"), tmp_path)
    argv = flags(**settings, run="run")
    for steps in (7, 3):  # within an interval, and at a boundary
        run(argv, tmp_path, signal_after=(15, steps))
    succeed(argv, tmp_path)
    require_same_run(tmp_path / "run", tmp_path / "whole")
    losses = [line["loss"] for line in metrics(tmp_path / "run")]
    assert len(set(losses)) == 15


def test_dwa_follows_the_logged_losses(shards: Path, tmp_path: Path) -> None:
    succeed(flags(shards=shards, policy="dwa", run="run", workers=0), tmp_path)
    *trained, _ = intervals(tmp_path / "run")
    assert [record["c"] for record in trained[:2]] == [[1.0] * 3] * 2
    ratios = np.array(trained[1]["losses"]) / np.array(trained[0]["losses"])
    expected = np.exp(ratios / 2) / np.exp(ratios / 2).sum() * 3
    assert trained[2]["c"] == pytest.approx(expected.tolist())
    for record in trained:  # the logged losses are the means of what the steps were trained on
        lines = [line for line in metrics(tmp_path / "run") if record["step"] < line["step"] <= record["step"] + 5]
        weights = np.array(record["c"]) * record["quotas"]
        assert np.mean([line["loss"] for line in lines]) == pytest.approx(weights @ record["losses"] / 20, rel=1e-5)
        assert record["delivered_weights"] == pytest.approx((weights / 20).tolist())


def test_random_weighting_weighs_every_step_with_its_own_numbers(shards: Path, tmp_path: Path) -> None:
    succeed(flags(shards=shards, policy="rlw", run="run", workers=0, seed=3), tmp_path)
    policy = make_policy("rlw", seed=3)
    record, lines = intervals(tmp_path / "run")[1], metrics(tmp_path / "run")[5:10]
    c = np.array([policy.step(step, [1.0] * 3, [1] * 3) for step in range(5, 10)])
    counts = np.array([line["counts"] for line in lines])
    assert record["delivered_weights"] == pytest.approx(((c * counts).sum(axis=0) / 20).tolist(), rel=1e-6)


def test_named_references_log_the_gaps_of_a_policy_that_needs_none(
    shards: Path, references: Path, tmp_path: Path
) -> None:
    succeed(flags(shards=shards, policy="uniform", run="run", references=references), tmp_path)
    assert all("estimate" in record for record in intervals(tmp_path / "run"))
    assert intervals(tmp_path / "run")[1]["p"] == [1 / 3] * 3


def test_optimal_follows_the_logged_moments_and_resumes_exactly(shards: Path, references: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"shards": shards, "references": references, "policy": "optimal", "moments": 4}
    succeed(flags(**settings, run="whole"), tmp_path)
    for record in intervals(tmp_path / "whole")[:-1]:
        moments, w = record["moments"], np.array(record["estimate"]["weights"])
        assert moments["samples"] == 4
        expected = w * np.sqrt(moments["variance"])
        assert record["p"] == pytest.approx((expected / expected.sum()).tolist())
        assert np.array(record["p"]) * record["c"] == pytest.approx(w)
        assert moments["delta_variance"] == pytest.approx(w * (3 * w - 1) @ np.array(moments["variance"]))
        assert moments["delta_second"] == pytest.approx(w * (3 * w - 1) @ np.array(moments["second"]))
        assert min(np.array(moments["second"]) * 4 / 3 - moments["variance"]) > 0  # E >= Var, up to the sample
    run(flags(**settings, run="run"), tmp_path, signal_after=(15, 7))
    succeed(flags(**settings, run="run"), tmp_path)
    require_same_run(tmp_path / "run", tmp_path / "whole")


GROUPS: dict[str, Any] = {
    "policy": "tgsr",
    "grouping.plans": 8,
    "grouping.steps": 1,
    "grouping.share": 0.5,
    "grouping.images": 1,
    "grouping.thresholds_db": "[10, -10]",
}
"""Four frozen plans, all in group 2, beside the three tasks; more tasks than a batch has samples."""


def test_a_run_on_groups_trains_on_frozen_plans_and_is_judged_on_its_tasks(
    shards: Path, tasks: list[Task], tmp_path: Path
) -> None:
    outcome = succeed(flags(shards=shards, run="whole", **GROUPS), tmp_path)
    assert "to train: 8 frozen plans tried in 12 steps, then 1 networks x 15 steps" in outcome.stdout
    assert "shares mild 0.17 noise 0.17 severe 0.17 4 frozen plans 0.50" in outcome.stdout
    *trained, last = intervals(tmp_path / "whole")
    assert np.array(last["shared_db"]).shape == (3, 8)
    for record in trained:
        assert record["tasks"] == record["trained"][:3] == ["mild", "noise", "severe"]
        assert [name[:3] for name in record["trained"][3:]] == ["g2t"] * 4
        assert record["p"] == pytest.approx([1 / 6] * 3 + [1 / 8] * 4)
        assert sum(record["delivered"][:3]) in (9, 10, 11)
        assert record["delivered"] == record["quotas"]
        assert min(record["delivered"]) >= 1
        assert record["sources"] == ["shards"] * 3 + ["fly"] * 4
    counts = np.array([line["counts"] for line in metrics(tmp_path / "whole")])
    assert counts.shape == (15, 7)
    assert (counts.sum(axis=1) == 4).all()

    again = {"shards": shards, "run": "run", "groups": "whole/groups.json", **GROUPS}
    run(flags(**again), tmp_path, signal_after=(15, 7))
    found = load_grouping(tmp_path / "whole/groups.json", tasks)
    gains = [-gain for gain in found.gains_db]
    replace(found, gains_db=gains, chosen=most_improved(gains, 4)).save(tmp_path / "other.json")
    refused = run(flags(**{**again, "groups": "other.json"}), tmp_path)
    assert re.match(r"error: dataset g2t\d/plan (was added|has changed) since run was begun", refused.errors[0])
    succeed(flags(**again), tmp_path)
    require_same_run(tmp_path / "run", tmp_path / "whole")


def test_groups_take_one_process_but_the_run_on_them_any_number(shards: Path, tmp_path: Path) -> None:
    settings = {"shards": shards, "iterations": 5, **GROUPS}
    refused = [rank.wait() for rank in start_ranks(flags(**settings, run="two"), tmp_path)]
    assert [outcome.code for outcome in refused] == [2, 2]
    assert "make them in one process, with python train/run.py --mode groups" in refused[0].errors[0]
    succeed(flags(**settings, run="one"), tmp_path)
    for rank in start_ranks(flags(**settings, run="two", groups="one/groups.json"), tmp_path):
        assert rank.wait().code == 0
    assert intervals(tmp_path / "two")[0]["delivered"] == intervals(tmp_path / "one")[0]["delivered"]


def test_measuring_moments_changes_no_loss(shards: Path, references: Path, whole_run: Path, tmp_path: Path) -> None:
    succeed(flags(shards=shards, references=references, run="run", moments=2), tmp_path)
    assert metrics(tmp_path / "run") == metrics(whole_run)


def test_moments_are_the_same_over_two_processes(shards: Path, references: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"shards": shards, "policy": "optimal", "moments": 3, "iterations": 5}
    succeed(flags(**settings, references=references, run="one"), tmp_path)
    for rank in start_ranks(flags(**settings, references=references, run="two"), tmp_path):
        assert rank.wait().code == 0
    one, two = (intervals(tmp_path / name)[0] for name in ("one", "two"))
    assert one["moments"] == two["moments"]
    assert one["quotas"] == two["quotas"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": "optimal"}, "policy optimal needs the moments of gradients: give --moments 16 or more"),
        ({"moments": 1}, "moments is 1: it must be 0, or at least 2"),
        ({"policy": "dwa", "policy_options.temp": 1}, "policy dwa has no option 'temp': it has temperature, form"),
    ],
)
def test_what_no_policy_can_do_is_refused(change: dict[str, Any], message: str, shards: Path, tmp_path: Path) -> None:
    words = flags(shards=shards, run="run", **{k: v for k, v in change.items() if "." not in k})
    words += [word for k, v in change.items() if "." in k for word in (f"--{k.replace('_', '-')}", str(v))]
    outcome = run(words, tmp_path)
    assert outcome.code == 2
    assert message in outcome.errors[0]
