"""Sources: from a ticket to a training sample, in the workers of the loader.

`shards`: a stored pair. `fly`: an HR crop, degraded here by the CPU backend. `gpu`: an HR crop with its plan, degraded
in the training step by the device (`shared/mixing/degrade.py`). Which one serves a task is in its tickets.
"""

import signal
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ..degradation import cpu
from ..degradation.gpu_steps import Steps, steps_of
from ..degradation.plan import Plan
from ..errors import RunError
from ..seeds import Draws
from ..shards.reader import OPEN_SHARDS, Dataset, LostRowError
from .memory import NO_SLOT, BatchMemory, Pictures
from .pool import Pool
from .tasks import Task
from .tickets import Ticket, TicketSampler

CANDIDATES = 16
"""Rows that are tried for one sample; when so many are lost, so is the dataset."""
IN_USE = 3
"""Batches that a training step may hold while others are loaded: this one, the last, and one on its way."""


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


def _batch(
    images: tuple[torch.Tensor, torch.Tensor], columns: torch.Tensor, pending: list[Pending], lost: list[Lost]
) -> Batch:
    """images: lr and hr. columns: int64 [4, B], task, ordinal, owner and row."""
    task, ordinal, owner, row = columns
    return Batch(*images, task, ordinal, owner, row, pending, lost)


class Request(NamedTuple):
    """Tickets of a batch, and the slot of the memory that its images go to."""

    tickets: list[Ticket]
    slot: int


class Parcel(NamedTuple):
    """A batch on its way from a worker, its images in a slot of the memory.

    columns: int64 [4, B], the batch's task, ordinal, owner and row; in NumPy, because each tensor would be sent as a
    file descriptor, in half a millisecond.
    """

    columns: np.ndarray
    pending: list[Pending]
    lost: list[Lost]
    slot: int


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
        max_open: int = OPEN_SHARDS,
    ) -> None:
        """num_rows: rows of each task in use (default: all). lost: (task, row) of rows that are not to be read.

        max_open: shards of a task that are open at a time.
        """
        self._arguments = (tasks, seed, flip, num_rows, lost, pool, max_open)
        self.tasks = tasks
        self.memory: BatchMemory | None = None
        self._seed, self._flip = seed, flip
        self._num_rows = num_rows or [task.num_rows for task in tasks]
        self._lost, self._pool = lost, pool
        self._rows = [task.train_rows(max_open) for task in tasks]

    def __getitems__(self, request: Sequence[Ticket] | Request) -> Batch | Parcel | RunError:
        """A batch, or the error that prevents it: raised in a worker it would come back as a traceback."""
        try:
            if not isinstance(request, Request):
                return self.batch(request)
            if request.slot == NO_SLOT or self.memory is None:
                return self.batch(request.tickets)
            batch = self.batch(request.tickets, self.memory.pictures(request.slot))
            columns = torch.stack([batch.task, batch.ordinal, batch.owner, batch.row]).numpy()
            return Parcel(columns, batch.pending, batch.lost, request.slot)
        except RunError as error:
            return error

    def batch(self, tickets: Sequence[Ticket], pictures: Pictures | None = None) -> Batch:
        """pictures: memory for the images.

        Raises `RunError` that names shards or pictures when so many are damaged that a sample cannot be made.
        """
        if pictures is None:
            patch, low = self.tasks[0].patch, self.tasks[0].patch // self.tasks[0].scale
            sides = ((len(tickets), side, side, 3) for side in (patch, low))
            pictures = Pictures(*(np.empty(shape, np.uint8) for shape in sides))
        columns = torch.tensor([[t.task, t.ordinal, t.owner, t.row] for t in tickets]).T.contiguous()
        hr, lr = (torch.from_numpy(images).permute(0, 3, 1, 2) for images in pictures)
        batch = _batch((lr, hr), columns, [], [])
        for index, ticket in enumerate(tickets):
            self._put(batch, pictures.hr[index], pictures.lr[index], index, ticket, self._lost)
        return batch

    def put(self, batch: Batch, index: int, ticket: Ticket, lost: Set[tuple[int, int]]) -> None:
        """Make the ticket's sample, the place `index` of a batch, showing none of the rows in `lost`."""
        hr, lr = (images_BCHW[index].permute(1, 2, 0).numpy() for images_BCHW in (batch.hr, batch.lr))
        self._put(batch, hr, lr, index, ticket, lost)

    def _put(
        self,
        batch: Batch,
        hr: np.ndarray,
        lr: np.ndarray,
        index: int,
        ticket: Ticket,
        lost: Set[tuple[int, int]],
    ) -> None:
        row, plan = self._fill(hr, lr, ticket, lost, batch.lost)
        flip = self._flip and Draws(self._seed, "flip", self.tasks[ticket.task].name, ticket.ordinal).coin(0.5)
        if row != ticket.row:
            batch.row[index] = row
        if plan:
            steps = steps_of(plan, *lr.shape[:2])
            batch.pending[:] = [p for p in batch.pending if p.place != index] + [Pending(index, steps, flip)]
        elif flip:
            cv2.flip(hr, 1, dst=hr)
            cv2.flip(lr, 1, dst=lr)

    def _fill(
        self, hr: np.ndarray, lr: np.ndarray, ticket: Ticket, lost: Set[tuple[int, int]], report: list[Lost]
    ) -> tuple[int, Plan | None]:
        """The ticket's pictures, not flipped, in uint8 [H, W, 3] and [h, w, 3], RGB.

        Returns the row that they show, and the plan by which the device is to make lr, zeros so far, if it is to.
        """
        if ticket.source == "shards":
            return self._read(ticket, lost, report, lambda dataset, row: dataset.read(row, (hr, lr))), None
        task = self.tasks[ticket.task]
        if ticket.owner < 0:
            assert self._pool
            row, hr[...] = -1, self._pool.crop(task.name, ticket.ordinal)
        else:
            row = self._read(ticket, lost, report, lambda dataset, row: np.copyto(hr, dataset.hr(row)))
        plan = task.plans.draw(self._seed, ticket.ordinal, task.patch, task.scale)
        if ticket.source == "gpu":
            lr[...] = 0
            return row, plan
        lr[...] = cpu.render(cpu.sharpen(hr) if task.usm else hr, plan, task.scale)
        return row, None

    def _read(
        self, ticket: Ticket, lost: Set[tuple[int, int]], report: list[Lost], read: Callable[[Dataset, int], object]
    ) -> int:
        """The first row of the ticket's candidates that can be read, after it was."""
        dataset = self._rows[ticket.owner]
        assert dataset is not None
        for row in self._candidates(ticket):
            reason = ""
            if (ticket.owner, row) not in lost:
                try:
                    read(dataset, row)
                    return row
                except LostRowError as error:
                    reason = str(error)
            report.append(Lost(ticket.task, ticket.ordinal, ticket.owner, row, reason))
        reasons = "; ".join(sorted({entry.reason for entry in report if entry.reason})[:3])
        name = self.tasks[ticket.owner].name
        raise RunError(f"no row of {name} could be read in {CANDIDATES} attempts: {reasons or 'all are known lost'}")

    def _candidates(self, ticket: Ticket) -> Iterator[int]:
        """The ticket's row, then rows of the same dataset drawn for this ticket alone."""
        yield ticket.row
        draws = Draws(self._seed, "substitute", self.tasks[ticket.task].name, ticket.ordinal)
        for _ in range(CANDIDATES - 1):
            yield draws.integer(self._num_rows[ticket.owner])

    def __reduce__(self) -> tuple:
        """Open files stay behind when a worker process is started."""
        return TicketDataset, self._arguments, {"memory": self.memory}


def make_loader(dataset: TicketDataset, sampler: TicketSampler, workers: int, pin_memory: bool) -> DataLoader:
    """A loader for many intervals; each pass over it is one, and prefetch never crosses a boundary."""
    task, prefetch = dataset.tasks[0], 4
    if not pin_memory:  # else PyTorch copies into page-locked memory, which it uses again
        slots = workers * prefetch + IN_USE
        dataset.memory = BatchMemory(slots, sampler.batch_size // sampler.num_ranks, task.patch, task.scale)
    return DataLoader(
        dataset,
        batch_sampler=_Requests(sampler, dataset.memory),  # type: ignore[arg-type]  # not only lists are requests
        collate_fn=_as_it_is,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        prefetch_factor=prefetch if workers else None,
    )


class _Requests:
    """What the workers are asked for: the tickets of a batch, and where its images go."""

    def __init__(self, sampler: TicketSampler, memory: BatchMemory | None) -> None:
        self._sampler, self._memory = sampler, memory

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Request]:
        for tickets in self._sampler:
            yield Request(tickets, self._memory.take() if self._memory else NO_SLOT)


def batches(loader: DataLoader) -> Iterator[Batch]:
    """One pass over the loader, the batches of an interval. When this returns its workers have been started.

    Iterating raises the `RunError` of a worker as its own.
    """
    assert isinstance(loader.dataset, TicketDataset)
    return _unpacked(iter(loader), loader.dataset.memory)


def _unpacked(loaded: Iterator[Batch | Parcel | RunError], memory: BatchMemory | None) -> Iterator[Batch]:
    for delivery in loaded:
        if isinstance(delivery, RunError):
            raise RunError(*delivery.args)  # a frame that holds its own exception lingers, and its workers too
        if isinstance(delivery, Parcel):
            assert memory
            columns, pending, lost, slot = delivery
            delivery = _batch(memory.show(slot), torch.from_numpy(columns), pending, lost)
        yield delivery
        del delivery  # or its slot would be in use until the next one is here


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
