"""The imbalance estimator: weights, with their uncertainty, from paired per-image PSNR (paper Eq. 3, 4).

Pure functions over arrays; nothing here knows networks, files or devices.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..effects import without_removed
from .clusters import FEW_PHOTOGRAPHS, HRIds, by_task, clusters_of, interval, resampled_means, standard_errors
from .options import EstimatorSettings

PAPER = EstimatorSettings()
GAP_DECIMALS = 4
"""Gaps are rounded to 1e-4 dB before they become weights, so that networks that differ by rounding errors tie."""


@dataclass(frozen=True)
class Memory:
    """What the estimate of the last boundary leaves for the next one; plain data.

    weights: the last weights [n], for `multiplicative`. differences_db: the mean over `boundaries` boundaries of the
    per-image differences [n, m_i], for the temperature `auto`.
    """

    weights: list[float] | None = None
    differences_db: list[list[float]] | None = None
    boundaries: int = 0


@dataclass(frozen=True)
class Inputs:
    """What an estimate depends on beside the two tables. key: names the random stream of the bootstrap."""

    key: list[int | str]
    options: EstimatorSettings
    memory: Memory


@dataclass(frozen=True)
class Estimate:
    """Gaps and weights of n tasks, and how uncertain they are.

    gaps_db: DP = PSNR(single) - PSNR(shared), positive where the shared network is behind (Eq. 3). errors_db: the
    cluster-robust standard error of each gap, None for a task with a single HR image. weights: sum to 1 (Eq. 4 and the
    options). low, high: 95 % bootstrap interval of each weight over HR images; training noise is not in it. ranking:
    task numbers by descending weight. ranking_share: share of the bootstrap replicates with the same ranking.
    temperature_db: T of the softmax, None where `auto` finds nothing to follow and the weights are uniform.
    signal_share: share B of the spread of the gaps over tasks that is not the luck of the HR images. tasks_differ:
    whether the interval of any weight excludes 1 / n. num_photographs: HR images of the task that has the fewest.
    band: what the intervals speak about. inputs: what the estimate was made from. memory: for the next boundary.
    """

    gaps_db: list[float]
    errors_db: list[float | None]
    weights: list[float]
    low: list[float]
    high: list[float]
    ranking: list[int]
    ranking_share: float
    temperature_db: float | None
    signal_share: float
    tasks_differ: bool
    num_photographs: int
    band: str
    inputs: Inputs
    memory: Memory


def softmax(logits: np.ndarray) -> np.ndarray:
    """exp(z) / sum exp(z) over the last axis (Eq. 4 with z = DP / 1 dB)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def weights_of(
    gaps_db: np.ndarray,
    options: EstimatorSettings,
    before: Sequence[float] | None = None,
    temperature_db: float | None = None,
) -> np.ndarray:
    """Weights, float [..., n], of gaps [..., n], which are rounded to 1e-4 dB first.

    before: the last weights [n], used by `multiplicative` alone (default: uniform). temperature_db: what `auto` has
    found (None: gaps are not followed).
    """
    n = gaps_db.shape[-1]
    temperature = temperature_db or math.inf if options.temperature == "auto" else options.temperature
    logits = np.round(gaps_db, GAP_DECIMALS) / temperature
    if options.multiplicative:
        last = np.full(n, 1 / n) if before is None else np.asarray(before)
        logits = np.log(np.maximum(last, np.finfo(float).tiny)) + options.multiplicative * logits
    weights = softmax(logits)
    return 1 / n + (1 - options.floor) * (weights - 1 / n) if options.floor else weights


def signal_share(gaps_db: np.ndarray, replicates_db: np.ndarray, num_photographs: int) -> tuple[float, float | None]:
    """B = max(0, 1 - N / V) and the temperature sqrt(V) / B in dB, None where B is 0 (docs/method.md, Estimation).

    V is the variance over tasks of the gaps [n], N the part of it that the choice of HR images makes, from the gaps
    of the bootstrap's replicates [R, n]. With one HR image nothing is known about that part, and B is 0. B > 0 is no
    evidence of a difference: it occurs in 40 % of the draws when there is none.
    """
    gaps, n = np.round(gaps_db, GAP_DECIMALS), len(gaps_db)
    if n == 1 or num_photographs == 1:
        return 0.0, None
    spread = float(gaps.var(ddof=1))
    centred = replicates_db - replicates_db.mean(axis=1, keepdims=True)
    luck = float(((centred - centred.mean(axis=0)) ** 2).sum(axis=1).mean()) / (n - 1)
    luck *= num_photographs / (num_photographs - 1)  # a resample of G has (G - 1) / G of the variance
    share = max(0.0, 1 - luck / spread) if spread else 0.0
    return share, math.sqrt(spread) / share if share else None


def estimate(
    reference_db: Sequence[np.ndarray],
    shared_db: Sequence[np.ndarray],
    hr_ids: HRIds,
    key: Sequence[int | str] = (0,),
    options: EstimatorSettings = PAPER,
    memory: Memory | None = None,
) -> Estimate:
    """Weights of n tasks from the PSNR of single-task networks and of the shared network on the same images.

    Args:
        reference_db: PSNR in dB, n rows of float [m_i]; row i is the single-task network of task i on the images of
            task i
        shared_db: PSNR in dB, n rows of float [m_i], of the shared network on the same images
        hr_ids: name of the HR image that each image was cut from: m strings if image k of every task was cut from the
            same HR image, else such a list for each task. Images with the same name are resampled together, also those
            of different tasks
        key: integers and strings that name the random stream of the bootstrap, such as (seed, interval)
        options: how gaps become weights (default: Eq. 4)
        memory: `Estimate.memory` of the last boundary, for `multiplicative` and the temperature `auto`

    Raises:
        ValueError: the numbers of images do not agree, or a PSNR is not finite (two infinite values make no gap)
    """
    memory = memory or Memory()
    names = by_task(hr_ids, len(reference_db))
    differences = _differences(reference_db, shared_db, [len(each) for each in names])
    followed, boundaries = differences, 0
    if options.temperature == "auto":
        boundaries = memory.boundaries + 1
        past = differences if memory.differences_db is None else [*map(np.asarray, memory.differences_db)]
        followed = [old + (now - old) / boundaries for old, now in zip(past, differences, strict=True)]
    num_photographs = min(len(set(each)) for each in names)
    gaps, means = (np.array([row.mean() for row in table]) for table in (differences, followed))
    resampled = resampled_means(followed, names, key)
    share, automatic = signal_share(means, resampled, num_photographs)
    weights = weights_of(means, options, memory.weights, automatic)
    replicates = weights_of(resampled, options, memory.weights, automatic)
    low, high = interval(replicates)
    ranking = np.argsort(-weights, kind="stable")
    same_ranking = (np.argsort(-replicates, axis=1, kind="stable") == ranking).all(axis=1)
    return Estimate(
        gaps_db=gaps.tolist(),
        errors_db=[_error(*task) for task in zip(differences, gaps, names, strict=True)],
        weights=weights.tolist(),
        low=low.tolist(),
        high=high.tolist(),
        ranking=ranking.tolist(),
        ranking_share=float(same_ranking.mean()),
        temperature_db=automatic if options.temperature == "auto" else options.temperature,
        signal_share=share,
        tasks_differ=bool(((low > 1 / len(gaps)) | (high < 1 / len(gaps))).any()),
        num_photographs=num_photographs,
        band=("these photographs only" if num_photographs < FEW_PHOTOGRAPHS else "photographs of this kind")
        + (", given the weights before" if options.multiplicative else ""),
        inputs=Inputs(list(key), options, memory),
        memory=Memory(
            weights.tolist() if options.multiplicative else None,
            [row.tolist() for row in followed] if boundaries else None,
            boundaries,
        ),
    )


def _differences(
    reference_db: Sequence[np.ndarray], shared_db: Sequence[np.ndarray], num_images: list[int]
) -> list[np.ndarray]:
    """PSNR of the single-task network minus PSNR of the shared one, for each image, n rows of float [m_i]."""
    reference, shared = ([np.asarray(row, float) for row in table] for table in (reference_db, shared_db))
    shapes = [[row.shape for row in table] for table in (reference, shared)]
    if any(found != [(count,) for count in num_images] for found in shapes):
        raise ValueError(f"hr_ids name {num_images} images of the tasks, the tables have {shapes[0]} and {shapes[1]}")
    differences = []
    for single, other in zip(reference, shared, strict=True):
        difference = np.zeros(single.shape)
        np.subtract(single, other, out=difference, where=single != other)  # inf and inf is no gap
        if not np.isfinite(difference).all():
            raise ValueError("a PSNR is not a finite number")
        differences.append(difference)
    return differences


def _error(differences: np.ndarray, gap: float, hr_ids: Sequence[str]) -> float | None:
    """Standard error of a gap, None with a single HR image."""
    if len(set(hr_ids)) == 1:
        return None
    return float(standard_errors(differences[None], np.array([gap]), clusters_of(hr_ids))[0])


def describe_estimate(found: Estimate) -> dict[str, Any]:
    """The part of a record of intervals.jsonl from which, with the two tables, `recompute` makes the estimate again."""
    values = asdict(found)
    del values["memory"]  # follows from the rest
    return {"estimator": values.pop("inputs"), "estimate": values}


def recompute(record: Mapping[str, Any]) -> Estimate:
    """The estimate of a record of intervals.jsonl, computed again from the record alone.

    Raises `UsageError` for a record that was made with an option which this version does not have.
    """
    inputs = record["estimator"]
    return estimate(
        record["reference_db"],
        record["shared_db"],
        record["photographs"],
        inputs["key"],
        EstimatorSettings(**without_removed(EstimatorSettings, inputs["options"], "the record")),
        Memory(**inputs["memory"]),
    )
