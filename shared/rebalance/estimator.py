"""The imbalance estimator: from paired per-image PSNR to weights, with their uncertainty (paper Eq. 3, 4).

Pure functions over arrays; nothing here knows networks, files or devices. The options beyond the paper are off by
default; those with a past (`logit_ema`, `cap`, `multiplicative`) are given it as a `Memory` and give the next one back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ..errors import require
from ..seeds import words

NUM_REPLICATES = 2000
CONFIDENCE = 0.95
FEW_PHOTOGRAPHS = 20
"""With fewer clusters percentile intervals cover too little (.76 at 3, .90 at 8, .93 at 20, .94 at 100)."""


@dataclass(frozen=True)
class EstimatorSettings:
    """From gaps DP to weights w. The defaults are the paper's Eq. 3 and 4; every option beyond them is off.

    Args:
        temperature: dB in w = softmax(DP / temperature); 1 is Eq. 4, larger is more even
        logit_ema: b in z_t = b z_(t-1) + (1 - b) DP_t / temperature, a smoothed logit; 0: this boundary alone
        floor: e in w = (1 - e) softmax + e / n, so that no task falls below e / n
        cap: largest change of any weight from one interval to the next (the step is shortened as a whole); 1: none
        multiplicative: eta in w_t ~ w_(t-1) exp(eta z_t), which drives gaps to equality; 0: w_t ~ exp(z_t), Eq. 4
        trim: share of images left out at either end of DP's mean over images; 0: the mean, 0.5: the median
        reference: single-task PSNR at the same_iteration (Eq. 3) or at the final one of the references
    """

    temperature: float = 1.0
    logit_ema: float = 0.0
    floor: float = 0.0
    cap: float = 1.0
    multiplicative: float = 0.0
    trim: float = 0.0
    reference: Literal["same_iteration", "final"] = "same_iteration"

    def __post_init__(self) -> None:
        """Raises `UsageError` for values that make no estimator."""
        rules = {
            "temperature": ("positive", 0 < self.temperature < np.inf),
            "logit_ema": ("in [0, 1)", 0 <= self.logit_ema < 1),
            "floor": ("in [0, 1]", 0 <= self.floor <= 1),
            "cap": ("in (0, 1]", 0 < self.cap <= 1),
            "multiplicative": ("not negative", 0 <= self.multiplicative < np.inf),
            "trim": ("in [0, 0.5]", 0 <= self.trim <= 0.5),
        }
        require(self, rules, "estimator.")


@dataclass(frozen=True)
class Memory:
    """What the boundary before has left, where an option needs it; plain data.

    weights: the last weights [n] (for `cap` and `multiplicative`). differences_db: the smoothed per-image differences
    [n, m] (for `logit_ema`).
    """

    weights: list[float] | None = None
    differences_db: list[list[float]] | None = None


@dataclass(frozen=True)
class Inputs:
    """What an estimate depends on beside the tables. key: names the random stream of the bootstrap."""

    key: list[int | str]
    options: EstimatorSettings
    memory: Memory


@dataclass(frozen=True)
class Estimate:
    """Gaps and weights of n tasks, with what is known about their error. The band holds no training noise.

    gaps_db: DP = PSNR(single) - PSNR(shared), positive where the shared network is behind (Eq. 3). errors_db: standard
    error of each gap: photographs as clusters for the mean, the spread of the bootstrap's gaps for trimmed means and
    medians, times sqrt(G / (G - 1)) for G photographs; None with one photograph. smoothed_db: the gaps that the
    weights follow (`logit_ema`). weights: Eq. 4 and its options, sum 1. low, high: 95 % bootstrap interval of each
    weight. ranking: task numbers by falling weight. ranking_share: share of bootstrap replicates with that ranking.
    band: what the interval speaks about. inputs: what it was made with. memory: for the next boundary.
    """

    gaps_db: list[float]
    errors_db: list[float | None]
    smoothed_db: list[float]
    weights: list[float]
    low: list[float]
    high: list[float]
    ranking: list[int]
    ranking_share: float
    num_photographs: int
    band: str
    inputs: Inputs
    memory: Memory


PAPER = EstimatorSettings()


def softmax(logits: np.ndarray) -> np.ndarray:
    """exp(z) / sum exp(z) over the last axis (Eq. 4 with z = DP / 1 dB)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def weights_of(gaps_db: np.ndarray, options: EstimatorSettings, before: Sequence[float] | None = None) -> np.ndarray:
    """Weights, float [..., n], of gaps, float [..., n]; equal gaps at equal weights `before` give those exactly.

    before: the weights of the last interval, uniform at first; used by `multiplicative` and `cap` alone.
    """
    uniform = np.full(gaps_db.shape[-1], 1 / gaps_db.shape[-1])
    last = uniform if before is None else np.asarray(before)
    logits = gaps_db / options.temperature
    if options.multiplicative:
        logits = np.log(np.maximum(last, np.finfo(float).tiny)) + options.multiplicative * logits
    weights = softmax(logits)
    if options.floor:
        weights = uniform + (1 - options.floor) * (weights - uniform)
    if options.cap < 1:
        change = weights - last
        largest = np.abs(change).max(axis=-1, keepdims=True)
        weights = np.where(largest > options.cap, last + change * options.cap / np.maximum(largest, 1e-300), weights)
    return weights


def locate(values: np.ndarray, counts: np.ndarray, trim: float) -> np.ndarray:
    """Mean, trimmed mean or median over images, float [R, n]: of values [n, m], image k counted counts[r, k] times.

    trim: share of the images left out at either end, an image perhaps in part; 0.5 is the median.
    """
    totals = counts.sum(axis=1)
    if trim == 0:
        return (counts @ values.T) / totals[:, None]
    columns = []
    for task in values:
        order = np.argsort(task, kind="stable")
        ends = np.cumsum(counts[:, order], axis=1)
        if trim == 0.5:
            middle = [(2 * ends >= totals[:, None]).argmax(axis=1), (2 * ends > totals[:, None]).argmax(axis=1)]
            columns.append(task[order][middle].mean(axis=0))
            continue
        cut = trim * totals[:, None]
        within = np.diff(np.clip(ends, cut, totals[:, None] - cut), axis=1, prepend=cut)
        columns.append((within @ task[order]) / within.sum(axis=1))
    return np.stack(columns, axis=1)


def estimate(
    reference_db: np.ndarray,
    shared_db: np.ndarray,
    photographs: Sequence[str],
    key: Sequence[int | str] = (0,),
    options: EstimatorSettings = PAPER,
    memory: Memory | None = None,
) -> Estimate:
    """Weights from per-image PSNR, float [n, m] each: single-task networks and the shared one on n tasks x m images.

    Both on the same images and LR files; column k shows the same HR crop in every task, cut from `photographs[k]`.
    Photographs are resampled as clusters, jointly for all tasks and all boundaries that `logit_ema` has smoothed over;
    with a single photograph its images are. key: names the random stream of the bootstrap. memory: of the last
    boundary. Raises ValueError for shapes that do not agree or values that are not numbers.
    """
    memory = memory or Memory()
    smoothed = differences = _differences(reference_db, shared_db, len(photographs))
    if options.logit_ema and memory.differences_db is not None:
        past = np.asarray(memory.differences_db)
        smoothed = options.logit_ema * past + (1 - options.logit_ema) * differences

    clusters, num_photographs = clusters_of(photographs), len(set(photographs))
    once, resampled = np.ones((1, len(photographs))), resample(clusters, key)
    gaps = locate(differences, once, options.trim)[0]
    centre = locate(smoothed, once, options.trim)[0]
    weights = weights_of(centre, options, memory.weights)
    replicates = weights_of(locate(smoothed, resampled, options.trim), options, memory.weights)
    low, high = interval(replicates)
    ranking = np.argsort(-weights, kind="stable")
    same_ranking = (np.argsort(-replicates, axis=1, kind="stable") == ranking).all(axis=1)
    errors: list[float | None] = [None] * len(gaps)
    if num_photographs > 1 and options.trim:
        spread = locate(differences, resampled, options.trim).std(axis=0, ddof=1)
        errors = (spread * (num_photographs / (num_photographs - 1)) ** 0.5).tolist()  # a resample has n - 1 parts of n
    elif num_photographs > 1:
        errors = standard_errors(differences, gaps, clusters).tolist()
    has_past = options.cap < 1 or options.multiplicative > 0
    return Estimate(
        gaps_db=gaps.tolist(),
        errors_db=errors,
        smoothed_db=centre.tolist(),
        weights=weights.tolist(),
        low=low.tolist(),
        high=high.tolist(),
        ranking=ranking.tolist(),
        ranking_share=float(same_ranking.mean()),
        num_photographs=num_photographs,
        band=("these photographs only" if num_photographs < FEW_PHOTOGRAPHS else "photographs of this kind")
        + (", given the weights before" if has_past else ""),
        inputs=Inputs(list(key), options, memory),
        memory=Memory(
            weights=weights.tolist() if has_past else None,
            differences_db=smoothed.tolist() if options.logit_ema else None,
        ),
    )


def _differences(reference_db: np.ndarray, shared_db: np.ndarray, num_images: int) -> np.ndarray:
    """Of each image, single-task network less shared one, float [n, m]."""
    if reference_db.shape != shared_db.shape or reference_db.shape[1:] != (num_images,):
        raise ValueError(f"tables are {reference_db.shape} and {shared_db.shape} for {num_images} images")
    differences = np.zeros(reference_db.shape)
    np.subtract(reference_db, shared_db, out=differences, where=reference_db != shared_db)  # inf and inf is no gap
    if not np.isfinite(differences).all():
        raise ValueError("a PSNR is not a finite number")
    return differences


def describe_estimate(found: Estimate) -> dict[str, Any]:
    """What a record of intervals.jsonl holds of an estimate beside the two tables: enough to compute it again."""
    values = asdict(found)
    del values["memory"]  # follows from the rest
    return {"estimator": values.pop("inputs"), "estimate": values}


def recompute(record: Mapping[str, Any]) -> Estimate:
    """The estimate of a record of intervals.jsonl, from nothing but that record."""
    inputs = record["estimator"]
    return estimate(
        np.array(record["reference_db"]),
        np.array(record["shared_db"]),
        record["photographs"],
        inputs["key"],
        EstimatorSettings(**inputs["options"]),
        Memory(**inputs["memory"]),
    )


def standard_errors(values: np.ndarray, means: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Cluster-robust standard errors of the means, float [n], of values [n, m] over images in two clusters or more."""
    residuals = values - means[:, None]
    sums = np.stack([np.bincount(clusters, weights=row) for row in residuals])
    groups = sums.shape[1]
    return np.sqrt(groups / (groups - 1) * (sums**2).sum(axis=1)) / len(clusters)


def clusters_of(photographs: Sequence[str]) -> np.ndarray:
    """What is resampled as one, for each image: its photograph, or with a single photograph the image; int64 [m]."""
    names, clusters = np.unique(np.asarray(photographs), return_inverse=True)
    return clusters if len(names) > 1 else np.arange(len(photographs))


def interval(replicates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % percentile interval, of values [R, ...] over the first axis."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(replicates, [tail, 100 - tail], axis=0)
    return low, high


def resample(clusters: np.ndarray, key: Sequence[int | str]) -> np.ndarray:
    """How often each image is in each of NUM_REPLICATES resamples of the clusters, float [R, m]."""
    groups = int(clusters.max()) + 1
    uniform = words(NUM_REPLICATES * groups, "bootstrap", *key) >> np.uint64(11)
    drawn = (uniform * 2.0**-53 * groups).astype(np.int64).reshape(NUM_REPLICATES, groups)
    flat = (drawn + groups * np.arange(NUM_REPLICATES)[:, None]).reshape(-1)
    counts = np.bincount(flat, minlength=NUM_REPLICATES * groups).reshape(NUM_REPLICATES, groups)
    return counts[:, clusters].astype(float)
