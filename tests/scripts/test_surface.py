"""Predicted against measured gains: the statistics, and the experiment from end to end at a size of seconds."""

import json

import numpy as np
import pytest

from scripts.reproduce import surface
from scripts.reproduce.__main__ import main
from shared.errors import RunError, UsageError

TASKS = ["mild", "blur", "noise", "severe"]


def test_agreement_worked_out_by_hand() -> None:
    predicted = {"a": np.array([0.1, -0.1]), "b": np.array([0.2, 0.0])}
    measured = {"a": np.array([0.2, -0.2]), "b": np.array([0.4, 0.1])}
    found = surface.agreement(predicted, measured)
    tasks, means = found["tasks"], found["means, not validated"]
    assert (tasks.count, means.count) == (4, 2)
    assert tasks.slope == pytest.approx((0.02 + 0.02 + 0.08) / 0.06)
    assert tasks.rmse_db == pytest.approx(((0.01 + 0.01 + 0.04 + 0.01) / 4) ** 0.5)
    assert tasks.correlation == pytest.approx(np.corrcoef([0.1, -0.1, 0.2, 0.0], [0.2, -0.2, 0.4, 0.1])[0, 1])
    assert means.correlation is None  # two values always lie on a line
    assert means.slope == pytest.approx(0.025 / 0.01)


def test_gains_that_nothing_predicts_have_no_slope() -> None:
    found = surface.agreement({"a": np.zeros(4)}, {"a": np.array([0.1, 0.0, 0.0, 0.0])})
    assert found["tasks"].correlation is None
    assert found["tasks"].slope == 0.0


def test_the_tilt_is_along_one_axis_and_every_mixture_sums_to_1() -> None:
    psnr_db = np.array([30.0, 29.0, 27.0, 26.0]) - (1 - np.eye(4))
    found = surface.choose(psnr_db, TASKS, surface.PREDICTED)
    assert [*found] == [*surface.PREDICTED]
    assert all(w.sum() == pytest.approx(1) for w in found.values())
    assert found["tilt"].tolist() == [0.125, 0.125, 0.375, 0.375]
    assert surface.choose(psnr_db, TASKS, ["gap", "rebalance"]).keys() == {"gap"}


def test_an_unknown_arm_is_refused(tiny) -> None:
    options, _ = tiny
    with pytest.raises(UsageError, match="unknown arm 'best': choose from worst, gap"):
        main(["surface", *options, "--dry-run", "--arms", "best"])


def test_predicted_and_measured_gains_stand_side_by_side(tiny, monkeypatch) -> None:
    options, folder = tiny
    argv = ["surface", *options, "--seeds", "2", "--arms", "worst", "policy-worst"]
    with pytest.raises(RunError, match="so no mixture can be predicted: either the references overfit"):
        main(argv)  # two steps serve no network best on its own task
    monkeypatch.setattr(surface.surface, "require_no_overfitting", lambda *arguments: None)
    assert main(argv) == 0
    numbers = json.loads((folder / "surface/surface.json").read_text())
    assert [*numbers["mixtures"]] == ["worst"]
    assert [*numbers["predicted_db"]] == ["2 steps", "4 steps"]
    assert np.shape(numbers["measured_db"]["policy-worst"]) == (2, 4)
    assert np.allclose(numbers["measured_db"]["uniform"], 0)
    page = (folder / "surface/surface.md").read_text()
    assert "no task can gain more than" in page
    assert "mean, not validated" in page
    assert "worst: predicted from 2 steps" in page
    assert "from 4 steps, over tasks | 4 |" in page
