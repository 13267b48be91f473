"""Sources: from a ticket to a training sample, in the workers of the loader."""

import signal
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

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


def _planar(image: np.ndarray) -> torch.Tensor:
    """uint8 [h, w, 3] to uint8 [3, h, w]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def make_loader(dataset: TicketDataset, sampler: TicketSampler, workers: int, pin_memory: bool) -> DataLoader:
    """One loader for the whole run; each pass over it is one interval, and prefetch never crosses a border."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if workers else None,
    )


def _start_worker(worker: int) -> None:
    """One thread; Ctrl-C is the training process's to answer, and its answer to SIGTERM is not inherited."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
