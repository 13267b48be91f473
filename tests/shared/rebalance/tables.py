"""Made-up measurements for tests of policies."""

from dataclasses import replace

import numpy as np

from shared.rebalance.estimator import estimate
from shared.rebalance.measurements import Measurements
from shared.rebalance.moments import Moments


def measurements(num_tasks: int = 4) -> Measurements:
    rng = np.random.default_rng(num_tasks)
    shared = rng.normal(28, 2, (num_tasks, 10))
    single = shared + rng.normal(0, 1, (num_tasks, 10))
    photographs = [f"{i}" for i in range(10)]
    names = [f"task-{i}" for i in range(num_tasks)]
    found = estimate(single, shared, photographs)
    losses = rng.uniform(0.1, 0.2, (2, num_tasks)).tolist()
    moments = Moments(8, *rng.uniform(1, 2, (3, num_tasks)).tolist())
    return Measurements(3, names, shared, photographs, single, single + 0.5, found, losses, moments)


def weighted(*weights: float) -> Measurements:
    """Measurements whose estimate has these weights."""
    seen = measurements(len(weights))
    return replace(seen, estimate=replace(seen.estimate, weights=list(weights)))
