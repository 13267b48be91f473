"""Measurements: everything a policy may look at when an interval begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # policies import this module, and their names must be known without NumPy, Numba and PyTorch
    from collections.abc import Sequence

    import numpy as np

    from .clusters import HRIds
    from .estimator import Estimate
    from .moments import Moments


@dataclass(frozen=True)
class Measurements:
    """What is measured at an interval boundary. Tables are n rows of float64 [m_i images], a task each, PSNR in dB.

    shared_db: the network in training (EMA weights). photographs: the HR image that each image was cut from, one list
    if it is the same for image k of every task, else one list for each task. reference_db: single-task networks at the
    iteration that the estimator compares with. final_db: single-task networks at their end. estimate: gaps and weights;
    these three are None without references. losses: mean training loss of each task in the last two intervals at most,
    older first; None for a task without samples. moments: of the tasks' gradients, if they are measured. groups: group
    number of each task in training, where frozen plans follow the tasks (TGSR-style).
    """

    interval: int
    tasks: list[str]
    shared_db: Sequence[np.ndarray]
    photographs: HRIds
    reference_db: Sequence[np.ndarray] | None = None
    final_db: Sequence[np.ndarray] | None = None
    estimate: Estimate | None = None
    losses: list[list[float | None]] = field(default_factory=list)
    moments: Moments | None = None
    groups: list[int] = field(default_factory=list)


def describe(measurements: Measurements, step: int) -> dict[str, Any]:
    """The measurements as plain data: everything needed to compute the boundary's weights again."""
    from .clusters import in_one_list

    record: dict[str, Any] = {
        "interval": measurements.interval,
        "step": step,
        "tasks": measurements.tasks,
        "photographs": in_one_list(measurements.photographs),
        "shared_db": [row.tolist() for row in measurements.shared_db],
    }
    if measurements.reference_db is not None and measurements.estimate is not None:
        from .estimator import describe_estimate

        reference_db = [row.tolist() for row in measurements.reference_db]
        record |= {"reference_db": reference_db, **describe_estimate(measurements.estimate)}
    return record
