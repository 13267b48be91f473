"""Measurements: what is measured at a boundary between intervals."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .estimator import Estimate, describe_estimate
from .moments import Moments


@dataclass(frozen=True)
class Measurements:
    """What a policy may look at. Tables are float64 [n tasks, m images], PSNR in dB.

    shared_db: the network in training, EMA weights. photographs: the HR picture of each image. reference_db:
    single-task networks at the iteration that the estimator compares with, final_db: at their end, estimate: gaps and
    weights, if there are references. losses: each task's mean training loss in the last two intervals at most, the
    older first; None for a task without samples. moments: of the tasks' gradients, if they are measured. groups: the
    group of each task that is trained on, where frozen plans follow the tasks (TGSR-style).
    """

    interval: int
    tasks: list[str]
    shared_db: np.ndarray
    photographs: list[str]
    reference_db: np.ndarray | None = None
    final_db: np.ndarray | None = None
    estimate: Estimate | None = None
    losses: list[list[float | None]] = field(default_factory=list)
    moments: Moments | None = None
    groups: list[int] = field(default_factory=list)


def describe(measurements: Measurements, step: int) -> dict[str, Any]:
    """A boundary as plain data: everything needed to compute its weights again."""
    record: dict[str, Any] = {
        "interval": measurements.interval,
        "step": step,
        "tasks": measurements.tasks,
        "photographs": measurements.photographs,
        "shared_db": measurements.shared_db.tolist(),
    }
    if measurements.reference_db is not None and measurements.estimate is not None:
        record |= {"reference_db": measurements.reference_db.tolist(), **describe_estimate(measurements.estimate)}
    return record
