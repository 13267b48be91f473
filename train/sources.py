"""Sources: from a ticket to a training sample, in the workers of the loader."""

import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

from shared.errors import RunError
from shared.seeds import Draws
from shared.shardfile import Dataset
from train.tasks import Task
from train.tickets import RowOrder, Ticket, TicketSampler


class Batch(NamedTuple):
    """lr: uint8 [B, 3, h, w]; hr: uint8 [B, 3, H, W]; RGB. task, ordinal: int64 [B], the tickets."""

    lr: torch.Tensor
    hr: torch.Tensor
    task: torch.Tensor
    ordinal: torch.Tensor


class TicketDataset(TorchDataset[Batch]):
    """Resolves tickets to samples: a row by arithmetic, one read, a keyed horizontal flip. Holds no state."""

    def __init__(self, tasks: Sequence[Task], seed: int, window: int, flip: bool) -> None:
        self._arguments = (tasks, seed, window, flip)
        self._names = [task.name for task in tasks]
        self._rows = [Dataset(task.train) for task in tasks]
        self._orders = [
            RowOrder([entry.nsamples for entry in task.train_manifest.shardlist], seed, task.name, window)
            for task in tasks
        ]
        self._seed, self._flip = seed, flip

    def __getitem__(self, ticket: Ticket) -> Batch:
        """Raises `RunError` that names the shard and the row when its bytes are damaged."""
        pair = self._rows[ticket.task][self._orders[ticket.task](ticket.ordinal)]
        flip = self._flip and Draws(self._seed, "flip", self._names[ticket.task], ticket.ordinal).coin(0.5)
        lr, hr = (_planar(image[:, ::-1] if flip else image) for image in (pair.lr, pair.hr))
        return Batch(lr, hr, torch.tensor(ticket.task), torch.tensor(ticket.ordinal))

    def __getitems__(self, tickets: Sequence[Ticket]) -> list[Batch] | RunError:
        """A batch's samples, or the error that prevents them: raised in a worker it would come back as a traceback."""
        try:
            return [self[ticket] for ticket in tickets]
        except RunError as error:
            return error

    def __reduce__(self) -> tuple:
        """Open files stay behind when a worker process is started."""
        return TicketDataset, self._arguments


def _planar(image: np.ndarray) -> torch.Tensor:
    """uint8 [h, w, 3] to uint8 [3, h, w]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def make_loader(dataset: TicketDataset, sampler: TicketSampler, workers: int, pin_memory: bool) -> DataLoader:
    """One loader for the whole run; each pass over it is one interval, and prefetch never crosses a border."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=_collate,
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


def _collate(samples: list[Batch] | RunError) -> Batch | RunError:
    return samples if isinstance(samples, RunError) else default_collate(samples)


def _start_worker(worker: int) -> None:
    """One thread; a request to stop is the training process's to answer, and it needs its workers until it has saved.

    Ctrl-C never reaches them, a first SIGTERM (launchers and Slurm send it to every process) is let pass.
    """
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL) and None)
