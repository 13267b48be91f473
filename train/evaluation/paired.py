"""Paired statistics over the images of a test set; images of one photograph are one observation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shared.rebalance.clusters import CONFIDENCE, FEW_PHOTOGRAPHS, clusters_of, interval, resample


class Interval(NamedTuple):
    """A figure with its 95 % bootstrap interval, photographs resampled as clusters."""

    value: float
    low: float
    high: float


def bootstrap_mean(values: np.ndarray, photographs: Sequence[str], key: Sequence[int | str] = ()) -> Interval:
    """The mean of values, float [m], one per image; with a single photograph its images are resampled.

    key: names the random stream. Percentile intervals cover too little with few photographs: .90 at 8, .93 at 20.
    """
    counts = resample(clusters_of(photographs), key)
    low, high = interval(counts @ values / counts.sum(axis=1))
    return Interval(float(values.mean()), float(low), float(high))


def student_reach(count: int) -> float:
    """Standard errors to either side of the mean of `count` values, two or more, that hold 95 % by Student's t."""
    from scipy.stats import t  # seconds of imports

    return float(t.ppf((1 + CONFIDENCE) / 2, count - 1))


def caution(photographs: int) -> str:
    """What is to be said of bootstrap intervals over so many photographs; empty when there are enough."""
    few = photographs < FEW_PHOTOGRAPHS
    return f"With fewer than {FEW_PHOTOGRAPHS} photographs bootstrap intervals are too narrow." if few else ""


def wilcoxon_p(differences: np.ndarray, photographs: Sequence[str]) -> float:
    """Two-sided p of the signed-rank test on the mean difference of each photograph; 1 when none differs.

    Exact for up to 50 photographs without ties, else the normal approximation.
    """
    from scipy.stats import wilcoxon  # seconds of imports

    clusters = clusters_of(photographs)
    means = np.bincount(clusters, differences) / np.bincount(clusters)
    means = means[means != 0]
    return float(wilcoxon(means).pvalue) if len(means) else 1.0
