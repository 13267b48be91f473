"""The imbalance estimator: from paired per-image PSNR to weights, with their uncertainty (paper Eq. 3, 4).

Pure functions over arrays; nothing here knows networks, files or devices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared.seeds import philox

NUM_REPLICATES = 2000
CONFIDENCE = 0.95
FEW_PHOTOGRAPHS = 20
"""With fewer clusters percentile intervals cover too little (.76 at 3, .90 at 8, .93 at 20, .94 at 100)."""


@dataclass(frozen=True)
class Estimate:
    """Gaps and weights of n tasks, with what is known about their error. The band holds no training noise.

    gaps_db: DP = PSNR(single) - PSNR(shared), positive where the shared network is behind (Eq. 3). errors_db: standard
    error of each gap, photographs as clusters (None with one photograph). weights: Eq. 4, sum 1. low, high: 95 %
    bootstrap interval of each weight. ranking: task numbers by falling weight. ranking_share: share of bootstrap
    replicates with that ranking. band: what the interval speaks about.
    """

    gaps_db: list[float]
    errors_db: list[float | None]
    weights: list[float]
    low: list[float]
    high: list[float]
    ranking: list[int]
    ranking_share: float
    num_photographs: int
    band: str


def softmax(gaps_db: np.ndarray) -> np.ndarray:
    """w = exp(DP) / sum exp(DP) over the last axis, DP in dB (Eq. 4: a softmax at a temperature of 1 dB)."""
    powers = np.exp(gaps_db - gaps_db.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def estimate(
    reference_db: np.ndarray, shared_db: np.ndarray, photographs: Sequence[str], key: tuple[int | str, ...] = (0,)
) -> Estimate:
    """Weights from per-image PSNR, float [n, m] each: single-task networks and the shared one on n tasks x m images.

    Both at the same iteration, on the same images and LR files; column k shows the same HR crop in every task, cut
    from `photographs[k]`. Photographs are resampled as clusters, jointly for all tasks; with a single photograph its
    images are. key: names the random stream of the bootstrap.
    Raises ValueError for shapes that do not agree or values that are not numbers.
    """
    if reference_db.shape != shared_db.shape or reference_db.shape[1:] != (len(photographs),):
        raise ValueError(f"tables are {reference_db.shape} and {shared_db.shape} for {len(photographs)} images")
    differences = np.zeros(reference_db.shape)
    np.subtract(reference_db, shared_db, out=differences, where=reference_db != shared_db)  # inf and inf is no gap
    if not np.isfinite(differences).all():
        raise ValueError("a PSNR is not a finite number")
    gaps = differences.mean(axis=1)
    weights = softmax(gaps)
    names, photograph_of_image = np.unique(np.asarray(photographs), return_inverse=True)
    clusters = photograph_of_image if len(names) > 1 else np.arange(len(photographs))
    sums, sizes = _cluster_sums(differences, clusters)
    replicates = softmax(_bootstrap_means(sums, sizes, key))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(replicates, [tail, 100 - tail], axis=0)
    ranking = np.argsort(-weights, kind="stable")
    same_ranking = (np.argsort(-replicates, axis=1, kind="stable") == ranking).all(axis=1)
    return Estimate(
        gaps_db=gaps.tolist(),
        errors_db=_standard_errors(sums, sizes, gaps) if len(names) > 1 else [None] * len(gaps),
        weights=weights.tolist(),
        low=low.tolist(),
        high=high.tolist(),
        ranking=ranking.tolist(),
        ranking_share=float(same_ranking.mean()),
        num_photographs=len(names),
        band="these photographs only" if len(names) < FEW_PHOTOGRAPHS else "photographs of this kind",
    )


def _cluster_sums(differences: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per cluster: sum of each task's differences, float [G, n], and the number of images, int [G]."""
    sizes = np.bincount(clusters)
    sums = np.stack([np.bincount(clusters, weights=task) for task in differences], axis=1)
    return sums, sizes


def _standard_errors(sums: np.ndarray, sizes: np.ndarray, gaps: np.ndarray) -> list[float | None]:
    """Cluster-robust standard error of each mean."""
    groups = len(sizes)
    residuals = sums - sizes[:, None] * gaps
    return (np.sqrt(groups / (groups - 1) * (residuals**2).sum(axis=0)) / sizes.sum()).tolist()


def _bootstrap_means(sums: np.ndarray, sizes: np.ndarray, key: tuple[int | str, ...]) -> np.ndarray:
    """Means of NUM_REPLICATES resamples of the clusters, float [R, n]."""
    groups = len(sizes)
    words = philox("bootstrap", *key).random_raw(NUM_REPLICATES * groups) >> np.uint64(11)
    drawn = (words * 2.0**-53 * groups).astype(np.int64).reshape(NUM_REPLICATES, groups)
    flat = (drawn + groups * np.arange(NUM_REPLICATES)[:, None]).reshape(-1)
    counts = np.bincount(flat, minlength=NUM_REPLICATES * groups).reshape(NUM_REPLICATES, groups)
    return (counts @ sums) / (counts @ sizes)[:, None]
