"""Tickets: which sample of which task comes next, by arithmetic alone.

A ticket holds integers only, and resolving it needs no state. So the same quotas give the same samples with any number
of loader workers and of processes.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..seeds import Draws
from .quotas import order

CANDIDATES = 16
"""Rows that are tried for one sample. When so many cannot be read, the dataset is lost."""


class Ticket(NamedTuple):
    """The `ordinal`-th sample that task number `task` delivers, counted from the beginning of the run.

    source: shards, fly or gpu. row: the stored row that the sample shows (for fly and gpu, whose HR image it shows), in
    the shards of task number `owner`; both are -1 for a crop from the HR pool.
    """

    task: int
    ordinal: int
    source: str
    owner: int = -1
    row: int = -1


class Supply(NamedTuple):
    """Where the samples of one task come from in one interval. owners, rows: int64 [quota], as in `Ticket`."""

    source: str
    owners: np.ndarray
    rows: np.ndarray


class IntervalTickets:
    """All tickets of one interval; iterating gives those of one rank, a list for each batch.

    Each rank takes its slice of every global batch, so a data loader that uses this must not be sharded again, for
    example by `accelerator.prepare`.
    """

    def __init__(
        self,
        quotas: Sequence[int],
        supplies: Sequence[Supply],
        consumed: Sequence[int],
        batch_size: int,
        seed: int,
        interval: int,
    ) -> None:
        """consumed: samples of each task before the interval. batch_size: global batch."""
        self.batch_size, self.slots = batch_size, order(quotas, seed, interval)
        self._sources = [supply.source for supply in supplies]
        columns = np.full((4, len(self.slots)), -1, np.int64)
        columns[0] = self.slots
        for task, (supply, before) in enumerate(zip(supplies, consumed, strict=True)):
            mine = self.slots == task
            columns[1, mine] = before + np.arange(quotas[task])
            columns[2, mine], columns[3, mine] = supply.owners, supply.rows
        self._columns = columns

    @property
    def owners(self) -> np.ndarray:
        """Owner of every slot, int64 [slots], as in `Ticket`."""
        return self._columns[2]

    @property
    def rows(self) -> np.ndarray:
        """Row of every slot, int64 [slots], as in `Ticket`."""
        return self._columns[3]

    @property
    def steps(self) -> int:
        """Batches of the interval."""
        return len(self.slots) // self.batch_size

    def batch(self, step: int, rank: int = 0, num_ranks: int = 1) -> list[Ticket]:
        """The tickets of one rank at one step of the interval."""
        first = step * self.batch_size
        mine = self._columns[:, first + rank : first + self.batch_size : num_ranks]
        return [Ticket(task, ordinal, self._sources[task], *place) for task, ordinal, *place in mine.T.tolist()]

    def skip(self, lost: Collection[tuple[int, int]], seed: int, names: Sequence[str], num_rows: Sequence[int]) -> None:
        """Let the tickets of rows that are known to be lost show the next of their candidates.

        lost: (owner, row). names, num_rows: of each task. A worker that cannot read that row either goes through the
        same candidates, so a sample does not depend on what was known of its rows.
        """
        if not lost:
            return
        rows_lost = np.array(sorted(lost), np.int64)
        for owner in np.unique(rows_lost[:, 0]):
            bad = rows_lost[rows_lost[:, 0] == owner, 1]
            for slot in np.flatnonzero((self.owners == owner) & np.isin(self.rows, bad)).tolist():
                task, ordinal, _, row = self._columns[:, slot].tolist()
                ticket = Ticket(task, ordinal, self._sources[task], int(owner), row)
                choices = candidates(ticket, seed, names[task], num_rows[owner])
                self._columns[3, slot] = next((each for each in choices if (int(owner), each) not in lost), row)

    def delivered(self, steps: int) -> list[int]:
        """Samples of each task in the first `steps` batches, over all ranks."""
        return np.bincount(self.slots[: steps * self.batch_size], minlength=len(self._sources)).tolist()


def candidates(ticket: Ticket, seed: int, task: str, num_rows: int) -> Iterator[int]:
    """Rows that a ticket may show: its own, then rows of the same dataset drawn for this ticket alone.

    task: name of the ticket's task. num_rows: of the owner's dataset. The first row that can be read is shown.
    """
    yield ticket.row
    draws = Draws(seed, "substitute", task, ticket.ordinal)
    for _ in range(CANDIDATES - 1):
        yield draws.integer(num_rows)


class BatchTickets:
    """The batch sampler of a `DataLoader` that is used for many intervals: what it yields is set before each pass."""

    def __init__(self) -> None:
        self._batches: Iterable[list[Ticket]] = ()

    def set(self, batches: Iterable[list[Ticket]]) -> None:
        """Set the tickets of each batch of the next pass."""
        self._batches = batches

    def __iter__(self) -> Iterator[list[Ticket]]:
        return iter(self._batches)
