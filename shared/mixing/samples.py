"""From the tickets of a batch to its images, in the workers of a data loader.

`shards`: a stored pair. `fly`: an HR crop, degraded here by the CPU backend. `gpu`: an HR crop with its plan, degraded
in the training process on its device (`degrade.py`). Each ticket names the source that serves it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import get_worker_info

from ..degradation import cpu
from ..degradation.gpu_steps import Steps, steps_of
from ..degradation.plan import Plan
from ..errors import RunError
from ..seeds import Draws
from ..shards.reader import OPEN_SHARDS, Dataset, LostRowError
from .pool import HRPool
from .tasks import Task
from .tickets import CANDIDATES, Ticket, candidates


class Pending(NamedTuple):
    """What the device still has to do at a place of a batch: degrade the HR crop, then flip both images if so drawn.

    steps: steps of the plan, worked out in the worker, so that the training process only hands them to the device.
    """

    place: int
    steps: Steps
    flip: bool


class LostRow(NamedTuple):
    """A row of task `owner` that could not be read when a sample of task `task` was to show it."""

    task: int
    ordinal: int
    owner: int
    row: int
    reason: str


class Loaded(NamedTuple):
    """A batch on its way from a worker.

    memory: uint8, the HR images [b, H, W, 3], then the LR images [b, h, w, 3], RGB. columns: int64 [3, b], task,
    ordinal and stored row (-1 for none). pending: samples whose LR image is not there yet. lost: rows that had to be
    replaced.
    """

    memory: torch.Tensor
    columns: np.ndarray
    pending: list[Pending]
    lost: list[LostRow]


def images_of(memory: torch.Tensor, count: int, patch: int, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(lr, hr) as views of a batch's memory, uint8 [b, 3, h, w] and [b, 3, H, W], channels last."""
    low, split = patch // scale, count * patch * patch * 3
    hr, lr = memory[:split].view(count, patch, patch, 3), memory[split:].view(count, low, low, 3)
    return lr.permute(0, 3, 1, 2), hr.permute(0, 3, 1, 2)


class Samples(TorchDataset[Loaded]):
    """Resolves the tickets of a batch: one read a sample, and a keyed horizontal flip. Holds no state."""

    def __init__(
        self,
        tasks: Sequence[Task],
        seed: int,
        flip: bool,
        num_rows: Sequence[int],
        pool: HRPool | None = None,
        max_open: int = OPEN_SHARDS,
    ) -> None:
        """num_rows: stored rows of each task in use. max_open: shards of a task that are open at a time."""
        self._arguments = (tasks, seed, flip, num_rows, pool, max_open)
        self._tasks, self._seed, self._flip, self._num_rows, self._pool = tasks, seed, flip, num_rows, pool
        self._rows = [task.train_rows(max_open) for task in tasks]

    def __getitems__(self, tickets: Sequence[Ticket]) -> Loaded | RunError:
        """A batch, or the error that prevents it: raised in a worker it would come back as a traceback."""
        try:
            return self.batch(tickets)
        except RunError as error:
            return error

    def batch(self, tickets: Sequence[Ticket]) -> Loaded:
        """Raises `RunError` that names shards or images when so many are damaged that a sample cannot be made."""
        patch, scale = self._tasks[0].patch, self._tasks[0].scale
        memory = torch.empty(batch_bytes(len(tickets), patch, scale), dtype=torch.uint8)
        if get_worker_info():
            memory.share_memory_()  # the images are decoded where the training process reads them
        lr, hr = (images.permute(0, 2, 3, 1).numpy() for images in images_of(memory, len(tickets), patch, scale))
        columns = np.array([(ticket.task, ticket.ordinal, ticket.row) for ticket in tickets]).T.copy()
        loaded = Loaded(memory, columns, [], [])
        for place, ticket in enumerate(tickets):
            row, plan = self._fill(hr[place], lr[place], ticket, loaded.lost)
            flip = self._flip and Draws(self._seed, "flip", self._tasks[ticket.task].name, ticket.ordinal).coin(0.5)
            columns[2, place] = row
            if plan:
                loaded.pending.append(Pending(place, steps_of(plan, *lr.shape[1:3]), flip))
            elif flip:
                cv2.flip(hr[place], 1, dst=hr[place])
                cv2.flip(lr[place], 1, dst=lr[place])
        return loaded

    def _fill(self, hr: np.ndarray, lr: np.ndarray, ticket: Ticket, lost: list[LostRow]) -> tuple[int, Plan | None]:
        """Write the ticket's images, not flipped, to uint8 [H, W, 3] and [h, w, 3], RGB.

        Returns the row that they show, and the plan by which the device is to make `lr` (zeros so far), if it is to.
        """
        if ticket.source == "shards":
            return self._read(ticket, lost, lambda dataset, row: dataset.read(row, (hr, lr))), None
        task = self._tasks[ticket.task]
        if ticket.owner < 0:
            assert self._pool
            row, hr[...] = -1, self._pool.crop(task.name, ticket.ordinal)
        else:
            row = self._read(ticket, lost, lambda dataset, row: np.copyto(hr, dataset.hr(row)))
        assert task.plans
        plan = task.plans.draw(self._seed, ticket.ordinal, task.patch, task.scale)
        if ticket.source == "gpu":
            lr[...] = 0
            return row, plan
        lr[...] = cpu.render(cpu.sharpen(hr) if task.usm else hr, plan, task.scale)
        return row, None

    def _read(self, ticket: Ticket, lost: list[LostRow], read: Callable[[Dataset, int], object]) -> int:
        """Read the first of the ticket's candidates that can be read. Returns its row."""
        dataset, reasons = self._rows[ticket.owner], []
        assert dataset is not None
        for row in candidates(ticket, self._seed, self._tasks[ticket.task].name, self._num_rows[ticket.owner]):
            try:
                read(dataset, row)
                return row
            except LostRowError as error:
                reasons.append(str(error))
                lost.append(LostRow(ticket.task, ticket.ordinal, ticket.owner, row, str(error)))
        named, name = "; ".join(sorted(set(reasons))[:3]), self._tasks[ticket.owner].name
        raise RunError(f"none of {CANDIDATES} rows of task {name} could be read: {named}")

    def __reduce__(self) -> tuple:
        """Open files stay behind when a worker process is started."""
        return Samples, self._arguments


def batch_bytes(count: int, patch: int, scale: int) -> int:
    """Bytes of the images of a batch."""
    return 3 * count * (patch**2 + (patch // scale) ** 2)
