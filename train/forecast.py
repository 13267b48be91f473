"""What a command is about to train and what that costs, said before it begins; all that --dry-run does.

Times are those of a step and of a validation picture that are really made, on the device, from black pictures.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from shared.errors import RunError
from shared.mixing.tasks import Task
from shared.text import BYTE_UNITS, TIME_UNITS, quantity
from train.networks import GENERATOR
from train.networks.build import num_parameters
from train.networks.weights import NetworkSpec, Weights
from train.optimisation.learner import Learner
from train.optimisation.objective import TrainingImages
from train.optimisation.step import NotFiniteError, backward
from train.record.state import latest_checkpoint, load_state
from train.settings import GroupingSettings, TrainSettings

WHOLE_STEP_SECONDS = 10.0
"""Where a step of the whole batch would take longer, one sample must tell."""
MOST_REPEATS, REPEAT_SECONDS = 6, 0.5
"""What is measured is repeated up to so often, within about so long."""
FLOATS = 6
"""Numbers that a checkpoint holds for each parameter: weights and their average in two files each, two of Adam's."""
FLOATS_BESIDE = 4
"""The same for a network that is trained beside the generator: weights in two files, two of Adam's."""


@dataclass(frozen=True)
class Job:
    """One network that is to be trained, for so many steps of a stage.

    make: gives what the training loop needs, once the jobs before are done. others: tasks that the network is
    evaluated on beside its own.
    """

    title: str
    folder: Path
    tasks: Sequence[Task]
    make: Callable[[], Any]
    iterations: int
    others: Sequence[Task] = ()
    stage: str = "psnr"

    @property
    def steps_done(self) -> int:
        """Optimiser steps of its last checkpoint."""
        checkpoint = latest_checkpoint(self.folder)
        return load_state(checkpoint).step if checkpoint else 0

    @property
    def steps_left(self) -> int:
        """Optimiser steps to its end."""
        return max(0, self.iterations - self.steps_done)


@dataclass(frozen=True)
class Cost:
    """What was measured. step_seconds: for the batch of one process, None where it did not fit into the memory.

    samples: how many were trained on at once. picture_seconds: of one validation picture. memory_bytes: of the
    accelerator at its peak, 0 without one. parameters: of each network.
    """

    step_seconds: float | None
    samples: int
    picture_seconds: float
    memory_bytes: int
    parameters: dict[str, int]

    @property
    def checkpoint_bytes(self) -> int:
        """Of one checkpoint."""
        return sum(
            4 * count * (FLOATS if name == GENERATOR else FLOATS_BESIDE) for name, count in self.parameters.items()
        )


@dataclass(frozen=True)
class Search:
    """Groups of frozen plans that must be found first, by one process. samples: what that costs, in samples trained."""

    settings: GroupingSettings
    samples: float

    def __str__(self) -> str:
        return f"{self.settings.plans} frozen plans tried in {self.settings.total_steps} steps"


class _Alone:
    """What a step needs of a launcher, on one process of perhaps many, which does not wait for the others."""

    def __init__(self, autocast: Callable[[], Any]) -> None:
        self.autocast = autocast

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        return tensor

    def no_sync(self, model: torch.nn.Module) -> Any:
        return nullcontext()

    def unscale_gradients(self) -> None:
        pass


def measure(
    spec: NetworkSpec,
    initial: Weights,
    settings: TrainSettings,
    task: Task,
    num_ranks: int,
    device: torch.device,
    autocast: Callable[[], Any],
) -> Cost:
    """Train steps and upscale a validation picture a few times, with weights that are then thrown away.

    Raises `RunError` when the initial weights give no finite loss.
    """
    gentle = replace(settings, accumulate=1, lr=1e-9, init_discriminator=None)  # such a rate harms no weight
    learner, launcher = Learner(spec, gentle, initial, None, device), _Alone(autocast)
    parameters = {name: num_parameters(network) for name, network in learner.plain.items()}
    part = settings.batch_size // num_ranks // settings.accumulate
    side = task.val_manifest.recipe["patch"] // spec.scale

    def upscale() -> None:
        with torch.no_grad():
            learner.ema(torch.zeros(1, 3, side, side, device=device))

    def step(samples: int) -> None:
        lr = torch.zeros(samples, 3, task.patch // spec.scale, task.patch // spec.scale, device=device)
        hr = torch.zeros(samples, 3, task.patch, task.patch, device=device)
        keys, tasks = [(0, i) for i in range(samples)], torch.zeros(samples, dtype=torch.int64, device=device)
        backward(
            learner, launcher, TrainingImages(lr, hr, hr), tasks, keys, lambda losses, tasks: torch.ones_like(losses)
        )
        learner.step(0)

    picture_seconds = _fastest(upscale, device)
    try:
        samples, seconds = 1, _fastest(lambda: step(1), device)
        if part * seconds < WHOLE_STEP_SECONDS:
            samples, seconds = part, _fastest(lambda: step(part), device)
        step_seconds = seconds * part / samples * settings.accumulate
    except NotFiniteError as error:
        raise RunError(f"{error} with the initial weights: take another --init") from error
    except torch.OutOfMemoryError:
        samples, step_seconds = part, None
    memory_bytes = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return Cost(step_seconds, samples, picture_seconds, memory_bytes, parameters)


def _fastest(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of the fastest of a few times, because others may use the machine too; the first one warms up."""
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

    num_ranks: processes that share a batch.
    """

    settings: TrainSettings
    spec: NetworkSpec
    jobs: Sequence[Job]
    costs: Mapping[str, Cost]
    num_ranks: int
    device: torch.device
    search: Search | None = None

    @property
    def steps(self) -> int:
        """Optimiser steps of all networks that are still to do."""
        return sum(job.steps_left for job in self.jobs)

    @property
    def seconds(self) -> float | None:
        """Of all steps and boundaries still to do; None without a measured step. Loading is not in it."""
        step_seconds = {stage: cost.step_seconds for stage, cost in self.costs.items() if cost.step_seconds is not None}
        if len(step_seconds) < len(self.costs):
            return None
        boundaries = sum(self._evaluations(job, [*job.tasks, *job.others]) for job in self.jobs)
        per_sample = step_seconds[self.settings.stage] * self.num_ranks / self.settings.batch_size
        first = self.search.samples * per_sample if self.search else 0.0
        steps = sum(job.steps_left * step_seconds[job.stage] for job in self.jobs)
        return first + steps + boundaries * self.cost.picture_seconds / self.num_ranks

    @property
    def cost(self) -> Cost:
        """What a step of the settings' own stage costs."""
        return self.costs[self.settings.stage]

    def _evaluations(self, job: Job, tasks: Sequence[Task]) -> float:
        """Validation pictures that a network is still evaluated on, of these tasks."""
        return (job.steps_left / self.settings.interval_steps + 1) * sum(task.val_manifest.rows for task in tasks)

    @property
    def others_seconds(self) -> float:
        """Seconds of `seconds` in which references are evaluated on the tasks of the others."""
        pictures = sum(self._evaluations(job, job.others) for job in self.jobs)
        return pictures * self.cost.picture_seconds / self.num_ranks

    @property
    def checkpoint_bytes(self) -> int:
        """Of all checkpoints that will be kept, and the one that is being written."""
        kept = min(self.settings.keep, self.settings.iterations // self.settings.interval_steps + 1)
        return sum(self.costs[job.stage].checkpoint_bytes * kept for job in self.jobs) + self.cost.checkpoint_bytes

    def summary(self) -> str:
        """What is to be trained, in a line."""
        settings, seconds = self.settings, self.seconds
        time_left = "" if seconds is None else f", about {quantity(seconds, TIME_UNITS)} with what is measured now"
        if seconds and self.others_seconds:
            share = f"{self.others_seconds / seconds:.0%}"
            time_left += f", of which {share} evaluate each reference on the tasks of the others"
        work, lengths = [str(self.search)] if self.search else [], Counter(job.iterations for job in self.jobs)
        if self.jobs:
            work += [f"{count} networks x {steps} steps" for steps, count in lengths.items()]
        left = f", {self.steps} steps left" if self.jobs else ""
        return f"to train: {', then '.join(work)} x {settings.batch_size} samples on {self.device}{left}{time_left}"

    def plan(self) -> list[str]:
        """Everything, line by line."""
        settings, cost = self.settings, self.cost
        sizes = ", ".join(f"{name} {count:,}" for name, count in cost.parameters.items())
        parts = f", in {settings.accumulate} parts each" if settings.accumulate > 1 else ""
        lines = [
            f"networks: {self.spec.name} {self.spec.options or ''} x{self.spec.scale}; stage {settings.stage}; {sizes}",
            f"begin from: {settings.init or f'random weights of seed {settings.seed}'}",
            f"policy {settings.policy}; precision {settings.precision}",
            f"{settings.optimizer}, rate {settings.lr:g}, {settings.schedule.name}",
            f"batch: {self.num_ranks} processes x {settings.batch_size // self.num_ranks} samples{parts}",
            *([f"groups: {self.search}"] if self.search else ()),
            *(line for job in self.jobs for line in self._job(job)),
            self._disk(),
            self._time(),
        ]
        if cost.memory_bytes:
            lines.append(f"memory: {quantity(cost.memory_bytes, BYTE_UNITS)} of {self.device} at its peak")
        return lines

    def _job(self, job: Job) -> list[str]:
        settings, n = self.settings, len(job.tasks)
        samples = job.iterations * settings.batch_size / n
        done = f", {job.steps_done} of them done" if job.steps_done else ""
        shares = " at equal shares" if n > 1 else ""
        intervals = job.iterations // settings.interval_steps
        return [
            f"{job.title}: {job.iterations} steps{done}, {intervals} intervals, in {job.folder}",
            *(f"  {task.name}: {samples:.0f} samples{shares}, {_epochs(task, samples)}" for task in job.tasks),
        ]

    def _disk(self) -> str:
        sizes = (self.checkpoint_bytes, self.cost.checkpoint_bytes, _free_bytes(Path(self.settings.run)))
        all_of_them, each, free = (quantity(size, BYTE_UNITS) for size in sizes)
        return f"disk: {all_of_them} for checkpoints of {each}; {free} are free"

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
            f"(measured on {cost.samples} samples at once){others}, a validation picture "
            f"{quantity(cost.picture_seconds, TIME_UNITS)}; loading is not in it"
        )


def _epochs(task: Task, samples: float) -> str:
    return (
        f"{samples / task.num_rows:.3g} epochs of its {task.num_rows} rows" if task.num_rows else "all made on the fly"
    )


def _free_bytes(folder: Path) -> int:
    """On the disk that holds the folder, or will."""
    return shutil.disk_usage(next(place for place in (folder, *folder.absolute().parents) if place.exists())).free
