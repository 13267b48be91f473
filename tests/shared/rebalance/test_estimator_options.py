"""The estimator's options beyond the paper, against numbers worked out by hand, and exact from a record alone."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared.errors import UsageError
from shared.rebalance.estimator import (
    PAPER,
    Estimate,
    Memory,
    describe_estimate,
    estimate,
    recompute,
    signal_share,
    softmax,
    weights_of,
)
from shared.rebalance.options import EstimatorSettings

ALL = EstimatorSettings(temperature="auto", floor=0.2, multiplicative=0.7, reference="final")
HR_IDS = [f"{i // 2}" for i in range(40)]
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
        found.append(estimate(*tables(number), HR_IDS, (0, number), options, found[-1].memory if found else None))
    return found


def test_the_temperature_divides_the_gaps() -> None:
    found = weights_of(GAPS, EstimatorSettings(temperature=0.4))
    assert found == pytest.approx(softmax(np.array([1.5, 0.5, -0.5])), abs=1e-15)
    assert found[0] / found[1] == pytest.approx(math.e)


def test_the_floor_mixes_with_equal_weights() -> None:
    found = weights_of(np.array([9000.0, 0.0, 0.0]), EstimatorSettings(floor=0.3))
    assert found == pytest.approx([0.7 + 0.1, 0.1, 0.1], abs=1e-15)


def test_the_multiplicative_update_starts_from_the_last_weights() -> None:
    found = weights_of(np.log([2.0, 1.0, 1.0]), EstimatorSettings(multiplicative=2.0), [0.2, 0.4, 0.4])
    assert found == pytest.approx([0.8 / 1.6, 0.4 / 1.6, 0.4 / 1.6], abs=1e-4)
    repeated: list[float] | None = None
    for _ in range(400):  # a constant gap is driven to the corner: the paper's rule would stay at softmax(gap)
        repeated = weights_of(GAPS, EstimatorSettings(multiplicative=1.0), repeated).tolist()
    assert repeated == pytest.approx([1.0, 0.0, 0.0], abs=1e-60)
    assert np.isfinite(weights_of(-GAPS, EstimatorSettings(multiplicative=1.0), [1.0, 0.0, 0.0])).all()


# ---- gaps are rounded to 1e-4 dB


def test_gaps_that_differ_by_rounding_errors_tie_exactly() -> None:
    noise = np.random.default_rng(0).normal(0, 1e-6, (5, 20))
    table = np.full((5, 20), 28.1234)
    found = estimate(table + noise, table, HR_IDS[:20])
    assert found.gaps_db != [0.0] * 5
    assert found.weights == found.low == found.high == [0.2] * 5
    assert found.ranking == [0, 1, 2, 3, 4]
    assert found.ranking_share == 1.0


def test_gaps_of_more_than_a_ten_thousandth_of_a_decibel_do_not_tie() -> None:
    weights = weights_of(np.array([0.00016, 0.00006, 0.0]), PAPER)
    assert weights[0] / weights[1] == pytest.approx(math.exp(1e-4), rel=1e-12)
    assert weights[1] / weights[2] == pytest.approx(math.exp(1e-4), rel=1e-12)


# ---- the automatic temperature


def test_the_signal_share_worked_out_by_hand() -> None:
    # gaps 0, 1, 2: V = 1. Replicates differ from their mean by (-.5, 0, .5) and (.5, 0, -.5): sums of squares .5, over
    # n - 1 = 2 tasks .25, and with 5 HR images 5/4 of it: N = .3125.
    gaps, luck = np.array([0.0, 1.0, 2.0]), np.array([[-0.5, 0.0, 0.5], [0.5, 0.0, -0.5]])
    assert signal_share(gaps, gaps + luck, 5) == (pytest.approx(0.6875), pytest.approx(1 / 0.6875))
    assert signal_share(gaps, np.tile(gaps, (9, 1)), 20) == (1.0, 1.0)
    assert signal_share(gaps, gaps + 3 * luck, 5) == (0.0, None)  # N = 2.8 > V
    assert signal_share(gaps * 0, gaps + luck, 5) == (0.0, None)
    assert signal_share(gaps, gaps + luck, 1) == (0.0, None)


def test_without_a_signal_the_automatic_temperature_gives_exactly_uniform_weights() -> None:
    shared = tables(0, 4)[1]
    luck = np.repeat(np.random.default_rng(1).normal(0, 9, (4, 20)), 2, axis=1)  # every gap is its HR images' luck
    luck -= luck.mean(axis=1, keepdims=True)
    found = estimate(shared + luck, shared, HR_IDS, options=EstimatorSettings(temperature="auto"))
    assert found.signal_share == 0
    assert found.temperature_db is None
    assert found.weights == found.low == found.high == [0.25] * 4
    assert not found.tasks_differ


def test_with_a_clear_signal_the_automatic_temperature_is_the_spread_of_the_gaps() -> None:
    _, shared = tables(0)
    gaps = np.array([[0.03], [0.0], [-0.03]]) + np.random.default_rng(2).normal(0, 1e-3, (3, 40))
    found = estimate(shared + gaps, shared, HR_IDS, options=EstimatorSettings(temperature="auto"))
    assert found.signal_share > 0.99
    assert found.temperature_db == pytest.approx(0.03, rel=0.05)
    assert found.tasks_differ
    wide = estimate(shared + 10 * gaps, shared, HR_IDS, options=EstimatorSettings(temperature="auto"))
    assert wide.weights == pytest.approx(found.weights, abs=0.01)  # it is blind to the scale of the gaps


def test_the_automatic_temperature_follows_the_mean_gap_of_all_boundaries() -> None:
    found = boundaries(EstimatorSettings(temperature="auto"), 4)
    seen = np.array([np.subtract(*tables(number)) for number in range(4)])
    for count, each in enumerate(found, start=1):
        assert each.memory.boundaries == count
        assert np.allclose(each.memory.differences_db, seen[:count].mean(axis=0), atol=1e-12)
        assert each.gaps_db == pytest.approx(seen[count - 1].mean(axis=1).tolist())  # the gaps themselves are of now
        mean, temperature = seen[:count].mean(axis=(0, 2)), each.temperature_db or math.inf
        assert each.weights == pytest.approx(softmax(mean / temperature).tolist(), abs=2e-3)


def test_every_estimate_tells_the_share_of_the_signal() -> None:
    found = estimate(*tables(0), HR_IDS)
    automatic = estimate(*tables(0), HR_IDS, options=EstimatorSettings(temperature="auto"))
    assert found.signal_share == automatic.signal_share
    assert found.temperature_db == 1.0


def test_tasks_differ_when_one_band_excludes_equal_weights() -> None:
    single, shared = tables(0)
    far = single + np.array([[2.0], [0.0], [0.0]])
    assert estimate(far, shared, HR_IDS).tasks_differ
    same = shared + np.random.default_rng(3).normal(0, 0.5, 40)  # the same differences for all tasks
    assert not estimate(same, shared, HR_IDS).tasks_differ


# ---- all of them


@pytest.mark.parametrize("tasks", [1, 2, 3, 7])
def test_equal_networks_give_exactly_uniform_weights_under_every_option(tasks: int) -> None:
    table, memory = tables(4, tasks)[0], None
    for number in range(3):
        found = estimate(table, table.copy(), HR_IDS, (number,), ALL, memory)
        memory = found.memory
        assert found.gaps_db == [0.0] * tasks
        assert found.weights == found.low == found.high == [1 / tasks] * tasks


def test_the_memory_holds_only_what_an_option_needs() -> None:
    assert boundaries(PAPER, 2)[-1].memory == Memory()
    assert boundaries(EstimatorSettings(temperature=2, floor=0.1), 2)[-1].memory == Memory()
    followed = boundaries(EstimatorSettings(multiplicative=0.1), 2)[-1]
    assert followed.memory == Memory(followed.weights)
    assert followed.band.endswith("given the weights before")
    averaged = boundaries(EstimatorSettings(temperature="auto"), 2)[-1].memory
    assert averaged.weights is None
    assert np.shape(averaged.differences_db) == (3, 40)


@pytest.mark.parametrize(
    "options", [PAPER, ALL, EstimatorSettings(temperature="auto"), EstimatorSettings(multiplicative=1)]
)
def test_a_boundary_can_be_computed_again_from_its_record_exactly(options: EstimatorSettings) -> None:
    for number, found in enumerate(boundaries(options)):
        assert recompute(json.loads(json.dumps(record_of(number, found)))) == found


def record_of(number: int, found: Estimate) -> dict[str, Any]:
    reference, shared = tables(number)
    record = {"reference_db": reference.tolist(), "shared_db": shared.tolist(), "photographs": HR_IDS}
    return record | describe_estimate(found)


def test_a_record_of_an_earlier_version_is_computed_again() -> None:
    found = estimate(*tables(0), HR_IDS, (0, 0), EstimatorSettings(temperature=0.5, multiplicative=0.3))
    record = record_of(0, found)
    record["estimator"]["options"] |= {"logit_ema": 0.0, "cap": 1.0, "trim": 0.0}
    record["estimator"]["memory"] = {"weights": None, "differences_db": None}
    assert recompute(json.loads(json.dumps(record))) == found
    record["estimator"]["options"]["cap"] = 0.1
    with pytest.raises(UsageError, match=r"the record has cap = 0\.1, an option that was removed"):
        recompute(record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, r"estimator.temperature is 0.0: it must be positive, or auto"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"floor": 1.1}, r"floor is 1.1: it must be in \[0, 1\]"),
        ({"multiplicative": -1.0}, "multiplicative is -1.0: it must be not negative"),
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(PAPER, **change)


@pytest.mark.parametrize("library", ["torch", "numba", "cv2", "scipy"])
def test_policies_and_options_are_known_without_heavy_libraries(library: str) -> None:
    code = (
        "import sys; import shared.rebalance.options; from shared.rebalance.policies import POLICIES, describe_policy;"
        f"describe_policy('dwa'); sys.exit({library!r} in sys.modules or 'uniform' not in POLICIES)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
