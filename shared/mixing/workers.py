"""Loader workers that do not hang in somebody else's process, nor fill its shared memory."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from ..errors import RunError
from ..text import BYTE_UNITS, quantity
from .samples import Loaded, Samples
from .tickets import BatchTickets

PREFETCH = 4
"""Batches that each worker loads ahead, where shared memory holds them."""
IN_USE = 3
"""Batches that the training process may hold: the current one, the last one, and one on its way."""
SHARED_MEMORY = "/dev/shm"


class Workers:
    """Loads batches of one size for many intervals, in worker processes or, with none, in this process.

    The workers start with the first interval, by the process's own start method. A forked worker inherits the state of
    OpenCV's thread pool but not its threads, and hangs in the first call that uses them. So OpenCV has one thread while
    workers are forked, and its number of threads is restored afterwards.
    """

    def __init__(
        self,
        samples: Samples,
        num_workers: int,
        batch_bytes: int,
        pin_memory: bool,
        worker_init: Callable[[int], None] | None,
    ) -> None:
        """batch_bytes: size of a batch's images. Raises `RunError` when shared memory does not hold the batches."""
        self._tickets = BatchTickets()
        self._loader: DataLoader = DataLoader(
            samples,
            batch_sampler=self._tickets,
            collate_fn=_unchanged,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=worker_init,
            prefetch_factor=_prefetch(num_workers, batch_bytes) if num_workers else None,
            generator=torch.Generator(),  # else PyTorch would draw from the process's own
        )
        self._iterator: Any = None

    @property
    def are_running(self) -> bool:
        """Whether no new workers must be started for the next interval."""
        return self._iterator is not None

    def batches(self, tickets: Any) -> Iterator[Loaded]:
        """The batches of these tickets, one interval. The workers run when this returns.

        Iterating raises the `RunError` of a worker.
        """
        self._tickets.set(tickets)
        with nullcontext() if self.are_running else _one_opencv_thread():
            self._iterator = iter(self._loader)
        return self._received(self._iterator)

    def _received(self, iterator: Iterator[Loaded | RunError]) -> Iterator[Loaded]:
        for found in iterator:
            if isinstance(found, RunError):
                raise RunError(*found.args)  # a frame that holds its own exception lingers, and its workers too
            yield found

    def close(self) -> None:
        """End the worker processes, whoever still holds the loader, such as the frames of an error on its way out."""
        iterator, self._iterator = self._iterator, None
        self._loader._iterator = None  # persistent workers would be resumed, though they have ended
        if hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()


def _prefetch(num_workers: int, batch_bytes: int) -> int:
    """Batches that each worker may load ahead, by what shared memory holds."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:  # a platform that keeps shared memory elsewhere
        return PREFETCH
    free = status.f_bavail * status.f_frsize // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fits = (free // batch_bytes - IN_USE) // num_workers
    if fits < 1:
        needed = batch_bytes * (IN_USE + num_workers)
        raise RunError(
            f"{num_workers} loader workers need {quantity(needed, BYTE_UNITS)} of shared memory for their batches, and "
            f"{SHARED_MEMORY} has {quantity(free, BYTE_UNITS)}: give the container more (--shm-size 1g), or load "
            "without workers (--workers 0)"
        )
    return min(PREFETCH, fits)


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _unchanged(batch: Any) -> Any:
    """The samples of a batch come as one: nothing is left to collate."""
    return batch
