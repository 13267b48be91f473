"""Standard errors and bootstrap intervals where images from one HR image are dependent.

Crops of one HR image say less than as many crops of different ones. So HR images are the clusters: they enter standard
errors by their sums, and the bootstrap draws them whole, the same ones for all tasks.
"""

from collections.abc import Sequence

import numpy as np

from ..seeds import words

NUM_REPLICATES = 2000
CONFIDENCE = 0.95
FEW_PHOTOGRAPHS = 20
"""Percentile intervals cover too little with fewer HR images (0.76 at 3, 0.90 at 8, 0.93 at 20, 0.94 at 100)."""


def clusters_of(hr_ids: Sequence[str]) -> np.ndarray:
    """Cluster number of each image, int64 [m]: its HR image, or the image itself when there is only one HR image."""
    names, clusters = np.unique(np.asarray(hr_ids), return_inverse=True)
    return clusters if len(names) > 1 else np.arange(len(hr_ids))


def standard_errors(values: np.ndarray, means: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Cluster-robust standard errors, float [n], of the means [n] of values [n, m]; at least two clusters."""
    residuals = values - means[:, None]
    sums = np.stack([np.bincount(clusters, weights=row) for row in residuals])
    groups = sums.shape[1]
    return np.sqrt(groups / (groups - 1) * (sums**2).sum(axis=1)) / len(clusters)


def interval(replicates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end of the 95 % percentile interval of replicates [R, ...]."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(replicates, [tail, 100 - tail], axis=0)
    return low, high


def resample(clusters: np.ndarray, key: Sequence[int | str]) -> np.ndarray:
    """How often each image is in each of NUM_REPLICATES resamples of whole clusters, float [R, m]."""
    groups = int(clusters.max()) + 1
    uniform = words(NUM_REPLICATES * groups, "bootstrap", *key) >> np.uint64(11)
    drawn = (uniform * 2.0**-53 * groups).astype(np.int64).reshape(NUM_REPLICATES, groups)
    flat = (drawn + groups * np.arange(NUM_REPLICATES)[:, None]).reshape(-1)
    counts = np.bincount(flat, minlength=NUM_REPLICATES * groups).reshape(NUM_REPLICATES, groups)
    return counts[:, clusters].astype(float)


def resampled_means(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means over images, float [R, ...], of values [..., m] when image k is counted counts[r, k] times."""
    means = (counts @ values.reshape(-1, values.shape[-1]).T) / counts.sum(axis=1, keepdims=True)
    return means.reshape(-1, *values.shape[:-1])
