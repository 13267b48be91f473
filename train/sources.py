"""Sources: from a ticket to a training sample, in the workers of the loader.

`shards`: a stored pair. `fly`: an HR crop, degraded here by the CPU backend. `gpu`: an HR crop with its plan, degraded
in the training step by the device (`train/degrade.py`). Which one serves a task is in its tickets.
"""

import signal
from collections.abc import Iterator, Sequence, Set
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from shared.degradation import cpu
from shared.degradation.gpu_steps import Steps, steps_of
from shared.degradation.plan import Plan
from shared.errors import RunError
from shared.seeds import Draws
from shared.shardfile import Dataset, LostRowError
from train.pool import Pool
from train.tasks import Task
from train.tickets import Ticket, TicketSampler

CANDIDATES = 16
"""Rows that are tried for one sample; when so many are lost, so is the dataset."""


class Pending(NamedTuple):
    """What the device still has to do at a place of a batch: degrade the HR crop, then flip both if so drawn.

    steps: of the plan, worked out here, so that the training process only hands them to the device.
    """

    place: int
    steps: Steps
    flip: bool


class Lost(NamedTuple):
    """A row of task `owner` that could not be read, or is known to be lost, when a sample of `task` was to show it."""

    task: int
    ordinal: int
    owner: int
    row: int
    reason: str


class Batch(NamedTuple):
    """lr: uint8 [B, 3, h, w]; hr: uint8 [B, 3, H, W]; RGB, channels last in memory.

    task, ordinal: int64 [B], the tickets. owner, row: int64 [B], the row that each sample shows and the task whose
    shards hold it; -1 for a photograph.
    pending: samples whose lr is not there yet. lost: rows that had to be replaced.
    """

    lr: torch.Tensor
    hr: torch.Tensor
    task: torch.Tensor
    ordinal: torch.Tensor
    owner: torch.Tensor
    row: torch.Tensor
    pending: list[Pending]
    lost: list[Lost]


class Sample(NamedTuple):
    """hr, lr: uint8 [H, W, 3], RGB, not flipped; lr is None where the device is to make it from `plan`."""

    hr: np.ndarray
    lr: np.ndarray | None
    plan: Plan | None
    row: int


class TicketDataset(TorchDataset[Batch]):
    """Resolves the tickets of a batch: one read a sample, a keyed horizontal flip. Holds no state."""

    def __init__(
        self,
        tasks: Sequence[Task],
        seed: int,
        flip: bool,
        num_rows: Sequence[int] | None = None,
        lost: Set[tuple[int, int]] = frozenset(),
        pool: Pool | None = None,
    ) -> None:
        """num_rows: rows of each task in use (default: all). lost: (task, row) of rows that are not to be read."""
        self._arguments = (tasks, seed, flip, num_rows, lost, pool)
        self._tasks, self._seed, self._flip = tasks, seed, flip
        self._num_rows = num_rows or [task.num_rows for task in tasks]
        self._lost, self._pool = lost, pool
        self._rows = [Dataset(task.train) if task.train else None for task in tasks]

    def __getitems__(self, tickets: Sequence[Ticket]) -> Batch | RunError:
        """A batch, or the error that prevents it: raised in a worker it would come back as a traceback."""
        try:
            return self.batch(tickets)
        except RunError as error:
            return error

    def batch(self, tickets: Sequence[Ticket]) -> Batch:
        """Raises `RunError` that names shards or pictures when so many are damaged that a sample cannot be made."""
        patch, scale = self._tasks[0].patch, self._tasks[0].scale
        hr = torch.empty(len(tickets), patch, patch, 3, dtype=torch.uint8)
        lr = torch.empty(len(tickets), patch // scale, patch // scale, 3, dtype=torch.uint8)
        task, ordinal, owner, row = torch.tensor([[t.task, t.ordinal, t.owner, t.row] for t in tickets]).T.contiguous()
        batch = Batch(lr.permute(0, 3, 1, 2), hr.permute(0, 3, 1, 2), task, ordinal, owner, row, [], [])
        for index, ticket in enumerate(tickets):
            self.put(batch, index, ticket, self._lost)
        return batch

    def put(self, batch: Batch, index: int, ticket: Ticket, lost: Set[tuple[int, int]]) -> None:
        """Make the ticket's sample, the place `index` of a batch, showing none of the rows in `lost`."""
        sample = self._sample(ticket, lost, batch.lost)
        flip = self._flip and Draws(self._seed, "flip", self._tasks[ticket.task].name, ticket.ordinal).coin(0.5)
        batch.row[index] = sample.row
        if sample.lr is None:
            assert sample.plan
            _store(batch.hr, index, sample.hr, flip=False)
            batch.lr[index] = 0
            steps = steps_of(sample.plan, *batch.lr.shape[2:])
            batch.pending[:] = [p for p in batch.pending if p.place != index] + [Pending(index, steps, flip)]
        else:
            _store(batch.hr, index, sample.hr, flip)
            _store(batch.lr, index, sample.lr, flip)

    def _sample(self, ticket: Ticket, lost: Set[tuple[int, int]], report: list[Lost]) -> Sample:
        if ticket.source == "shards":
            row, pair = self._read(ticket, lost, report, whole=True)
            return Sample(pair.hr, pair.lr, None, row)
        task = self._tasks[ticket.task]
        if ticket.owner < 0:
            assert self._pool
            row, hr = -1, self._pool.crop(task.name, ticket.ordinal)
        else:
            row, hr = self._read(ticket, lost, report, whole=False)
        plan = task.plans.draw(self._seed, ticket.ordinal, task.patch, task.scale)
        if ticket.source == "gpu":
            return Sample(hr, None, plan, row)
        return Sample(hr, cpu.render(cpu.sharpen(hr) if task.usm else hr, plan, task.scale), plan, row)

    def _read(self, ticket: Ticket, lost: Set[tuple[int, int]], report: list[Lost], whole: bool):
        """The first row of the ticket's candidates that can be read, and its pair, or its HR image alone."""
        dataset = self._rows[ticket.owner]
        assert dataset is not None
        for row in self._candidates(ticket):
            reason = ""
            if (ticket.owner, row) not in lost:
                try:
                    return row, dataset[row] if whole else dataset.hr(row)
                except LostRowError as error:
                    reason = str(error)
            report.append(Lost(ticket.task, ticket.ordinal, ticket.owner, row, reason))
        reasons = "; ".join(sorted({entry.reason for entry in report if entry.reason})[:3])
        name = self._tasks[ticket.owner].name
        raise RunError(f"no row of {name} could be read in {CANDIDATES} attempts: {reasons or 'all are known lost'}")

    def _candidates(self, ticket: Ticket) -> Iterator[int]:
        """The ticket's row, then rows of the same dataset drawn for this ticket alone."""
        yield ticket.row
        draws = Draws(self._seed, "substitute", self._tasks[ticket.task].name, ticket.ordinal)
        for _ in range(CANDIDATES - 1):
            yield draws.integer(self._num_rows[ticket.owner])

    def __reduce__(self) -> tuple:
        """Open files stay behind when a worker process is started."""
        return TicketDataset, self._arguments


def _store(images_BCHW: torch.Tensor, index: int, image: np.ndarray, flip: bool) -> None:
    place = images_BCHW[index].permute(1, 2, 0).numpy()
    if flip:
        cv2.flip(image, 1, dst=place)
    else:
        place[...] = image


def make_loader(dataset: TicketDataset, sampler: TicketSampler, workers: int, pin_memory: bool) -> DataLoader:
    """A loader for many intervals; each pass over it is one, and prefetch never crosses a border."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=_as_it_is,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if workers else None,
    )


def batches(loader: DataLoader) -> Iterator[Batch]:
    """One pass over the loader: the batches of an interval. Raises the `RunError` of a worker as its own."""
    for batch in loader:
        if isinstance(batch, RunError):
            raise RunError(*batch.args)  # a frame that holds its own exception lingers, and its workers too
        yield batch


def _as_it_is(batch: Any) -> Any:
    """The dataset fills whole batches: nothing is left to collate."""
    return batch


def _start_worker(worker: int) -> None:
    """One thread; a request to stop is the training process's to answer, and it needs its workers until it has saved.

    Ctrl-C never reaches them, a first SIGTERM (launchers and Slurm send it to every process) is let pass.
    """
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL) and None)
