"""The training loop (paper Fig. 2): evaluate -> estimate -> apportion -> train the interval -> save.

The one file that trains through Accelerate. To resume a run, start the same run again: it takes the same samples and
gets the same losses as if it had never stopped.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from shared.degradation.gpu_canvas import to_device
from shared.errors import RunError, StoppedError
from shared.mixing.loader import Batch, MixingLoader
from shared.mixing.pool import HRPool
from shared.mixing.tasks import Task
from shared.rebalance.estimator import Memory, estimate
from shared.rebalance.measurements import Measurements, describe
from shared.rebalance.moments import Moments, describe_moments, gradient_moments
from shared.rebalance.policies import Policy
from shared.rebalance.references import References, Trace
from shared.shards.reader import Dataset
from shared.storage.atomic import locked
from train.evaluation.measure import measure, one_thread, photographs_of, sample_image
from train.grouping.groups import WHOLE_SPACE, Grouping
from train.networks import GENERATOR
from train.networks.depth import for_gradients
from train.networks.weights import NetworkSpec, Weights
from train.optimisation.learner import Learner
from train.optimisation.objective import TrainingImages
from train.optimisation.step import NotFiniteError, Readback, backward
from train.processes import Interrupt, let_stop_requests_pass, shortages_named
from train.record.checkpoint import keep_best, load_optimizers
from train.record.interval_log import IntervalLog, made_on_the_fly
from train.record.loading import begun_datasets, keep_loader_state, loader_options, loader_state
from train.record.references import save_trace
from train.record.resume import require_resumable, require_same_contents
from train.record.run_log import RunLog, is_finished
from train.record.state import State, latest_checkpoint, load_state
from train.settings import TrainSettings

MAX_SAMPLE_IMAGES = 16
"""Tasks that sample images are logged of."""


@dataclass(frozen=True)
class RunSpec:
    """One network to train: where, on which tasks, from which weights, under which policy.

    references: traces to estimate gaps against, if the policy wants them. trace: where this network's own PSNR is
    recorded, if it is a reference itself. others: tasks that a reference is evaluated on beside its own. pool: HR
    images for samples on the fly, if not those of the shards. contents: digests of the files that it begins from
    (`train/record/resume.py`). grouping: frozen plans to train on beside the tasks, if the policy wants them.
    """

    folder: Path
    title: str
    settings: TrainSettings
    tasks: Sequence[Task]
    network: NetworkSpec
    initial: Weights
    policy: Policy
    references: References | None = None
    trace: Trace | None = None
    others: Sequence[Task] = ()
    pool: HRPool | None = None
    contents: Mapping[str, str] = field(default_factory=dict)
    grouping: Grouping | None = None

    @property
    def steps_done(self) -> int:
        """Optimiser steps of its last checkpoint."""
        checkpoint = latest_checkpoint(self.folder)
        return load_state(checkpoint).step if checkpoint else 0

    @property
    def steps_left(self) -> int:
        """Optimiser steps to its end."""
        return max(0, self.settings.iterations - self.steps_done)


class Run:
    """A network in training, with everything that changes while it trains."""

    def __init__(self, spec: RunSpec, accelerator: Accelerator) -> None:
        """Begin or resume. Raises `UsageError` when what is in the folder was begun with other settings."""
        self.spec, self.settings, self.accelerator = spec, spec.settings, accelerator
        frozen = spec.grouping.tasks(spec.tasks) if spec.grouping else []
        self.tasks = [*spec.tasks, *frozen]  # what is trained on; evaluated are the spec's alone
        self.groups = [WHOLE_SPACE] * len(spec.tasks) + spec.grouping.numbers() if spec.grouping else []
        self.checkpoint = latest_checkpoint(spec.folder)
        self.state = load_state(self.checkpoint) if self.checkpoint else State(0, [0] * len(self.tasks))
        spec.policy.memory = self.state.memory.setdefault("policy", {})
        begun = begun_datasets(self.state, spec.tasks, frozen, spec.folder)
        self.state.datasets = {**spec.contents, **begun}

        self.learner = Learner(spec.network, self.settings, spec.initial, self.checkpoint, accelerator.device)
        self.learner.prepare(accelerator.prepare, accelerator.scaler)
        if self.checkpoint and accelerator.scaler:
            accelerator.scaler.load_state_dict(load_optimizers(self.checkpoint)["scaler"])

        self.loader = MixingLoader(
            self.settings.shards,
            tasks=self.tasks,
            hr=spec.pool,
            rank=accelerator.process_index,
            num_ranks=accelerator.num_processes,
            gather=lambda value: gather_object([value]),
            worker_init=let_stop_requests_pass,
            **loader_options(self.settings, accelerator.device),
        )
        self.log = self._open_log()
        if self.checkpoint:
            self.loader.load_state_dict(loader_state(self.state, self.log, self.settings, self.loader.tasks))
        self.val = [task.val_rows() for task in spec.tasks]
        self.photographs = [photographs_of(rows) for rows in self.val]
        self.others = [(task, task.val_rows()) for task in spec.others]
        writes = accelerator.is_main_process
        self.run_log = RunLog(spec.folder, spec.title, self.settings, self.step, writes=writes)

    def _open_log(self) -> IntervalLog | None:
        """The log of the interval that the state is in. Raises `RunError` when it is damaged."""
        state = self.state
        try:
            if len(state.consumed) != len(self.tasks):
                raise ValueError(f"it counts the samples of {len(state.consumed)} tasks, there are {len(self.tasks)}")
            return IntervalLog.from_json(state.record, self.settings.batch_size) if state.record else None
        except ValueError as error:
            raise RunError(f"{self.checkpoint}/state.json holds no state of this run: {error}") from error

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self.state.step

    # ---- evaluate and estimate

    def evaluate(self, val: Sequence[Dataset]) -> list[np.ndarray]:
        """PSNR of the averaged network on n validation sets, dB, n rows of float64 [m_i]; ranks share the images."""
        table = [np.empty(len(rows)) for rows in val]
        rank, num_ranks = self.accelerator.process_index, self.accelerator.num_processes
        network = self.learner.ema.eval()
        for found, rows in zip(table, val, strict=True):
            mine = list(range(rank, len(rows), num_ranks))
            values = list(zip(mine, measure(network, rows, mine, self.accelerator.device), strict=True))
            for number, psnr_db in gather_object(values):
                found[number] = psnr_db
        return table

    def take_measurements(self) -> Measurements:
        """What is known at this boundary."""
        names, losses = [task.name for task in self.spec.tasks], self.state.memory.get("losses", [])
        interval = self.step // self.settings.interval_steps
        measurements = Measurements(
            interval, names, self.evaluate(self.val), self.photographs, losses=losses, groups=self.groups
        )
        if self.spec.references is None:
            return measurements
        options, memory = self.settings.estimator, Memory(**self.state.memory.get("estimator", {}))
        final_db = self.spec.references.at(self.settings.iterations)
        reference_db = self.spec.references.at(self.step) if options.reference == "same_iteration" else final_db
        key = (self.settings.seed, interval)
        found = estimate(reference_db, measurements.shared_db, self.photographs, key, options, memory)
        return replace(measurements, reference_db=reference_db, final_db=final_db, estimate=found)

    # ---- apportion

    def decide(self, measurements: Measurements) -> IntervalLog:
        """Volumes and coefficients of the interval that begins. Rank 0 decides for all."""
        if measurements.estimate:
            self.state.memory["estimator"] = asdict(measurements.estimate.memory)
        self.loader.refresh()
        decision: dict[str, Any] = {}
        if self.accelerator.is_main_process:
            moments = self.measure_moments()
            p, c = self.spec.policy.interval(replace(measurements, moments=moments))
            decision = {"p": p, "c": c}
            if moments:
                weights = [share * coefficient for share, coefficient in zip(p, c, strict=True)]
                decision["moments"] = describe_moments(moments, weights)
        (decision,) = broadcast_object_list([decision])
        return IntervalLog(**describe(measurements, self.step), **decision)

    def measure_moments(self) -> Moments | None:
        """Of the gradients on the samples that each task trains next, one by one; None when they are not asked for."""
        count, unwrap = self.settings.moments, self.accelerator.unwrap_model
        if not count:
            return None
        networks = {name: for_gradients(unwrap(network)) for name, network in self.learner.networks.items()}
        parameters, found = [each for each in networks[GENERATOR].parameters() if each.requires_grad], []
        for task in self.loader.tasks:
            images = self._images(self.loader.peek(task, count))
            samples = map(TrainingImages, *(each.split(1) for each in images))
            losses = (next(self.learner.stage.objectives(networks, sample)).losses[0] for sample in samples)
            with one_thread():  # what decides must not depend on the number of threads
                found.append(gradient_moments(losses, parameters))
        for network in networks.values():
            network.train()
        return Moments(count, *map(list, zip(*found, strict=True)))

    def open_interval(self) -> Iterator[Batch]:
        """Evaluate, estimate, apportion; keep and log what was found and decided. Returns the interval's batches."""
        measurements = self.take_measurements()
        self.record_psnr(measurements.shared_db)
        log = self.decide(measurements)
        batches = self.loader.interval(log.p, self.settings.interval_steps)
        self.log = replace(log, record=self.loader.record, totals=[[0.0] * len(self.tasks)] * 2)
        self.run_log.boundary(self.log.to_json(), self._sample_images)
        return batches

    # ---- train the interval

    def train_interval(self, interrupt: Interrupt) -> bool:
        """Train to the next boundary, or to an interruption, saving on the way. Returns whether it was interrupted."""
        batches = self.loader.interval() if self.log else self.open_interval()
        log, settings = self.log, self.settings
        assert log is not None
        assert log.record is not None
        first = self.loader.step
        delivered, totals = np.array(log.record.delivered), np.array(log.totals)
        with self.run_log.interval(log.to_json(), first) as progress:
            for _ in range(settings.interval_steps - first):
                start = time.perf_counter()
                batch = next(batches)
                waited = time.perf_counter() - start
                losses, counts, sums, interrupted = self.training_step(batch, log, interrupt)
                delivered += counts
                totals += sums
                self.state.step += 1
                progress.step(losses, counts, waited, time.perf_counter() - start)
                at_boundary = self.step % settings.interval_steps == 0
                saves = at_boundary or interrupted or self.step % settings.save_steps == 0
                if saves or self.step % settings.log_steps == 0:
                    line = progress.line()
                    self.run_log.steps(line | made_on_the_fly(log.record, line["counts"]))
                if saves and not at_boundary:
                    self.log = replace(log, totals=totals.tolist())
                    self.save()
                if interrupted:
                    break
        if at_boundary:
            assert next(batches, None) is None, "the loader has batches beyond the interval"
            self.close_interval(delivered.tolist(), totals.tolist())
        return interrupted

    def training_step(
        self, batch: Batch, log: IntervalLog, interrupt: Interrupt
    ) -> tuple[dict[str, float], np.ndarray, np.ndarray, bool]:
        """One optimiser step of every network on sum_i c_i l_i / B.

        Returns, of the global batch: each network's loss; the samples of each task, int64 [n]; sums of the generator's
        losses and of the coefficients of each task, float64 [2, n]; whether any rank was asked to stop: all stop then.
        Raises `RunError`, before the step, when a loss is not finite.
        """
        names, notes, n = [task.name for task in self.tasks], [], len(self.tasks)
        tickets = list(zip(batch.task.tolist(), batch.ordinal.tolist(), strict=True))
        keys = [(self.settings.seed, names[task], ordinal) for task, ordinal in tickets]
        asked = [float(interrupt.requested)]

        def weigh(losses: torch.Tensor, tasks: torch.Tensor) -> torch.Tensor:
            c = self._coefficients(losses, tasks, log.c or [])[tasks]
            values = torch.stack([torch.ones_like(c), losses, c]).double()
            sums = torch.zeros(3, n, dtype=torch.float64, device=c.device).index_add_(1, tasks, values)
            numbers = torch.cat([sums.flatten(), to_device(np.array(asked), c.device)])
            notes.append(Readback(self.accelerator.reduce(numbers, "sum")))
            return c

        try:
            images, tasks = self._images(batch), batch.task.to(self.accelerator.device, non_blocking=True)
            losses = backward(self.learner, self.accelerator, images, tasks, keys, weigh)
        except NotFiniteError as error:
            bad = ", ".join(f"{names[tickets[i][0]]}:{tickets[i][1]}" for i in error.samples) or "of another process"
            raise RunError(
                f"{error} at step {self.step + 1}, samples {bad}: check them, or take a lower --lr in another --run"
            ) from error
        *sums, interrupted = torch.stack([note.read() for note in notes]).sum(dim=0).tolist()
        self.learner.step(self.step)
        counts, of_losses, of_coefficients = np.array(sums).reshape(3, n)
        return losses, counts.astype(np.int64), np.stack([of_losses, of_coefficients]), interrupted > 0

    def _images(self, batch: Batch) -> TrainingImages:
        """What the networks see. Where LR was made from the sharpened HR, the output shall look like that."""
        return TrainingImages.of(batch.lr, batch.hr, usm=self.tasks[0].usm)

    def _coefficients(self, losses: torch.Tensor, tasks: torch.Tensor, constant: Sequence[float]) -> torch.Tensor:
        """c [n]: the interval's constants, or what the policy makes of the global batch at this step."""
        if not self.spec.policy.every_step:
            return to_device(np.array(constant, np.float32), losses.device)
        sums = torch.zeros(2, len(self.tasks), device=losses.device)
        sums.index_add_(1, tasks, torch.stack([losses.float(), torch.ones_like(losses, dtype=torch.float32)]))
        totals, counts = self.accelerator.reduce(sums, "sum").tolist()
        means = [total / count if count else math.nan for total, count in zip(totals, counts, strict=True)]
        return torch.tensor(self.spec.policy.step(self.step, means, list(map(int, counts))), device=losses.device)

    # ---- log and save

    def _sample_images(self) -> dict[str, np.ndarray]:
        """LR, output and HR of the same validation row at every boundary, by task."""
        tasks = zip(self.spec.tasks[:MAX_SAMPLE_IMAGES], self.val, strict=False)
        network, device = self.learner.ema.eval(), self.accelerator.device
        return {task.name: sample_image(network, rows, 0, device) for task, rows in tasks}

    def close_interval(self, delivered: list[int], totals: list[list[float]]) -> None:
        """Log the finished interval and save. Raises `RunError` unless the counted samples are the quotas."""
        record, log = self.loader.record, self.log
        assert record is not None
        assert log is not None
        if delivered != record.quotas:
            raise RunError(f"delivered {delivered} samples instead of the quotas {record.quotas}: report this")
        losses, coefficients = totals
        pairs = zip(losses, delivered, strict=True)
        log = replace(
            log,
            record=record,
            totals=None,
            losses=[total / count if count else None for total, count in pairs],
            delivered_weights=[total / sum(record.quotas) for total in coefficients],
        )
        self.state.memory["losses"] = [*self.state.memory.get("losses", []), log.losses][-2:]
        self.log = None
        self.run_log.close_interval(log.to_json() | made_on_the_fly(record, record.quotas))
        self.save()

    def save(self) -> None:
        """Write a checkpoint."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            keep_loader_state(self.state, self.loader.state_dict())
            self.state.record = replace(self.log, record=self.loader.record).to_json() if self.log else None
            scaler = self.accelerator.scaler
            self.learner.save(self.spec.folder, self.state, scaler.state_dict() if scaler else None)

    def close(self) -> None:
        """Evaluate and estimate a last time, and log it."""
        measurements = self.take_measurements()
        self.record_psnr(measurements.shared_db)
        log = IntervalLog(**describe(measurements, self.step)).to_json()
        self.run_log.boundary(log, self._sample_images)
        self.run_log.close_interval(log)

    def record_psnr(self, psnr_db: Sequence[np.ndarray]) -> None:
        """Record a boundary: in the trace of a reference, with other tasks' PSNR, and as the best checkpoint so far."""
        trace = self.spec.trace
        others_db = self.evaluate([rows for _, rows in self.others]) if trace else []
        if not self.accelerator.is_main_process:
            return
        if trace:
            trace.photographs = self.photographs[0]
            trace.add(self.step, psnr_db[0].tolist())
            for (task, _), row in zip(self.others, others_db, strict=True):
                trace.add_other(task.name, task.val_manifest.identity(), self.step, row.tolist())
            save_trace(trace, self.spec.folder)
        if self.settings.keep_best != "none":
            tasks_db = [row.mean() for row in psnr_db]
            score = min(tasks_db) if self.settings.keep_best == "worst" else np.mean(tasks_db)
            keep_best(self.spec.folder, self.step, float(score))


def train(spec: RunSpec, accelerator: Accelerator) -> None:
    """Train one network to the end, from wherever its folder says it is. Raises `StoppedError` when asked to stop."""
    require_resumable(spec.folder, spec.settings)
    require_same_contents(spec.folder, spec.contents)
    if is_finished(spec.folder, spec.settings.iterations):
        accelerator.print(f"{spec.folder} is finished: {spec.settings.iterations} steps")
        return
    writes = accelerator.is_main_process  # the other ranks write nothing
    sole_writer = locked(spec.folder, "train/run.py") if writes else nullcontext()
    with sole_writer, Interrupt() as interrupt, shortages_named():
        if writes:
            spec.settings.save(spec.folder)
        run = Run(spec, accelerator)
        with run.run_log, run.loader:
            while run.step < spec.settings.iterations:
                if run.train_interval(interrupt):
                    raise StoppedError(
                        f"stopped at step {run.step}, saved; run the same command again to go on", interrupt.signal
                    )
            run.close()
        accelerator.wait_for_everyone()
    accelerator.free_memory()
