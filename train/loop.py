"""The training loop (paper Fig. 2): evaluate -> estimate -> apportion -> train the interval -> save.

The one file that talks to Accelerate. To resume a run, start the same run again: it takes the same samples and gets the
same losses as if it had never stopped.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from shared.atomic import locked
from shared.errors import RunError
from shared.manifest import Manifest
from shared.progress import progress_bar
from shared.runlog import JsonLines
from train.checkpoint import (
    NetworkSpec,
    State,
    Weights,
    fill,
    latest_checkpoint,
    load_optimizer,
    load_state,
    load_weights,
    save_checkpoint,
)
from train.estimator import estimate
from train.evidence import Evidence, measure, photographs_of, to_float
from train.interrupt import Interrupt
from train.losses import l1
from train.policies import Policy
from train.progress import Window
from train.quotas import apportion
from train.references import References, Trace
from train.settings import Settings, require_resumable
from train.sources import Batch, TicketDataset, batches, make_loader
from train.tasks import Task
from train.tickets import TicketSampler

ADAM_BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class RunSpec:
    """One network to train: where, on which tasks, from which weights, under which policy.

    references: traces to estimate gaps against, if the policy wants them. trace: where this network's own PSNR is
    recorded, if it is a reference itself.
    """

    folder: Path
    title: str
    settings: Settings
    tasks: Sequence[Task]
    network: NetworkSpec
    initial: Weights
    policy: Policy
    references: References | None = None
    trace: Trace | None = None


class Run:
    """A network in training, with everything that changes while it trains."""

    def __init__(self, spec: RunSpec, accelerator: Accelerator) -> None:
        """Begin or resume. Raises `UsageError` when what is in the folder was begun with other settings."""
        self.spec, self.settings, self.accelerator = spec, spec.settings, accelerator
        self.checkpoint = latest_checkpoint(spec.folder)
        self.state = load_state(self.checkpoint) if self.checkpoint else State(0, [0] * len(spec.tasks))
        self._adopt_datasets()

        network = spec.network.build()
        fill(network, load_weights(self.checkpoint / "model.safetensors") if self.checkpoint else spec.initial, "init")
        memory_format = torch.channels_last if self.settings.channels_last else torch.contiguous_format
        network = network.to(accelerator.device, memory_format=memory_format)  # type: ignore[call-overload]
        self.ema = deepcopy(network).requires_grad_(False)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.settings.lr, betas=ADAM_BETAS)
        if self.checkpoint:
            fill(self.ema, load_weights(self.checkpoint / "ema.safetensors"), str(self.checkpoint))
            optimizer.load_state_dict(load_optimizer(self.checkpoint))
        self.network, self.optimizer = accelerator.prepare(network, optimizer)

        self.sampler = TicketSampler(self.settings.batch_size, accelerator.process_index, accelerator.num_processes)
        dataset = TicketDataset(spec.tasks, self.settings.seed, self.settings.window_shards, self.settings.flip)
        self.loader = make_loader(dataset, self.sampler, self.settings.workers, accelerator.device.type == "cuda")
        self.val = [task.val_rows() for task in spec.tasks]
        self.photographs = photographs_of(self.val[0])
        self.metrics = JsonLines(spec.folder / "metrics.jsonl")
        self.intervals = JsonLines(spec.folder / "intervals.jsonl")

    def _adopt_datasets(self) -> None:
        """Rows must not change under a run: ordinals would mean other samples."""
        now = {f"{t.name}/{m.split}": m.identity() for t in self.spec.tasks for m in _manifests(t)}
        begun = self.state.datasets or now
        for name in sorted(begun.keys() | now.keys()):
            if now.get(name) != begun.get(name):
                change = "has changed" if name in begun else "was added"
                raise RunError(f"dataset {name} {change} since {self.spec.folder} was begun: use another --run")
        self.state.datasets = now

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
        self.ema.eval()
        for task, rows in enumerate(self.val):
            mine = list(range(rank, len(rows), num_ranks))
            values = list(zip(mine, measure(self.ema, rows, mine, self.accelerator.device), strict=True))
            for number, psnr_db in gather_object(values):
                table[task, number] = psnr_db
        return table

    def gather_evidence(self) -> Evidence:
        """What is known at this border."""
        shared_db, names = self.evaluate(), [task.name for task in self.spec.tasks]
        if self.spec.references is None:
            return Evidence(self.interval, names, shared_db, self.photographs)
        reference_db = self.spec.references.at(self.step)
        found = estimate(reference_db, shared_db, self.photographs, (self.settings.seed, self.interval))
        return Evidence(self.interval, names, shared_db, self.photographs, reference_db, found)

    # ---- apportion

    def decide(self, evidence: Evidence) -> dict[str, Any]:
        """The interval's record: evidence, shares, coefficients and quotas. Rank 0 decides, integers are broadcast."""
        p, c = self.spec.policy.interval(evidence)
        quotas = apportion(p, self.settings.interval_steps * self.settings.batch_size)
        quotas, c = broadcast_object_list([quotas, c])
        return {**describe(evidence, self.step), "p": p, "c": c, "quotas": quotas}

    # ---- train the interval

    def train_interval(self, interrupt: Interrupt) -> bool:
        """Train to the next border, or to an interruption, saving on the way. Returns whether it was interrupted."""
        record, settings = self.state.record, self.settings
        assert record is not None
        first = self.step - self.interval * settings.interval_steps
        self.sampler.start(record["quotas"], self.state.consumed, settings.seed, self.interval, first)
        coefficients = torch.tensor(record["c"], device=self.accelerator.device)
        delivered = np.array(record.setdefault("delivered", [0] * len(self.spec.tasks)))
        window = Window(len(self.spec.tasks))
        number, stream = self.interval, batches(self.loader)
        with progress_bar(
            settings.interval_steps,
            "step",
            initial=first,
            desc=f"{self.spec.title} {number + 1}/{settings.iterations // settings.interval_steps}",
            disable=not self.accelerator.is_main_process,
            leave=False,
        ) as bar:
            for _ in range(settings.interval_steps - first):
                start = time.perf_counter()
                batch = next(stream)
                waited = time.perf_counter() - start
                loss = self.training_step(batch, coefficients)
                counts, interrupted = self._agree(batch, interrupt)
                delivered += counts
                record["delivered"] = delivered.tolist()
                self.state.step += 1
                window.add(loss, counts, waited, time.perf_counter() - start)
                at_border = self.step % settings.interval_steps == 0
                saves = at_border or interrupted or self.step % settings.save_steps == 0
                if saves or self.step % settings.log_steps == 0:
                    bar.set_postfix(window.postfix(settings.batch_size), refresh=False)
                    self._log(window.flush(self.step, settings))
                if saves and not at_border:
                    self.save()
                bar.update()
                if interrupted:
                    return True
        return False

    def training_step(self, batch: Batch, coefficients: torch.Tensor) -> float:
        """One optimiser step on sum_i c_i l_i / B. Raises `RunError`, before the step, when the loss is not finite."""
        device = self.accelerator.device
        lr, hr = (to_float(image.to(device, non_blocking=True)) for image in (batch.lr, batch.hr))
        with self.accelerator.autocast():
            losses = l1(self.network(lr), hr)
        loss = (coefficients[batch.task.to(device)] * losses).mean()
        value = self.accelerator.reduce(loss.detach(), "mean").item()
        if not np.isfinite(value):
            names = [task.name for task in self.spec.tasks]
            tickets = zip(batch.task.tolist(), batch.ordinal.tolist(), losses.tolist(), strict=True)
            bad = ", ".join(f"{names[t]}:{ordinal}" for t, ordinal, one in tickets if not np.isfinite(one))
            raise RunError(f"loss is {value} at step {self.step + 1}, samples {bad}: lower --lr or check them")
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.optimizer.step()
        self._average()
        return value

    @torch.no_grad()
    def _average(self) -> None:
        averaged = list(self.ema.parameters())
        current = list(self.accelerator.unwrap_model(self.network).parameters())
        torch._foreach_lerp_(averaged, current, 1 - self.settings.ema)

    def _agree(self, batch: Batch, interrupt: Interrupt) -> tuple[np.ndarray, bool]:
        """Samples of each task in the global batch; whether any rank was asked to stop, so that all stop together."""
        counts = torch.bincount(batch.task, minlength=len(self.spec.tasks))
        numbers = torch.cat([counts, torch.tensor([interrupt.requested])]).to(self.accelerator.device)
        *totals, asked = self.accelerator.reduce(numbers, "sum").tolist()
        return np.array(totals), asked > 0

    # ---- log and save

    def close_interval(self) -> None:
        """Log the finished interval, move its samples to the past, save."""
        record = self.state.record
        assert record is not None
        if record["delivered"] != record["quotas"]:
            raise RunError(
                f"delivered {record['delivered']} samples instead of the quotas {record['quotas']}: report this"
            )
        self.state.consumed = [a + b for a, b in zip(self.state.consumed, record["quotas"], strict=True)]
        self.state.record = None
        if self.accelerator.is_main_process:
            self.intervals.append(record)
        self.save()

    def save(self) -> None:
        """Write a checkpoint."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            model = self.accelerator.unwrap_model(self.network).state_dict()
            optimizer = self.optimizer.optimizer.state_dict()
            keep = self.settings.keep
            save_checkpoint(
                self.spec.folder, self.state, self.spec.network, model, self.ema.state_dict(), optimizer, keep
            )

    def record_trace(self, psnr_db: np.ndarray) -> None:
        """Add this border to the reference's trace."""
        if self.spec.trace and self.accelerator.is_main_process:
            self.spec.trace.record(self.step, psnr_db[0].tolist(), self.spec.folder)

    def _log(self, record: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            self.metrics.append(record)


def train(spec: RunSpec, accelerator: Accelerator) -> None:
    """Train one network to the end, from wherever its folder says it is."""
    require_resumable(spec.folder, spec.settings)
    if is_finished(spec.folder, spec.settings):
        accelerator.print(f"{spec.folder} is finished: {spec.settings.iterations} steps")
        return
    with _sole_writer(spec, accelerator), Interrupt() as interrupt:
        run = Run(spec, accelerator)
        if accelerator.is_main_process:
            run.metrics.rewind("step", run.step)
            run.intervals.rewind("step", run.interval * spec.settings.interval_steps - 1)
        while run.step < spec.settings.iterations:
            if run.state.record is None:
                evidence = run.gather_evidence()
                run.record_trace(evidence.shared_db)
                run.state.record = run.decide(evidence)
                _announce(run, accelerator)
            interrupted = run.train_interval(interrupt)
            if run.step % spec.settings.interval_steps == 0:
                run.close_interval()
            if interrupted:
                raise RunError(f"stopped at step {run.step}, saved; run the same command again to go on")
        evidence = run.gather_evidence()
        run.record_trace(evidence.shared_db)
        if accelerator.is_main_process:
            run.intervals.append(describe(evidence, run.step))
        accelerator.wait_for_everyone()
    accelerator.free_memory()


def is_finished(folder: Path, settings: Settings) -> bool:
    """Whether a run has logged the border after its last interval."""
    records = JsonLines(folder / "intervals.jsonl").read()
    return bool(records) and records[-1]["step"] >= settings.iterations


def describe(evidence: Evidence, step: int) -> dict[str, Any]:
    """A border as plain data: everything needed to compute its weights again."""
    record: dict[str, Any] = {
        "interval": evidence.interval,
        "step": step,
        "tasks": evidence.tasks,
        "photographs": evidence.photographs,
        "shared_db": evidence.shared_db.tolist(),
    }
    if evidence.reference_db is not None and evidence.estimate is not None:
        record |= {"reference_db": evidence.reference_db.tolist(), "estimate": asdict(evidence.estimate)}
    return record


def _manifests(task: Task) -> tuple[Manifest, Manifest]:
    return task.train_manifest, task.val_manifest


@contextmanager
def _sole_writer(spec: RunSpec, accelerator: Accelerator) -> Iterator[None]:
    """Rank 0 locks the folder and keeps its settings; the other ranks write nothing."""
    if not accelerator.is_main_process:
        yield
        return
    with locked(spec.folder, "train/run.py"):
        spec.settings.save(spec.folder)
        yield


def _announce(run: Run, accelerator: Accelerator) -> None:
    record = run.state.record
    assert record is not None
    shares = ", ".join(f"{task} {p:.3f}" for task, p in zip(record["tasks"], record["p"], strict=True))
    psnr = np.mean(record["shared_db"])
    accelerator.print(f"{run.spec.title} step {run.step}: PSNR {psnr:.3f} dB, shares {shares}")
