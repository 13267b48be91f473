"""References: what remains of a single-task network, its per-image PSNR at every border.

A trace may only be compared with a run of the same protocol: same network, start, interval, batch, rows. It is all
that the shared run needs; the weights of the single-task networks are not.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shared.atomic import write_bytes
from shared.errors import RunError
from shared.format import canonical_json

TRACE = "trace.json"


@dataclass
class Trace:
    """PSNR on Y of one task's validation images, dB, by step; `protocol` is what it may be compared with."""

    task: str
    protocol: dict[str, Any]
    psnr_db: dict[str, list[float]] = field(default_factory=dict)

    def record(self, step: int, psnr_db: list[float], folder: Path) -> None:
        """Add the values of a step, and save."""
        self.psnr_db[str(step)] = psnr_db
        write_bytes(folder / TRACE, canonical_json(asdict(self)))


def load_trace(folder: Path) -> Trace | None:
    """The trace of a reference's run folder, None when there is none. Raises `RunError` when it cannot be read."""
    path = folder / TRACE
    if not path.is_file():
        return None
    try:
        return Trace(**json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise RunError(f"{path} is not a trace of a reference: {error}") from error


def require_same_protocol(trace: Trace, protocol: dict[str, Any], folder: Path) -> None:
    """Raises `RunError` that names the first difference."""
    for key, wanted in protocol.items():
        if trace.protocol.get(key) != wanted:
            raise RunError(
                f"reference {folder} was trained with {key} = {trace.protocol.get(key)!r}, this run has {wanted!r}: "
                "train references of its own (--references another folder) or use the same setting"
            )


@dataclass(frozen=True)
class References:
    """The traces of all tasks, in the run's order of tasks."""

    traces: list[Trace]

    def at(self, step: int) -> np.ndarray:
        """PSNR of each task's single-task network at `step`, float64 [n, m]. Raises `RunError` past a trace's end."""
        for trace in self.traces:
            if str(step) not in trace.psnr_db:
                last = max(map(int, trace.psnr_db), default=0)
                raise RunError(
                    f"the reference of {trace.task} has no value at step {step} (it ends at {last}): "
                    "train it as long as the shared run, with python train/run.py --mode references"
                )
        return np.array([trace.psnr_db[str(step)] for trace in self.traces])
