"""The run log: metrics.jsonl, intervals.jsonl, the curves and images of trackers, and what a run prints.

metrics.jsonl has a line every --log-steps steps, intervals.jsonl a line for each finished interval and one for the end.
A resumed run continues at the step of its checkpoint, and no step is logged twice.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shared.storage.json_lines import JsonLines
from train.record.interval_log import missing_intervals
from train.record.progress import IntervalProgress, describe_shares
from train.record.trackers import Tracker, log_images, open_trackers
from train.settings import TrainSettings

METRICS, INTERVALS = "metrics.jsonl", "intervals.jsonl"
OF_STEPS = {
    "loss": "train/loss",
    "discriminator_loss": "train/discriminator_loss",
    "lr": "train/lr",
    "samples_per_second": "speed/samples_per_second",
    "step_seconds": "speed/step_seconds",
    "data_wait": "speed/data_wait",
}
"""Entries of metrics.jsonl, and the names of their curves."""
ADDITIVE = {"share", "quota", "delivered_weight", "substituted"}
"""Curves whose values for frozen plans are added up to one curve."""
INDISTINCT = "these photographs cannot tell the tasks apart: the bands of all weights include 1/n"


class RunLog:
    """The log of one run from a step on. Rank 0 writes; the other ranks write and print nothing.

    title: what the run is called in its messages. step: optimiser steps done.
    """

    def __init__(self, folder: Path, title: str, settings: TrainSettings, step: int, *, writes: bool) -> None:
        self.title, self.settings, self.writes = title, settings, writes
        self._folder, self._step = folder, step
        self._metrics, self._intervals = JsonLines(folder / METRICS), JsonLines(folder / INTERVALS)
        self._trackers: list[Tracker] = []
        self._warned = False

    def __enter__(self) -> "RunLog":
        """Remove what an earlier process logged after the checkpoint, and open the trackers."""
        if self.writes:
            start = self._step // self.settings.interval_steps * self.settings.interval_steps
            self._metrics.rewind("step", self._step)
            self._intervals.rewind("step", start - 1)
            lost = missing_intervals(self._intervals.read("step"), start, self.settings.interval_steps)
            if lost:
                steps, log = ", ".join(map(str, lost)), self._intervals.path
                print(f"{log} has no lines of the intervals that began at step {steps}; the run goes on")
            self._trackers = open_trackers(self.settings, self._folder, self._step)
            if self._trackers:
                self._repeat(at_boundary=start == self._step)
        return self

    def _repeat(self, at_boundary: bool) -> None:
        """Log the checkpoint's step again, because trackers are rewound to the step before it."""
        for line in self._metrics.read("step")[-1:]:
            if line["step"] == self._step:
                self._track(scalars_of_steps(line), self._step)
        for record in self._intervals.read()[-1:]:
            if at_boundary:
                self._track(scalars_of_interval(record), self._step)

    def __exit__(self, *error: object) -> None:
        for tracker in self._trackers:
            tracker.finish()

    def interval(self, record: dict[str, Any], first: int) -> IntervalProgress:
        """The progress of an interval from its step `first` on. record: a line of intervals.jsonl."""
        return IntervalProgress(self.title, record, first, self.settings, self.writes)

    def steps(self, line: dict[str, Any]) -> None:
        """Log a line of metrics.jsonl."""
        if self.writes:
            self._metrics.append(line)
            self._track(scalars_of_steps(line), line["step"])

    def boundary(self, record: dict[str, Any], make_images: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """Log and print what was measured and decided at a boundary.

        record: a line of intervals.jsonl. make_images: gives sample images by task, uint8 [H, W, 3] RGB, which are made
        for trackers alone.
        """
        if not self.writes:
            return
        shares = f", shares {describe_shares(record['tasks'], record['p'])}" if "p" in record else ""
        psnr_db = np.mean([np.mean(row) for row in record["shared_db"]])
        print(f"{self.title} step {record['step']}: PSNR {psnr_db:.3f} dB{shares}", flush=True)
        if not self._warned and not tells_tasks_apart(record):
            self._warned = True
            print(f"  {INDISTINCT} (B = {record['estimate']['signal_share']:.2f})", flush=True)
        for task, shards in record.get("missing", {}).items():
            print(f"  {task} is made on the fly: {', '.join(shards)} cannot be had", flush=True)
        self._track(scalars_of_boundary(record), record["step"])
        images = {f"samples/{name}": image for name, image in make_images().items()} if self._trackers else {}
        for tracker in self._trackers:
            log_images(tracker, images, record["step"])

    def close_interval(self, record: dict[str, Any]) -> None:
        """Log a finished interval, or the boundary after the last one."""
        if self.writes:
            self._intervals.append(record)
            for log in (self._metrics, self._intervals):  # before the checkpoint, which forgets the interval
                log.sync()
            self._track(scalars_of_interval(record), record["step"] + self.settings.interval_steps)

    def _track(self, values: Mapping[str, float], step: int) -> None:
        for tracker in self._trackers if values else ():
            tracker.log(dict(values), step=step)


def is_finished(folder: Path, iterations: int) -> bool:
    """Whether a run of so many steps has logged the boundary after its last interval."""
    records = JsonLines(folder / INTERVALS).read("step")
    return bool(records) and records[-1]["step"] >= iterations


def tells_tasks_apart(record: Mapping[str, Any]) -> bool:
    """Whether the intervals of the weights tell the tasks apart; True where there are no gaps, or only zeros."""
    found = record.get("estimate", {})
    return bool(found.get("tasks_differ", True)) or not any(found["gaps_db"])


def scalars_of_steps(line: Mapping[str, Any]) -> dict[str, float]:
    """The curves of a line of metrics.jsonl."""
    curves = {name: line[key] for key, name in OF_STEPS.items() if key in line}
    return _numbers(curves | {key: value for key, value in line.items() if "/" in key})


def scalars_of_boundary(record: Mapping[str, Any]) -> dict[str, float]:
    """The curves of an interval boundary: PSNR, gaps and weights with their intervals, ratios and quotas."""
    psnr_db = [float(np.mean(row)) for row in record["shared_db"]]
    curves: dict[str, Any] = {"psnr_db/mean": float(np.mean(psnr_db))}
    by_task: dict[str, Any] = {"psnr_db": psnr_db}
    if "estimate" in record:
        found = record["estimate"]
        by_task |= {"gap_db": found["gaps_db"], "gap_error_db": found["errors_db"], "weight": found["weights"]}
        by_task |= {"weight_low": found["low"], "weight_high": found["high"]}
        curves["estimate/ranking_share"] = found["ranking_share"]
        curves["estimate/signal_share"] = found.get("signal_share")  # which earlier versions did not have
    if "moments" in record:
        moments = record["moments"]
        by_task |= {"moment_second": moments["second"], "moment_variance": moments["variance"]}
        curves |= {f"moments/{name}": moments[name] for name in ("delta_second", "delta_variance")}
    by_task |= {"share": record.get("p"), "coefficient": record.get("c"), "quota": record.get("quotas")}
    return _numbers(curves | _by_task(record["tasks"], by_task))


def scalars_of_interval(record: Mapping[str, Any]) -> dict[str, float]:
    """The curves of a finished interval: losses, delivered weights and substituted samples."""
    keys = {"loss": "losses", "delivered_weight": "delivered_weights", "substituted": "substituted"}
    return _numbers(_by_task(record["tasks"], {name: record.get(key) for name, key in keys.items()}))


def _by_task(tasks: Sequence[str], lists: Mapping[str, Sequence[float | None] | None]) -> dict[str, Any]:
    """A curve for each task of each list. Further values are of frozen plans; additive ones become one more curve."""
    curves: dict[str, Any] = {}
    for name, values in lists.items():
        curves |= {f"{name}/{task}": value for task, value in zip(tasks, values or (), strict=False)}
        if values and name in ADDITIVE and len(values) > len(tasks):
            curves[f"{name}/frozen_plans"] = sum(value or 0 for value in values[len(tasks) :])
    return curves


def _numbers(curves: Mapping[str, Any]) -> dict[str, float]:
    """The curves without values that are None or not finite."""
    return {name: value for name, value in curves.items() if value is not None and math.isfinite(value)}
