"""The estimator's options beyond the paper, against numbers worked out by hand, and exact from a run's log alone."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import UsageError
from shared.rebalance.estimator import (
    PAPER,
    Estimate,
    EstimatorSettings,
    Memory,
    describe_estimate,
    estimate,
    locate,
    recompute,
    softmax,
    weights_of,
)
from tests.train.command import flags, run, succeed
from tests.train.records import intervals, require_same_run

ALL = EstimatorSettings(
    temperature=0.5, logit_ema=0.6, floor=0.2, cap=0.05, multiplicative=0.7, trim=0.1, reference="final"
)
PHOTOGRAPHS = [f"{i // 2}" for i in range(40)]
GAPS = np.array([0.6, 0.2, -0.2])


def tables(seed: int, tasks: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Reference and shared PSNR of 40 images."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(28, 2, (tasks, 40))
    return shared + rng.normal(0.1, 0.5, (tasks, 40)), shared


def boundaries(options: EstimatorSettings, count: int = 5) -> list[Estimate]:
    """Estimates of consecutive boundaries, each given the memory of the one before."""
    found: list[Estimate] = []
    for number in range(count):
        found.append(estimate(*tables(number), PHOTOGRAPHS, (0, number), options, found[-1].memory if found else None))
    return found


def test_the_temperature_divides_the_gaps() -> None:
    found = weights_of(GAPS, EstimatorSettings(temperature=0.4))
    assert found == pytest.approx(softmax(np.array([1.5, 0.5, -0.5])), abs=1e-15)
    assert found[0] / found[1] == pytest.approx(math.e)


def test_the_floor_mixes_with_equal_weights() -> None:
    found = weights_of(np.array([9000.0, 0.0, 0.0]), EstimatorSettings(floor=0.3))
    assert found == pytest.approx([0.7 + 0.1, 0.1, 0.1], abs=1e-15)


def test_the_cap_shortens_the_step_as_a_whole() -> None:
    target = weights_of(np.log([0.6, 0.3, 0.1]), PAPER)
    assert target == pytest.approx([0.6, 0.3, 0.1])
    before = [0.3, 0.35, 0.35]  # changes .3, -.05, -.25; the largest is to be .06, a fifth
    found = weights_of(np.log([0.6, 0.3, 0.1]), EstimatorSettings(cap=0.06), before)
    assert found == pytest.approx([0.36, 0.34, 0.30])
    assert weights_of(np.log([0.6, 0.3, 0.1]), EstimatorSettings(cap=0.31), before) == pytest.approx([0.6, 0.3, 0.1])


def test_the_multiplicative_update_starts_from_the_last_weights() -> None:
    found = weights_of(np.log([2.0, 1.0, 1.0]), EstimatorSettings(multiplicative=2.0), [0.2, 0.4, 0.4])
    assert found == pytest.approx([0.8 / 1.6, 0.4 / 1.6, 0.4 / 1.6])
    repeated: list[float] | None = None
    for _ in range(400):  # a constant gap is driven to the corner: the paper's rule would stay at softmax(gap)
        repeated = weights_of(GAPS, EstimatorSettings(multiplicative=1.0), repeated).tolist()
    assert repeated == pytest.approx([1.0, 0.0, 0.0], abs=1e-60)
    assert np.isfinite(weights_of(-GAPS, EstimatorSettings(multiplicative=1.0), [1.0, 0.0, 0.0])).all()


def test_logits_are_smoothed_from_the_first_border_on() -> None:
    found = boundaries(EstimatorSettings(logit_ema=0.75, temperature=0.5), 4)
    expected = np.array(found[0].gaps_db)
    assert found[0].smoothed_db == found[0].gaps_db
    for each in found[1:]:
        expected = 0.75 * expected + 0.25 * np.array(each.gaps_db)
        assert each.smoothed_db == pytest.approx(expected.tolist(), abs=1e-12)
        assert each.weights == pytest.approx(softmax(expected / 0.5).tolist(), abs=1e-12)


def test_the_band_of_smoothed_weights_knows_that_all_borders_share_their_photographs() -> None:
    """The same tables at every boundary; smoothing changes nothing, must not look more certain than one boundary."""
    plain = estimate(*tables(0), PHOTOGRAPHS, (0, 3))
    options, memory = EstimatorSettings(logit_ema=0.9), None
    for _ in range(4):
        smoothed = estimate(*tables(0), PHOTOGRAPHS, (0, 3), options, memory)
        memory = smoothed.memory
    assert smoothed.low == pytest.approx(plain.low)
    assert smoothed.high == pytest.approx(plain.high)
    assert smoothed.ranking_share == plain.ranking_share


def test_trimmed_mean_and_median_worked_out_by_hand() -> None:
    values, once = np.array([[5.0, 1.0, 100.0, 2.0, 3.0]]), np.ones((1, 5))
    assert locate(values, once, 0.0) == pytest.approx(np.array([[22.2]]))
    assert locate(values, once, 0.2) == pytest.approx(np.array([[10 / 3]]))  # 2, 3, 5
    assert locate(values, once, 0.1) == pytest.approx(np.array([[(0.5 + 2 + 3 + 5 + 50) / 4]]))  # half of the ends
    assert locate(values, once, 0.5).tolist() == [[3.0]]
    assert locate(values, np.array([[1.0, 0, 1, 1, 1]]), 0.5).tolist() == [[4.0]]  # 2, 3, 5, 100
    assert locate(values, np.array([[0, 3.0, 0, 1, 1]]), 0.5).tolist() == [[1.0]]


@pytest.mark.parametrize("trim", [0.0, 0.07, 0.25, 0.5])
def test_counting_an_image_twice_is_having_it_twice(trim: float) -> None:
    rng = np.random.default_rng(1)
    values, counts = rng.normal(size=(3, 20)), rng.integers(0, 4, 20)
    repeated = np.repeat(values, counts, axis=1)
    found = locate(values, counts[None].astype(float), trim)
    assert found == pytest.approx(locate(repeated, np.ones((1, counts.sum())), trim))
    if trim == 0.5:
        assert found[0] == pytest.approx(np.median(repeated, axis=1))


def test_a_ruined_image_moves_the_median_little() -> None:
    reference, shared = tables(2)
    ruined = reference.copy()
    ruined[0, 7] += 60.0
    median = EstimatorSettings(trim=0.5)
    gap = estimate(reference, shared, PHOTOGRAPHS, options=median).gaps_db[0]
    assert estimate(ruined, shared, PHOTOGRAPHS, options=median).gaps_db[0] == pytest.approx(gap, abs=0.1)
    assert estimate(ruined, shared, PHOTOGRAPHS).gaps_db[0] > gap + 1


@pytest.mark.parametrize(("trim", "tolerance"), [(0.1, 0.10), (0.5, 0.20)])
def test_the_standard_error_of_a_robust_mean_is_its_spread_over_photographs(trim: float, tolerance: float) -> None:
    """Against the true spread over 400 sets of 100 photographs (known to 3.5 %).

    The median's bootstrap error is biased upwards at this size; a mean over 40 sets leaves about 3 %. Tolerances are
    more than three of both.
    """
    rng = np.random.default_rng(3)
    photographs = [f"{i}" for i in range(100)]
    gaps = [locate(rng.standard_t(3, (1, 100)), np.ones((1, 100)), trim)[0, 0] for _ in range(400)]
    errors = [
        estimate(rng.standard_t(3, (1, 100)), np.zeros((1, 100)), photographs, (n,), EstimatorSettings(trim=trim))
        for n in range(40)
    ]
    assert np.mean([e.errors_db for e in errors]) == pytest.approx(np.std(gaps, ddof=1), rel=tolerance)


@pytest.mark.parametrize("photographs", [3, 7])
def test_with_few_photographs_a_robust_standard_error_is_as_large_as_that_of_the_mean(photographs: int) -> None:
    """Next to nothing trimmed off: the noise of 2,000 resamples is 2 % (without the factor: 18 and 7 % less)."""
    names = [f"{i}" for i in range(photographs)]
    values = np.random.default_rng(5).normal(size=(20, photographs))
    plain, trimmed = (
        np.array(estimate(values, 0 * values, names, options=EstimatorSettings(trim=t)).errors_db) for t in (0, 1e-9)
    )
    assert (trimmed / plain).mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("tasks", [1, 2, 3, 7])
def test_equal_networks_give_exactly_uniform_weights_under_every_option(tasks: int) -> None:
    table, memory = tables(4, tasks)[0], None
    for number in range(3):
        found = estimate(table, table.copy(), PHOTOGRAPHS, (number,), ALL, memory)
        memory = found.memory
        assert found.gaps_db == found.smoothed_db == [0.0] * tasks
        assert found.weights == found.low == found.high == [1 / tasks] * tasks


def test_the_memory_holds_only_what_an_option_needs() -> None:
    assert boundaries(PAPER, 2)[-1].memory == Memory()
    assert boundaries(EstimatorSettings(temperature=2, floor=0.1, trim=0.5), 2)[-1].memory == Memory()
    capped = boundaries(EstimatorSettings(cap=0.1), 2)[-1]
    assert capped.memory == Memory(capped.weights, None)
    assert capped.band.endswith("given the weights before")
    smoothed = boundaries(EstimatorSettings(logit_ema=0.5), 2)[-1].memory
    assert smoothed.weights is None
    assert np.shape(smoothed.differences_db) == (3, 40)


@pytest.mark.parametrize("options", [PAPER, ALL, EstimatorSettings(logit_ema=0.3), EstimatorSettings(multiplicative=1)])
def test_a_border_can_be_computed_again_from_its_record_exactly(options: EstimatorSettings) -> None:
    for number, found in enumerate(boundaries(options)):
        reference, shared = tables(number)
        record = {"reference_db": reference.tolist(), "shared_db": shared.tolist(), "photographs": PHOTOGRAPHS}
        record |= describe_estimate(found)
        assert recompute(json.loads(json.dumps(record))) == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, r"estimator.temperature is 0.0: it must be positive"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"logit_ema": 1.0}, r"logit_ema is 1.0: it must be in \[0, 1\)"),
        ({"floor": 1.1}, r"floor is 1.1: it must be in \[0, 1\]"),
        ({"cap": 0.0}, r"cap is 0.0: it must be in \(0, 1\]"),
        ({"multiplicative": -1.0}, "multiplicative is -1.0: it must be not negative"),
        ({"trim": 0.6}, r"trim is 0.6: it must be in \[0, 0.5\]"),
    ],
)
def test_options_that_make_no_estimator_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(PAPER, **change)


# ---- in runs


def options_of(options: EstimatorSettings) -> dict[str, Any]:
    return {f"estimator.{name}": value for name, value in asdict(options).items()}


@pytest.fixture
def argv(shards: Path, references: Path) -> list[str]:
    return flags(shards=shards, references=references, run="run", **options_of(replace(ALL, cap=0.002)))


def test_all_weights_of_a_run_follow_from_its_log_and_resume_with_memory_is_exact(
    argv: list[str], references: Path, tmp_path: Path
) -> None:
    succeed([*argv, "--run", "whole"], tmp_path)
    records, memory = intervals(tmp_path / "whole"), Memory()
    for record in records:
        found = recompute(record)
        assert found.inputs.memory == memory  # what it was given is what the boundary before had left
        assert describe_estimate(found)["estimate"] == record["estimate"]
        assert record.get("p", found.weights) == found.weights
        memory = found.memory
    assert np.abs(np.diff([r["estimate"]["weights"] for r in records], axis=0)).max() == pytest.approx(0.002)
    assert all(record["reference_db"] == records[0]["reference_db"] for record in records)  # the final one

    for _ in range(4):
        run([*argv, "--workers", "0"], tmp_path, signal_after=(15, 4))
    succeed(argv, tmp_path)
    require_same_run(tmp_path / "run", tmp_path / "whole")


def test_references_do_not_depend_on_the_estimator(argv: list[str], references: Path, tmp_path: Path) -> None:
    assert (
        "is finished"
        in succeed(
            flags(
                **{
                    "mode": "single",
                    "task": "noise",
                    "shards": argv[argv.index("--shards") + 1],
                    "references": references,
                    "estimator.temperature": 3.0,
                }
            ),
            tmp_path,
        ).stdout
    )


def test_a_run_that_looks_at_the_end_of_its_references_cannot_be_lengthened(argv: list[str], tmp_path: Path) -> None:
    run(argv, tmp_path, signal_after=(15, 4))
    outcome = run([*argv, "--iterations", "20"], tmp_path)
    assert outcome.code == 2
    assert "begun with iterations = 15: with --estimator.reference final" in outcome.errors[0]
