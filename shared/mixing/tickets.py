"""Tickets: which sample of which task comes next, by arithmetic alone.

One DataLoader epoch is one interval. The main process turns quotas into tickets (task, ordinal); a worker resolves a
ticket to a row without any state, so the same tickets give the same samples with any number of workers or processes.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from ..seeds import permutation
from .quotas import order


class Ticket(NamedTuple):
    """The `ordinal`-th sample that task `task` delivers, counted from the beginning of the run.

    source: shards, fly or gpu. row: the stored row that it shows (for fly and gpu, whose HR image it shows), in the
    shards of task `owner`; both are -1 for a crop of the HR pool.
    """

    task: int
    ordinal: int
    source: str = "shards"
    owner: int = -1
    row: int = -1


class Supply(NamedTuple):
    """Where a task's samples of one interval come from; owners, rows: int64 [quota], as in `Ticket`."""

    source: str
    owners: np.ndarray
    rows: np.ndarray


class TicketSampler(Sampler[list[Ticket]]):
    """Batch sampler of one interval at a time; `start` sets the interval, iterating yields this rank's batches.

    The loader that uses it is *not* given to `accelerator.prepare`: a rank takes its own slice of each global batch.
    """

    def __init__(self, batch_size: int, rank: int = 0, num_ranks: int = 1) -> None:
        """batch_size: global batch. Raises ValueError when the ranks cannot share it evenly."""
        if batch_size % num_ranks:
            raise ValueError(f"batch_size is {batch_size}: it must be a multiple of the {num_ranks} processes")
        self.batch_size, self.rank, self.num_ranks = batch_size, rank, num_ranks
        self._columns = np.empty((4, 0), np.int64)
        self._sources: list[str] = []
        self._first_step = 0

    def start(
        self,
        quotas: Sequence[int],
        consumed: Sequence[int],
        seed: int,
        interval: int,
        first_step: int = 0,
        supplies: Sequence[Supply] | None = None,
    ) -> None:
        """Set the interval. consumed: samples of each task before it. first_step: steps of it that are done already.

        supplies: where each task's samples come from (default: nowhere yet). Raises ValueError for a part of a batch.
        """
        if sum(quotas) % self.batch_size:
            raise ValueError(f"quotas sum to {sum(quotas)}: not a multiple of the batch size {self.batch_size}")
        slots = order(quotas, seed, interval)
        columns = np.full((4, len(slots)), -1, np.int64)
        columns[0] = slots
        for task, before in enumerate(consumed):
            mine = slots == task
            columns[1, mine] = before + np.arange(quotas[task])
            if supplies:
                columns[2, mine], columns[3, mine] = supplies[task].owners, supplies[task].rows
        self._columns, self._first_step = columns, first_step
        self._sources = [supply.source for supply in supplies] if supplies else ["shards"] * len(quotas)

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Owner and row of every slot of the interval, int64 [slots], as in `Ticket`."""
        return self._columns[2], self._columns[3]

    def batch(self, step: int) -> list[Ticket]:
        """This rank's tickets of one step of the interval."""
        first = step * self.batch_size
        mine = self._columns[:, first + self.rank : first + self.batch_size : self.num_ranks]
        return [Ticket(task, ordinal, self._sources[task], *place) for task, ordinal, *place in mine.T.tolist()]

    def __len__(self) -> int:
        return self._columns.shape[1] // self.batch_size - self._first_step

    def __iter__(self) -> Iterator[list[Ticket]]:
        return map(self.batch, range(self._first_step, self._first_step + len(self)))


class RowOrder:
    """The row of every ordinal of one task: each row once per epoch, in a keyed order with a bounded working set.

    Per epoch the shards are permuted and taken `window` at a time; within a window all rows are permuted together. So
    at any moment rows come from at most `window` shards.
    """

    def __init__(self, shard_rows: Sequence[int], seed: int, task: str, window: int) -> None:
        """shard_rows: rows of each shard. task: its name, part of the key."""
        self._starts = np.concatenate([[0], np.cumsum(shard_rows)])
        self._rows = np.asarray(shard_rows)
        self._key = (seed, "rows", task)
        self._window = window
        self._epoch_windows = lru_cache(maxsize=2)(self._make_windows)
        self._window_rows = lru_cache(maxsize=2)(self._make_rows)

    def take(self, first: int, count: int) -> np.ndarray:
        """Rows, by their number in the dataset, of the ordinals first .. first + count - 1, int64 [count]."""
        parts, end = [np.empty(0, np.int64)], first + count
        while first < end:
            epoch, position = divmod(first, int(self._starts[-1]))
            _, ends = self._epoch_windows(epoch)
            window = int(np.searchsorted(ends, position, side="right"))
            before = int(ends[window - 1]) if window else 0
            parts.append(self._window_rows(epoch, window)[position - before :][: end - first])
            first += len(parts[-1])
        return np.concatenate(parts)

    def _make_windows(self, epoch: int) -> tuple[list[np.ndarray], np.ndarray]:
        """The shards of each window of an epoch, and the position where each window ends."""
        shards = permutation(len(self._rows), *self._key, epoch)
        windows = [shards[i : i + self._window] for i in range(0, len(shards), self._window)]
        return windows, np.cumsum([self._rows[window].sum() for window in windows])

    def _make_rows(self, epoch: int, window: int) -> np.ndarray:
        shards = self._epoch_windows(epoch)[0][window]
        rows = np.concatenate([np.arange(self._starts[shard], self._starts[shard + 1]) for shard in shards])
        return rows[permutation(len(rows), *self._key, epoch, window)]
