"""Tasks with validation images of their own: gaps within a task, joint resamples where tasks share HR images."""

import json

import numpy as np
import pytest

from shared.rebalance import clusters
from shared.rebalance.clusters import in_one_list, resample, resampled_means, with_other_images
from shared.rebalance.estimator import estimate, recompute, softmax
from shared.rebalance.measurements import Measurements, describe
from shared.rebalance.options import EstimatorSettings
from shared.rebalance.surface import cross_errors, predicted_gains

RNG = np.random.default_rng(0)
SHARED_IDS = [f"{k // 2}" for k in range(24)]
OWN_IDS = [f"camera {k // 3}" for k in range(30)]
DIFFERENCES = [RNG.normal(0.1, 0.3, 24), RNG.normal(0.0, 0.3, 24), RNG.normal(0.2, 0.3, 30)]
LEVELS = [RNG.normal(28, 2, len(row)) for row in DIFFERENCES]
SINGLE = [level + row for level, row in zip(LEVELS, DIFFERENCES, strict=True)]
HR_IDS = [SHARED_IDS, SHARED_IDS, OWN_IDS]


def test_one_list_of_hr_images_means_the_same_as_one_for_each_task() -> None:
    for options in (EstimatorSettings(), EstimatorSettings(temperature="auto")):
        once, each = (estimate(SINGLE[:2], LEVELS[:2], ids, (7,), options) for ids in (SHARED_IDS, [SHARED_IDS] * 2))
        assert once == each


def test_gaps_and_errors_are_those_of_each_task_alone() -> None:
    found = estimate(SINGLE, LEVELS, HR_IDS)
    alone = [estimate(SINGLE[i : i + 1], LEVELS[i : i + 1], HR_IDS[i]) for i in range(3)]
    assert found.gaps_db == [each.gaps_db[0] for each in alone]
    assert found.errors_db == [each.errors_db[0] for each in alone]
    assert found.weights == pytest.approx(softmax(np.array(found.gaps_db)), abs=1e-4)
    assert found.num_photographs == 10  # of the task that has the fewest


def test_tasks_that_share_hr_images_are_resampled_as_if_they_were_alone() -> None:
    """Jointly, and by the same numbers whatever other tasks there are beside them."""
    luck = np.repeat(RNG.normal(0, 3, 12), 2)  # an HR image that favours one network everywhere
    both = [DIFFERENCES[0] + luck, DIFFERENCES[1] + luck, DIFFERENCES[2]]
    means = resampled_means(both, HR_IDS, (3,))
    assert (means[:, 0] - means[:, 1]).std() < 0.2 * means[:, 0].std()
    assert abs(np.corrcoef(means[:, 0], means[:, 2])[0, 1]) < 0.1  # 2,000 resamples: 4.5 standard errors


def test_every_resample_of_a_task_has_as_many_hr_images_as_the_task() -> None:
    """Also where tasks share some of them: those are drawn among themselves, and the own ones among themselves."""
    names = [list("aabbcd"), list("ccddef"), list("gh")]
    values = [np.array([[float(name == each) for name in ids] for each in "abcdefgh"]) for ids in names]
    counts = resampled_means([6 * row for row in values[:2]] + [2 * values[2]], names, (0,))  # [R, name, task]
    a, b, c, d, e, f, g, h = counts.swapaxes(0, 1)
    for task, images in ((0, 6), (1, 6), (2, 2)):
        assert counts[..., task].sum(axis=1) == pytest.approx(images)
    for mine in (c, d):  # as often in the one as in the other: a single image here, two there
        drawn = resample(np.arange(2), (0, "shown by", 0, 1))
        assert any(np.array_equal(mine[:, 1] > 0, drawn[:, k] > 0) for k in range(2))
    assert np.array_equal(c[:, 0] > 0, c[:, 1] > 0)
    assert not np.array_equal(a[:, 0] > 0, c[:, 0] > 0)
    assert np.array_equal(g[:, 2] + h[:, 2], np.full(clusters.NUM_REPLICATES, 2.0))
    assert set(np.unique(a[:, 0] > 0)) == {False, True}
    assert (b[:, 1] == 0).all()
    assert (e[:, 0] == 0).all()
    assert (f[:, 2] == 0).all()


def test_a_task_with_a_single_hr_image_has_no_standard_error_and_the_others_have() -> None:
    found = estimate(SINGLE, LEVELS, [SHARED_IDS, SHARED_IDS, ["camera"] * 30])
    assert found.errors_db[2] is None
    assert min(found.errors_db[:2]) > 0
    assert found.low[2] < found.weights[2] < found.high[2]  # its images are resampled instead


@pytest.mark.parametrize("correlated", [True, False])
def test_the_interval_covers_the_true_weight_whether_tasks_share_hr_images_or_not(
    monkeypatch: pytest.MonkeyPatch, correlated: bool
) -> None:
    """1,000 tables of two tasks, 60 and 90 HR images; Monte Carlo error of the coverage 0.007."""
    monkeypatch.setattr(clusters, "NUM_REPLICATES", 400)
    truth, rng, covered = softmax(np.array([0.3, 0.0])), np.random.default_rng(1), 0
    ids = [[f"{k}" for k in range(60)], [f"{k}" if correlated else f"own {k}" for k in range(90)]]
    for table in range(1000):
        common = rng.normal(0, 0.5, 90)
        gaps = [0.3 + common[:60] + rng.normal(0, 0.2, 60), rng.normal(0, 0.2, 90)]
        gaps[1] += common if correlated else rng.normal(0, 0.5, 90)
        found = estimate(gaps, [np.zeros(60), np.zeros(90)], ids, ("coverage", table))
        covered += found.low[0] <= truth[0] <= found.high[0]
    assert 0.92 <= covered / 1000 <= 0.97


@pytest.mark.parametrize("temperature", [1.0, "auto"])
def test_a_ragged_record_is_enough_to_compute_the_estimate_again(temperature: float | str) -> None:
    found, memory = None, None
    for interval in range(3):
        single = [row + 0.01 * interval for row in SINGLE]
        found = estimate(single, LEVELS, HR_IDS, (0, interval), EstimatorSettings(temperature=temperature), memory)
        memory = found.memory
        seen = Measurements(interval, ["mild", "noise", "camera"], LEVELS, HR_IDS, single, single, found)
        record = json.loads(json.dumps(describe(seen, 10 * interval)))
        assert [len(row) for row in record["shared_db"]] == [24, 24, 30]
        assert record["photographs"] == HR_IDS
        assert recompute(record) == found


def test_what_all_tasks_share_is_written_once() -> None:
    assert in_one_list([SHARED_IDS, SHARED_IDS]) == in_one_list(SHARED_IDS) == SHARED_IDS
    assert in_one_list(HR_IDS) == HR_IDS


def test_tasks_are_marked_that_show_other_hr_images_than_most() -> None:
    assert with_other_images(SHARED_IDS, 3) == [False] * 3
    assert with_other_images(HR_IDS, 3) == [False, False, True]
    assert with_other_images([OWN_IDS, SHARED_IDS, SHARED_IDS], 3) == [True, False, False]
    assert with_other_images([SHARED_IDS[:9], SHARED_IDS], 2) == [False, True]


@pytest.mark.parametrize(
    ("hr_ids", "message"),
    [
        ([SHARED_IDS, SHARED_IDS, OWN_IDS[:-1]], r"hr_ids name \[24, 24, 29\] images"),
        ([SHARED_IDS, SHARED_IDS], "HR images are given for 2 tasks, there are 3"),
    ],
)
def test_hr_images_that_do_not_fit_the_tables_are_refused(hr_ids: list[list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate(SINGLE, LEVELS, hr_ids)


def test_a_cross_table_may_be_ragged() -> None:
    values = [[RNG.normal(28, 1, len(row)) for row in DIFFERENCES] for _ in range(3)]
    errors = cross_errors(values, HR_IDS)
    camera = np.array([network[2] for network in values])
    difference = camera[2] - camera[0]
    expected = clusters.standard_errors(difference[None], difference.mean(keepdims=True), clusters.clusters_of(OWN_IDS))
    assert errors[2, 0] == expected[0]
    found = predicted_gains(values, [1, 1, 2], HR_IDS)
    assert all(a < b < c for a, b, c in zip(found.low, found.gains_db, found.high, strict=True))
    with pytest.raises(ValueError, match="the table holds"):
        predicted_gains(values, [1, 1, 2], SHARED_IDS)
