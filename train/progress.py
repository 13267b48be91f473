"""What happened between two lines of metrics.jsonl."""

from typing import Any

import numpy as np

from train.settings import Settings
from train.stages.objective import GENERATOR


class Window:
    """Sums over the steps since the last line."""

    def __init__(self, num_tasks: int) -> None:
        self._num_tasks = num_tasks
        self._reset()

    def _reset(self) -> None:
        self.losses: dict[str, list[float]] = {}
        self.counts = np.zeros(self._num_tasks, np.int64)
        self.steps, self.waited, self.seconds = 0, 0.0, 0.0

    def add(self, losses: dict[str, float], counts: np.ndarray, waited: float, seconds: float) -> None:
        """One step: its loss of each network, its samples of each task, seconds spent waiting for data and in all."""
        for name, loss in losses.items():
            self.losses.setdefault(name, []).append(loss)
        self.steps += 1
        self.counts += counts
        self.waited += waited
        self.seconds += seconds

    def postfix(self, batch_size: int) -> dict[str, str]:
        """What the progress bar shows."""
        return {
            "loss": f"{np.mean(self.losses[GENERATOR]):.4f}",
            "samples/s": f"{self.steps * batch_size / self.seconds:.0f}",
            "data wait": f"{100 * self.waited / self.seconds:.1f}%",
        }

    def flush(self, step: int, settings: Settings) -> dict[str, Any]:
        """The line, and an empty window."""
        record = {
            "step": step,
            "loss": float(np.mean(self.losses[GENERATOR])),
            **{f"{name}_loss": float(np.mean(losses)) for name, losses in self.losses.items() if name != GENERATOR},
            "lr": settings.lr,
            "samples_per_second": self.steps * settings.batch_size / self.seconds,
            "step_seconds": self.seconds / self.steps,
            "data_wait": self.waited / self.seconds,
            "counts": self.counts.tolist(),
        }
        self._reset()
        return record
