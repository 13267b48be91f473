"""The training loop (paper Fig. 2): evaluate -> estimate -> apportion -> train the interval -> save.

The one file that trains through Accelerate. To resume a run, start the same run again: it takes the same samples and
gets the same losses as if it had never stopped.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from shared.degradation.gpu_canvas import to_device
from shared.errors import RunError
from shared.mixing.generations import identity_of, is_continued
from shared.mixing.pool import Pool
from shared.mixing.quotas import apportion
from shared.mixing.sources import Batch
from shared.mixing.tasks import Task
from shared.rebalance.estimator import Memory, estimate
from shared.rebalance.measurements import Measurements, describe
from shared.rebalance.moments import Moments, describe_moments, gradient_moments
from shared.rebalance.policies import Policy
from shared.shards.manifest import Manifest
from shared.storage.atomic import locked
from train.evaluation.measure import measure, photographs_of, picture
from train.feed import Feed
from train.grouping.groups import WHOLE_SPACE, Grouping
from train.networks import GENERATOR
from train.networks.weights import NetworkSpec, Weights
from train.optimisation.learner import Learner
from train.optimisation.objective import TrainingImages
from train.optimisation.step import NotFiniteError, Readback, backward
from train.processes import Interrupt, shortages_named
from train.record.checkpoint import State, latest_checkpoint, load_optimizers, load_state
from train.record.references import References, Trace
from train.record.resume import FILE, require_resumable, require_same_contents
from train.record.run_log import RunLog, is_finished
from train.settings import TrainSettings

MAX_PICTURES = 16
"""Tasks that sample pictures are logged of."""


@dataclass(frozen=True)
class RunSpec:
    """One network to train: where, on which tasks, from which weights, under which policy.

    references: traces to estimate gaps against, if the policy wants them. trace: where this network's own PSNR is
    recorded, if it is a reference itself. pool: HR pictures for samples on the fly, if not those of
    the shards. contents: digests of the files that it begins from (`train/record/resume.py`). grouping: frozen plans to
    train on beside the tasks, if the policy wants them. later_steps: of the
    networks that the command trains after this one.
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
    pool: Pool | None = None
    contents: Mapping[str, str] = field(default_factory=dict)
    later_steps: int = 0
    grouping: Grouping | None = None


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
        self._adopt_datasets()

        self.learner = Learner(spec.network, self.settings, spec.initial, self.checkpoint, accelerator.device)
        self.learner.prepare(accelerator.prepare, accelerator.scaler)
        if self.checkpoint and accelerator.scaler:
            accelerator.scaler.load_state_dict(load_optimizers(self.checkpoint)["scaler"])

        ranks = accelerator.process_index, accelerator.num_processes
        self.feed = Feed(self.tasks, self.settings, accelerator.device, *ranks, spec.pool, self.state.feed)
        self.val = [task.val_rows() for task in spec.tasks]
        self.photographs = photographs_of(self.val[0])
        writes = accelerator.is_main_process
        self.run_log = RunLog(
            spec.folder, spec.title, self.settings, self.step, writes=writes, later_steps=spec.later_steps
        )

    def _adopt_datasets(self) -> None:
        """Rows must not change under a run: ordinals would mean other samples. Shards alone may grow."""
        now: dict[str, Manifest | str] = {f"{t.name}/{m.split}": m for t in self.spec.tasks for m in _manifests(t)}
        now |= {f"{task.name}/plan": task.identity() for task in self.tasks[len(self.spec.tasks) :]}
        begun = self.state.datasets or {name: identity_of(found) for name, found in now.items()}
        for name in sorted(name for name in begun.keys() | now.keys() if not name.startswith(FILE)):
            if name not in now or name not in begun or not is_continued(name, begun[name], now[name], self.state.feed):
                change = "has changed" if name in begun else "was added"
                raise RunError(f"dataset {name} {change} since {self.spec.folder} was begun: use another --run")
        self.state.datasets = {**self.spec.contents, **begun}

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self.state.step

    @property
    def interval(self) -> int:
        """Number of the current interval, from 0."""
        return self.step // self.settings.interval_steps

    # ---- evaluate and estimate

    def evaluate(self) -> np.ndarray:
        """PSNR of the averaged network on every validation image, dB, float64 [n, m]; the ranks share the images."""
        table = np.empty((len(self.val), len(self.photographs)))
        rank, num_ranks = self.accelerator.process_index, self.accelerator.num_processes
        network = self.learner.ema.eval()
        for task, rows in enumerate(self.val):
            mine = list(range(rank, len(rows), num_ranks))
            values = list(zip(mine, measure(network, rows, mine, self.accelerator.device), strict=True))
            for number, psnr_db in gather_object(values):
                table[task, number] = psnr_db
        return table

    def take_measurements(self) -> Measurements:
        """What is known at this boundary."""
        names, losses = [task.name for task in self.spec.tasks], self.state.memory.get("losses", [])
        measurements = Measurements(
            self.interval, names, self.evaluate(), self.photographs, losses=losses, groups=self.groups
        )
        if self.spec.references is None:
            return measurements
        options, memory = self.settings.estimator, Memory(**self.state.memory.get("estimator", {}))
        final_db = self.spec.references.at(self.settings.iterations)
        reference_db = self.spec.references.at(self.step) if options.reference == "same_iteration" else final_db
        key = (self.settings.seed, self.interval)
        found = estimate(reference_db, measurements.shared_db, self.photographs, key, options, memory)
        return replace(measurements, reference_db=reference_db, final_db=final_db, estimate=found)

    # ---- apportion

    def decide(self, measurements: Measurements) -> dict[str, Any]:
        """The interval's record: measurements, shares, coefficients, quotas and sources. Rank 0 decides for all."""
        if measurements.estimate:
            self.state.memory["estimator"] = asdict(measurements.estimate.memory)
        decision: dict[str, Any] = {}
        (grown,) = broadcast_object_list([self.feed.look() if self.accelerator.is_main_process else None])
        self.feed.adopt(grown)
        if self.accelerator.is_main_process:
            moments = self.measure_moments()
            p, c = self.spec.policy.interval(replace(measurements, moments=moments))
            quotas = apportion(p, self.settings.interval_steps * self.settings.batch_size)
            decision = {"p": p, "c": c, "quotas": quotas, **self.feed.decide(quotas)}
            if self.groups:
                decision["trained"] = [task.name for task in self.tasks]
            if moments:
                weights = [share * coefficient for share, coefficient in zip(p, c, strict=True)]
                decision["moments"] = describe_moments(moments, weights)
        (decision,) = broadcast_object_list([decision])
        return {**describe(measurements, self.step), **decision}

    def measure_moments(self) -> Moments | None:
        """Of the gradients on the samples that each task trains next, one by one; None when they are not asked for."""
        count, unwrap = self.settings.moments, self.accelerator.unwrap_model
        if not count:
            return None
        networks = {name: unwrap(network).eval() for name, network in self.learner.networks.items()}
        parameters, found = list(networks[GENERATOR].parameters()), []
        for task, consumed in enumerate(self.state.consumed):
            pictures = self._pictures(self.feed.upcoming(task, consumed, count))
            samples = map(TrainingImages, *(images.split(1) for images in pictures))
            losses = (next(self.learner.stage.objectives(networks, sample)).losses[0] for sample in samples)
            found.append(gradient_moments(losses, parameters))
        for network in networks.values():
            network.train()
        return Moments(count, *map(list, zip(*found, strict=True)))

    def open_interval(self) -> None:
        """Evaluate, estimate, apportion; keep and log what was found and decided."""
        start = time.perf_counter()
        measurements = self.take_measurements()
        self.record_trace(measurements.shared_db)
        self.state.record = self.decide(measurements)
        self.run_log.boundary(self.state.record, self._sample_pictures(), time.perf_counter() - start)

    # ---- train the interval

    def train_interval(self, interrupt: Interrupt) -> bool:
        """Train to the next boundary, or to an interruption, saving on the way. Returns whether it was interrupted."""
        record, settings = self.state.record, self.settings
        assert record is not None
        first = self.step - self.interval * settings.interval_steps
        n = len(self.tasks)
        delivered = np.array(record.setdefault("delivered", [0] * n))
        totals = np.array(record.setdefault("totals", [[0.0] * n] * 2))
        stream = self.feed.interval(record, self.state.consumed, self.interval, first)
        with self.run_log.interval(record, first) as progress:
            for _ in range(settings.interval_steps - first):
                start = time.perf_counter()
                batch = next(stream)
                self.feed.replace_lost(batch, record)
                waited = time.perf_counter() - start
                losses, counts, sums, interrupted = self.training_step(batch, record, interrupt)
                delivered += counts
                totals += sums
                record["delivered"], record["totals"] = delivered.tolist(), totals.tolist()
                self.state.step += 1
                progress.step(losses, counts, waited, time.perf_counter() - start)
                at_boundary = self.step % settings.interval_steps == 0
                saves = at_boundary or interrupted or self.step % settings.save_steps == 0
                if saves or self.step % settings.log_steps == 0:
                    line = progress.line()
                    self.run_log.steps(line | self.feed.fallback(line["counts"], record))
                if saves and not at_boundary:
                    self.save()
                if interrupted:
                    return True
        return False

    def training_step(
        self, batch: Batch, record: dict[str, Any], interrupt: Interrupt
    ) -> tuple[dict[str, float], np.ndarray, np.ndarray, bool]:
        """One optimiser step of every network on sum_i c_i l_i / B.

        Returns, of the global batch: each network's loss; the samples of each task, int64 [n]; sums of the generator's
        losses and of the coefficients of each task, float64 [2, n]; whether any rank was asked to stop: all stop then.
        Raises `RunError`, before the step, when a loss is not finite or too many rows are lost.
        """
        names, notes, n = [task.name for task in self.tasks], [], len(self.tasks)
        tickets = list(zip(batch.task.tolist(), batch.ordinal.tolist(), strict=True))
        keys = [(self.settings.seed, names[task], ordinal) for task, ordinal in tickets]
        flags = [float(interrupt.requested), float(bool(batch.lost))]

        def weigh(losses: torch.Tensor, tasks: torch.Tensor) -> torch.Tensor:
            c = self._coefficients(losses, tasks, record["c"])[tasks]
            values = torch.stack([torch.ones_like(c), losses, c]).double()
            sums = torch.zeros(3, n, dtype=torch.float64, device=c.device).index_add_(1, tasks, values)
            numbers = torch.cat([sums.flatten(), to_device(np.array(flags), c.device)])
            notes.append(Readback(self.accelerator.reduce(numbers, "sum")))
            return c

        try:
            pictures, tasks = self._pictures(batch), batch.task.to(self.accelerator.device, non_blocking=True)
            losses = backward(self.learner, self.accelerator, pictures, tasks, keys, weigh)
        except NotFiniteError as error:
            bad = ", ".join(f"{names[tickets[i][0]]}:{tickets[i][1]}" for i in error.samples) or "of another process"
            raise RunError(f"{error} at step {self.step + 1}, samples {bad}: lower --lr or check them") from error
        *sums, asked, lost = torch.stack([note.read() for note in notes]).sum(dim=0).tolist()
        if lost:
            self.feed.note(gather_object(batch.lost), record)
        self.learner.step()
        counts, of_losses, of_coefficients = np.array(sums).reshape(3, n)
        return losses, counts.astype(np.int64), np.stack([of_losses, of_coefficients]), asked > 0

    def _pictures(self, batch: Batch) -> TrainingImages:
        """What the networks see. Where LR was made from the sharpened HR, the output shall look like that."""
        return TrainingImages.of(*self.feed.images(batch), usm=self.tasks[0].usm)

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

    def _sample_pictures(self) -> dict[str, np.ndarray]:
        """LR, output and HR of the same validation row at every boundary, by task."""
        if not self.run_log.wants_pictures:
            return {}
        tasks = zip(self.spec.tasks[:MAX_PICTURES], self.val, strict=False)
        network, device = self.learner.ema.eval(), self.accelerator.device
        return {task.name: picture(network, rows, 0, device) for task, rows in tasks}

    def close_interval(self) -> None:
        """Log the finished interval, move its samples to the past, save. Raises `RunError` unless it met its quotas."""
        record = self.state.record
        assert record is not None
        if record["delivered"] != record["quotas"]:
            raise RunError(
                f"delivered {record['delivered']} samples instead of the quotas {record['quotas']}: report this"
            )
        self.feed.close(record)
        self.state.consumed = [a + b for a, b in zip(self.state.consumed, record["quotas"], strict=True)]
        losses, coefficients = record.pop("totals")
        pairs = zip(losses, record["delivered"], strict=True)
        record["losses"] = [total / count if count else None for total, count in pairs]
        record["delivered_weights"] = [total / sum(record["quotas"]) for total in coefficients]
        self.state.memory["losses"] = [*self.state.memory.get("losses", []), record["losses"]][-2:]
        self.state.record = None
        self.run_log.close_interval(record)
        self.save()

    def save(self) -> None:
        """Write a checkpoint."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            self.learner.save(self.spec.folder, self.state, scaler.state_dict() if scaler else None)

    def close(self) -> None:
        """Evaluate and estimate a last time, and log it."""
        start = time.perf_counter()
        measurements = self.take_measurements()
        self.record_trace(measurements.shared_db)
        record = describe(measurements, self.step)
        self.run_log.boundary(record, self._sample_pictures(), time.perf_counter() - start)
        self.run_log.close_interval(record)

    def record_trace(self, psnr_db: np.ndarray) -> None:
        """Add this boundary to the reference's trace."""
        if self.spec.trace and self.accelerator.is_main_process:
            self.spec.trace.record(self.step, psnr_db[0].tolist(), self.spec.folder)


def train(spec: RunSpec, accelerator: Accelerator) -> None:
    """Train one network to the end, from wherever its folder says it is. Raises `RunError` when it was interrupted."""
    require_resumable(spec.folder, spec.settings)
    require_same_contents(spec.folder, spec.contents)
    if is_finished(spec.folder, spec.settings):
        accelerator.print(f"{spec.folder} is finished: {spec.settings.iterations} steps")
        return
    with _sole_writer(spec, accelerator), Interrupt() as interrupt, shortages_named():
        run = Run(spec, accelerator)
        with run.run_log, run.feed:
            while run.step < spec.settings.iterations:
                if run.state.record is None:
                    run.open_interval()
                interrupted = run.train_interval(interrupt)
                if run.step % spec.settings.interval_steps == 0:
                    run.close_interval()
                if interrupted:
                    raise RunError(f"stopped at step {run.step}, saved; run the same command again to go on")
            run.close()
        accelerator.wait_for_everyone()
    accelerator.free_memory()


def _manifests(task: Task) -> tuple[Manifest, ...]:
    return tuple(manifest for manifest in (task.train_manifest, task.val_manifest) if manifest)


@contextmanager
def _sole_writer(spec: RunSpec, accelerator: Accelerator) -> Iterator[None]:
    """Rank 0 locks the folder and keeps its settings; the other ranks write nothing."""
    if not accelerator.is_main_process:
        yield
        return
    with locked(spec.folder, "train/run.py"):
        spec.settings.save(spec.folder)
        yield
