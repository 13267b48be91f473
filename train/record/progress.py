"""The progress bar of an interval, and the lines of metrics.jsonl about its steps."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from shared.progress import progress_bar
from train.networks import GENERATOR
from train.settings import TrainSettings

SHARES_SHOWN = 5
"""Number of tasks whose shares the bar shows; with more tasks it shows the largest."""


class IntervalProgress(AbstractContextManager["IntervalProgress"]):
    """The progress of one interval: a bar of the whole run, and the sums for the next line of metrics.jsonl."""

    def __init__(self, title: str, record: dict[str, Any], first: int, settings: TrainSettings, shown: bool) -> None:
        """record: the interval's, of intervals.jsonl. first: its steps that are done. shown: whether to draw a bar."""
        self._settings, self._num_tasks = settings, len(record["p"])
        self._shares = describe_shares(record["tasks"], record["p"])
        number = record["step"] // settings.interval_steps + 1
        self._step = record["step"] + first
        self._bar = progress_bar(
            settings.iterations,
            "step",
            initial=self._step,
            desc=f"{title}, interval {number}/{settings.iterations // settings.interval_steps}",
            disable=not shown,
            leave=False,
        )
        self._begin_line()

    def _begin_line(self) -> None:
        self._losses: dict[str, list[float]] = {}
        self._counts = np.zeros(self._num_tasks, np.int64)
        self._steps, self._waited, self._seconds = 0, 0.0, 0.0

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def step(self, losses: dict[str, float], counts: np.ndarray, waited: float, seconds: float) -> None:
        """Add a step: loss of each network, samples of each task, seconds spent waiting for data, seconds in all."""
        for name, loss in losses.items():
            self._losses.setdefault(name, []).append(loss)
        self._step += 1
        self._steps += 1
        self._counts += counts
        self._waited += waited
        self._seconds += seconds
        if not self._bar.disable:
            shown = {
                "loss": f"{np.mean(self._losses[GENERATOR]):.4f}",
                "samples/s": f"{self._steps * self._settings.batch_size / self._seconds:.3g}",
                "data wait": f"{100 * self._waited / self._seconds:.1f}%",
                "shares": self._shares,
            }
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()

    def line(self) -> dict[str, Any]:
        """The next line of metrics.jsonl, about the steps since the last one."""
        means = {name: float(np.mean(losses)) for name, losses in self._losses.items()}
        line = {
            "step": self._step,
            "loss": means.pop(GENERATOR),
            **{f"{name}_loss": mean for name, mean in means.items()},
            "lr": self._settings.learning_rate(self._step - 1),
            "samples_per_second": self._steps * self._settings.batch_size / self._seconds,
            "step_seconds": self._seconds / self._steps,
            "data_wait": self._waited / self._seconds,
            "counts": self._counts.tolist(),
        }
        self._begin_line()
        return line


def describe_shares(tasks: Sequence[str], shares: Sequence[float]) -> str:
    """The current ratios, the largest ones when there are many tasks: `mild 0.25 noise 0.31`.

    Shares beyond those of the tasks are of frozen plans (TGSR-style), which are summed up.
    """
    largest = sorted(range(len(tasks)), key=lambda task: -shares[task])[:SHARES_SHOWN]
    words = [f"{tasks[task]} {shares[task]:.2f}" for task in sorted(largest)]
    words += ["..."] if len(tasks) > SHARES_SHOWN else []
    if frozen := shares[len(tasks) :]:
        words.append(f"{len(frozen)} frozen plans {sum(frozen):.2f}")
    return " ".join(words)
