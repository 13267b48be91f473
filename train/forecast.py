"""What a command is about to train and how long that takes, printed before it begins; --dry-run does no more.

The times are those of a training step and of a validation image, both measured on the device with black images.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from shared.mixing.tasks import Task
from shared.text import BYTE_UNITS, TIME_UNITS, quantity
from train.loop import RunSpec
from train.networks.build import num_parameters
from train.networks.weights import NetworkSpec, Weights
from train.optimisation.learner import Learner
from train.optimisation.objective import TrainingImages
from train.settings import TrainSettings

WHOLE_STEP_SECONDS = 10.0
"""Where a step of the whole batch would take longer, the time of one sample is multiplied."""
MOST_REPEATS, REPEAT_SECONDS = 6, 0.5
"""A measurement is repeated at most this number of times, and for about this number of seconds."""


@dataclass(frozen=True)
class Cost:
    """Measured times. step_seconds: of the batch of one process, None where it did not fit into the memory.

    samples: number of samples in the measured step. image_seconds: of one validation image. memory_bytes: peak of the
    accelerator's memory, 0 without one. parameters: of each network.
    """

    step_seconds: float | None
    samples: int
    image_seconds: float
    memory_bytes: int
    parameters: dict[str, int]


def measure(
    spec: NetworkSpec,
    initial: Weights,
    settings: TrainSettings,
    task: Task,
    num_ranks: int,
    device: torch.device,
    autocast: Callable[[], Any],
) -> Cost:
    """Time a few training steps and validation images, with weights that are then thrown away."""
    gentle = replace(settings, accumulate=1, lr=1e-9, init_discriminator=None)  # such a rate harms no weight
    learner = Learner(spec, gentle, initial, None, device)
    part = settings.batch_size // num_ranks // settings.accumulate
    side = task.val_manifest.recipe["patch"] // spec.scale

    def upscale() -> None:
        with torch.no_grad():
            learner.ema(torch.zeros(1, 3, side, side, device=device))

    def step(samples: int) -> None:
        lr = torch.zeros(samples, 3, task.patch // spec.scale, task.patch // spec.scale, device=device)
        hr = torch.zeros(samples, 3, task.patch, task.patch, device=device)
        learner.begin_step()
        with autocast():
            for objective in learner.stage.objectives(learner.networks, TrainingImages(lr, hr, hr)):
                objective.losses.mean().backward()
        learner.step(0)

    image_seconds = _fastest(upscale, device)
    try:
        samples, seconds = 1, _fastest(lambda: step(1), device)
        if part * seconds < WHOLE_STEP_SECONDS:
            samples, seconds = part, _fastest(lambda: step(part), device)
        step_seconds = seconds * part / samples * settings.accumulate
    except torch.OutOfMemoryError:
        samples, step_seconds = part, None
    memory_bytes = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    parameters = {name: num_parameters(network) for name, network in learner.plain.items()}
    return Cost(step_seconds, samples, image_seconds, memory_bytes, parameters)


def _fastest(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of the fastest of a few calls, since others may use the machine; the first call is a warm-up."""
    seconds: list[float] = []
    while len(seconds) < 2 or (len(seconds) < MOST_REPEATS and sum(seconds[1:]) < REPEAT_SECONDS):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


@dataclass(frozen=True)
class Forecast:
    """What a command will do. costs: of a step of each stage that the jobs have, and of the settings' own.

    num_ranks: processes that share a batch. search_samples: cost, in samples of training, of a search for groups of
    frozen plans, which one process makes first; None without a search.
    """

    settings: TrainSettings
    spec: NetworkSpec
    jobs: Sequence[RunSpec]
    costs: Mapping[str, Cost]
    num_ranks: int
    device: torch.device
    search_samples: float | None = None

    @property
    def steps(self) -> int:
        """Optimiser steps of all networks that are still to do."""
        return sum(job.steps_left for job in self.jobs)

    @property
    def seconds(self) -> float | None:
        """Time of all steps and interval boundaries still to do, without loading; None without a measured step."""
        step_seconds = {stage: cost.step_seconds for stage, cost in self.costs.items() if cost.step_seconds is not None}
        if len(step_seconds) < len(self.costs):
            return None
        images = sum(self._images(job) for job in self.jobs)
        per_sample = step_seconds[self.settings.stage] * self.num_ranks / self.settings.batch_size
        first = (self.search_samples or 0.0) * per_sample
        steps = sum(job.steps_left * step_seconds[job.settings.stage] for job in self.jobs)
        return first + steps + images * self.cost.image_seconds / self.num_ranks

    @property
    def cost(self) -> Cost:
        """The cost of a step of the settings' own stage."""
        return self.costs[self.settings.stage]

    def _images(self, job: RunSpec) -> float:
        """Number of validation images that a network is still evaluated on."""
        rows = sum(task.val_manifest.rows for task in (*job.tasks, *job.others))
        return (job.steps_left / self.settings.interval_steps + 1) * rows

    def summary(self) -> str:
        """One line: the networks, their steps and the time left."""
        settings, seconds = self.settings, self.seconds
        time_left = "" if seconds is None else f", about {quantity(seconds, TIME_UNITS)} at the speed measured now"
        lengths = Counter(job.settings.iterations for job in self.jobs)
        work = [*self._search(), *(f"{count} networks x {steps} steps" for steps, count in lengths.items())]
        left = f", {self.steps} steps left" if self.jobs else ""
        return f"to train: {', then '.join(work)} x {settings.batch_size} samples on {self.device}{left}{time_left}"

    def plan(self) -> list[str]:
        """The whole forecast, line by line."""
        settings, cost = self.settings, self.cost
        sizes = ", ".join(f"{name} {count:,}" for name, count in cost.parameters.items())
        parts = f", in {settings.accumulate} parts each" if settings.accumulate > 1 else ""
        lines = [
            f"networks: {self.spec.name} {self.spec.options or ''} x{self.spec.scale}; stage {settings.stage}; {sizes}",
            f"begin from: {settings.init or f'random weights of seed {settings.seed}'}",
            f"policy {settings.policy}; precision {settings.precision}",
            f"{settings.optimizer}, rate {settings.lr:g}, {settings.schedule.name}",
            f"batch: {self.num_ranks} processes x {settings.batch_size // self.num_ranks} samples{parts}",
            *(f"groups: {search}" for search in self._search()),
            *(line for job in self.jobs for line in self._job(job)),
            self._time(),
        ]
        if cost.memory_bytes:
            lines.append(f"memory: {quantity(cost.memory_bytes, BYTE_UNITS)} of {self.device} at its peak")
        return lines

    def _search(self) -> list[str]:
        """The search for groups in words, if there is one."""
        grouping = self.settings.grouping
        words = f"{grouping.plans} frozen plans tried in {grouping.total_steps} steps"
        return [] if self.search_samples is None else [words]

    def _job(self, job: RunSpec) -> list[str]:
        settings, n = job.settings, len(job.tasks)
        samples = settings.iterations * settings.batch_size / n
        done = f", {job.steps_done} of them done" if job.steps_done else ""
        shares = " at equal shares" if n > 1 else ""
        intervals = settings.iterations // settings.interval_steps
        return [
            f"{job.title}: {settings.iterations} steps{done}, {intervals} intervals, in {job.folder}",
            *(f"  {task.name}: {samples:.0f} samples{shares}, {_epochs(task, samples)}" for task in job.tasks),
        ]

    def _time(self) -> str:
        cost, seconds = self.cost, self.seconds
        if cost.step_seconds is None or seconds is None:
            return (
                f"time: unknown; {cost.samples} samples at once did not fit into the memory of {self.device}: "
                "take them in more parts (--accumulate), or a smaller --batch-size"
            )
        others = "".join(
            f", one of stage {stage} {quantity(other.step_seconds, TIME_UNITS)}"
            for stage, other in self.costs.items()
            if stage != self.settings.stage and other.step_seconds is not None
        )
        return (
            f"time: about {quantity(seconds, TIME_UNITS)}; a step takes {quantity(cost.step_seconds, TIME_UNITS)} "
            f"(measured on {cost.samples} samples at once){others}, a validation image "
            f"{quantity(cost.image_seconds, TIME_UNITS)}; loading is not in it"
        )


def _epochs(task: Task, samples: float) -> str:
    rows = task.num_rows
    return f"{samples / rows:.3g} epochs of its {rows} rows" if rows else "all made on the fly"
