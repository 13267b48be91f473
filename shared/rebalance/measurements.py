"""Measurements: everything a policy may look at when an interval begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # policies import this module, and their names must be known without NumPy, Numba and PyTorch
    import numpy as np

    from .estimator import Estimate
    from .moments import Moments


@dataclass(frozen=True)
class Measurements:
    """What is measured at an interval boundary. Tables are float64 [n tasks, m images], PSNR in dB.

    shared_db: the network in training (EMA weights). photographs: the HR image that image k of every task was cut
    from. reference_db: single-task networks at the iteration that the estimator compares with. final_db: single-task
    networks at their end. estimate: gaps and weights; these three are None without references. losses: mean training
    loss of each task in the last two intervals at most, older first; None for a task without samples. moments: of
    the tasks' gradients, if they are measured. groups: group number of each task in training, where frozen plans
    follow the tasks (TGSR-style).
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
    """The measurements as plain data: everything needed to compute the boundary's weights again."""
    record: dict[str, Any] = {
        "interval": measurements.interval,
        "step": step,
        "tasks": measurements.tasks,
        "photographs": measurements.photographs,
        "shared_db": measurements.shared_db.tolist(),
    }
    if measurements.reference_db is not None and measurements.estimate is not None:
        from .estimator import describe_estimate

        record |= {"reference_db": measurements.reference_db.tolist(), **describe_estimate(measurements.estimate)}
    return record
