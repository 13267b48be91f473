"""The progress bar of an interval, and the lines of metrics.jsonl about its steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from shared.progress import progress_bar
from train.networks import GENERATOR
from train.settings import TrainSettings

SHARES_SHOWN = 5
"""Number of tasks whose shares the bar shows; with more tasks it shows the largest."""


class Window:
    """Sums over the steps since the last line of metrics.jsonl."""

    def __init__(self, num_tasks: int) -> None:
        self._num_tasks = num_tasks
        self._reset()

    def _reset(self) -> None:
        self.losses: dict[str, list[float]] = {}
        self.counts = np.zeros(self._num_tasks, np.int64)
        self.steps, self.waited, self.seconds = 0, 0.0, 0.0

    def add(self, losses: dict[str, float], counts: np.ndarray, waited: float, seconds: float) -> None:
        """Add a step: loss of each network, samples of each task, seconds spent waiting for data, seconds in all."""
        for name, loss in losses.items():
            self.losses.setdefault(name, []).append(loss)
        self.steps += 1
        self.counts += counts
        self.waited += waited
        self.seconds += seconds

    def describe(self, batch_size: int) -> dict[str, str]:
        """Loss, speed and data wait, for a progress bar."""
        return {
            "loss": f"{np.mean(self.losses[GENERATOR]):.4f}",
            "samples/s": f"{self.steps * batch_size / self.seconds:.3g}",
            "data wait": f"{100 * self.waited / self.seconds:.1f}%",
        }

    def flush(self, step: int, settings: TrainSettings) -> dict[str, Any]:
        """The line of metrics.jsonl; the window is empty afterwards."""
        record = {
            "step": step,
            "loss": float(np.mean(self.losses[GENERATOR])),
            **{f"{name}_loss": float(np.mean(losses)) for name, losses in self.losses.items() if name != GENERATOR},
            "lr": settings.learning_rate(step - 1),
            "samples_per_second": self.steps * settings.batch_size / self.seconds,
            "step_seconds": self.seconds / self.steps,
            "data_wait": self.waited / self.seconds,
            "counts": self.counts.tolist(),
        }
        self._reset()
        return record


class IntervalProgress:
    """The progress of one interval: a bar of the whole run, and the sums for the next line of metrics.jsonl."""

    def __init__(self, title: str, record: dict[str, Any], first: int, settings: TrainSettings, shown: bool) -> None:
        """record: the interval's, of intervals.jsonl. first: its steps that are done. shown: whether to draw a bar."""
        self._settings = settings
        self._window = Window(len(record["p"]))
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

    def __enter__(self) -> "IntervalProgress":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def step(self, losses: dict[str, float], counts: np.ndarray, waited: float, seconds: float) -> None:
        """As `Window.add`."""
        self._step += 1
        self._window.add(losses, counts, waited, seconds)
        if not self._bar.disable:
            shown = {**self._window.describe(self._settings.batch_size), "shares": self._shares}
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()

    def line(self) -> dict[str, Any]:
        """The next line of metrics.jsonl, about the steps since the last one."""
        return self._window.flush(self._step, self._settings)


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
