"""The feed: everything that supplies batches, between the quotas of an interval and the images on the device.

Which source serves a task is decided at a border and frozen for the interval, in its record. A row that is lost within
an interval is replaced by another of the same dataset: the first of the ticket's candidates that is not in the logged
list of lost rows and can be read. The list is part of the state, so a resumed run goes on exactly.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from shared.errors import RunError
from train.degrade import Degrader
from train.pool import Pool
from train.settings import Settings
from train.sources import Batch, Lost, TicketDataset, batches, make_loader
from train.tasks import Task
from train.tickets import RowOrder, Supply, Ticket, TicketSampler


def choose_source(
    wanted: str, rows: int, read: int, quota: int, max_repeats: float | None, has_accelerator: bool
) -> str:
    """The source of one task for one interval: shards, fly or gpu.

    wanted: that, or auto. rows: of its shards. read: samples taken from them before. quota: samples of the interval.
    """
    if wanted != "auto":
        return wanted
    enough = rows > 0 and (max_repeats is None or read + quota <= max_repeats * rows)
    return "shards" if enough else "gpu" if has_accelerator else "fly"


class Feed:
    """Supplies one rank of one run."""

    def __init__(
        self,
        tasks: Sequence[Task],
        settings: Settings,
        device: torch.device,
        rank: int = 0,
        num_ranks: int = 1,
        pool: Pool | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        """pool: HR pictures for samples on the fly; without, they take the HR images of shards.

        state: what the feed must remember at a border, plain data that it keeps up to date: `read`, the samples that
        each task has taken from its shards so far. Raises `RunError` when some task can have no samples at all.
        """
        self.tasks, self.settings, self.device, self.pool = tasks, settings, device, pool
        self._read: dict[str, int] = ({} if state is None else state).setdefault("read", {})
        self._sampler = TicketSampler(settings.batch_size, rank, num_ranks)
        self._degrader = Degrader(tasks[0].scale, tasks[0].usm)
        self._stored = [number for number, task in enumerate(tasks) if task.num_rows]
        if settings.source == "shards" and len(self._stored) < len(tasks):
            missing = next(task.name for task in tasks if not task.num_rows)
            raise RunError(f"task {missing} has no shards: render some, or let it be served on the fly (--source auto)")
        if pool is None and not self._stored:
            raise RunError("there are no shards to take HR images from: give --hr DIR, a folder of pictures")
        self._orders = {n: self._order(n, tasks[n].name) for n in self._stored}
        self._hr_orders = {n: self._order(n, f"{tasks[n].name} HR") for n in self._stored}
        self._dataset = self._make_dataset(frozenset())
        self._loader = make_loader(self._dataset, self._sampler, settings.workers, device.type == "cuda")

    def _order(self, task: int, key: str) -> RowOrder:
        manifest = self.tasks[task].train_manifest
        assert manifest
        rows = [entry.nsamples for entry in manifest.shardlist]
        return RowOrder(rows, self.settings.seed, key, self.settings.window_shards)

    def _make_dataset(self, lost: frozenset[tuple[int, int]]) -> TicketDataset:
        num_rows = [task.num_rows for task in self.tasks]
        return TicketDataset(self.tasks, self.settings.seed, self.settings.flip, num_rows, lost, self.pool)

    # ---- at a border

    def decide(self, quotas: Sequence[int]) -> dict[str, Any]:
        """What the interval's record says of data: the source of each task, and nothing lost yet."""
        settings, accelerated = self.settings, self.device.type != "cpu"
        sources = [
            choose_source(
                settings.source,
                task.num_rows,
                self._read.get(task.name, 0),
                quota,
                settings.max_repeats,
                accelerated,
            )
            for task, quota in zip(self.tasks, quotas, strict=True)
        ]
        return {"sources": sources, "lost": [], "substituted": [0] * len(quotas)}

    def upcoming(self, task: int, before: int, count: int) -> Batch:
        """The first samples of a task's next interval, `before` having been trained; nothing is consumed or noted."""
        quotas = [count] * len(self.tasks)
        supply = self._supply(task, {**self.decide(quotas), "quotas": quotas}, before)
        rows = zip(supply.owners.tolist(), supply.rows.tolist(), strict=True)
        return self._dataset.batch([Ticket(task, before + i, supply.source, *row) for i, row in enumerate(rows)])

    def fallback(self, counts: Sequence[int], record: dict[str, Any]) -> dict[str, int]:
        """How many of so many samples of each task are made on the fly, as entries for the logs."""
        entries = zip(self.tasks, record["sources"], counts, strict=True)
        return {f"data/fallback/{task.name}": 0 if source == "shards" else n for task, source, n in entries}

    def close(self, record: dict[str, Any]) -> None:
        """Move the samples of a finished interval to the past, and count those made on the fly in its record."""
        record |= self.fallback(record["quotas"], record)
        for task, source, quota in zip(self.tasks, record["sources"], record["quotas"], strict=True):
            if source == "shards":
                self._read[task.name] = self._read.get(task.name, 0) + quota

    # ---- within an interval

    def interval(
        self, record: dict[str, Any], consumed: Sequence[int], interval: int, first_step: int
    ) -> Iterator[Batch]:
        """This rank's batches of an interval from `first_step` on, for the rows lost before it."""
        supplies = [self._supply(n, record, before) for n, before in enumerate(consumed)]
        self._sampler.start(record["quotas"], consumed, self.settings.seed, interval, first_step, supplies)
        return batches(self._loader)

    def _supply(self, task: int, record: dict[str, Any], before: int) -> Supply:
        source, quota, name = record["sources"][task], record["quotas"][task], self.tasks[task].name
        if source == "shards":
            rows = self._orders[task].take(self._read.get(name, 0), quota)
            return Supply(source, np.full(quota, task), rows)
        if self.pool:
            return Supply(source, np.full(quota, -1), np.full(quota, -1))
        owners = [task] if task in self._stored else self._stored
        return Supply(source, *self._spread(owners, before, quota))

    def _spread(self, owners: Sequence[int], before: int, quota: int) -> tuple[np.ndarray, np.ndarray]:
        """HR images of the stored rows of several tasks in turn."""
        ordinals = np.arange(before, before + quota)
        turn, rows = ordinals % len(owners), np.empty(quota, np.int64)
        for place, owner in enumerate(owners):
            mine = ordinals[turn == place] // len(owners)
            if len(mine):
                rows[turn == place] = self._hr_orders[owner].take(int(mine[0]), len(mine))
        return np.array(owners)[turn], rows

    def counts(self, step: int) -> np.ndarray:
        """Samples of each task in the global batch of a step of the interval."""
        return self._sampler.counts(step)

    def replace_lost(self, batch: Batch, record: dict[str, Any]) -> None:
        """Replace the samples that show rows which the record lists as lost since the batch was loaded."""
        lost = {(owner, row) for owner, row in record["lost"]}
        if not lost:
            return
        places = zip(batch.task.tolist(), batch.ordinal.tolist(), batch.owner.tolist(), batch.row.tolist(), strict=True)
        for index, (task, ordinal, owner, row) in enumerate(places):
            if (owner, row) in lost:
                source = record["sources"][task]
                self._dataset.put(batch, index, Ticket(task, ordinal, source, owner, row), lost)

    def note(self, found: Sequence[Lost], record: dict[str, Any]) -> None:
        """Enter what all ranks found lost in a step into the record.

        Raises `RunError` that names the shards when more samples of the interval than `max_damage` were replaced.
        """
        known = {(owner, row) for owner, row in record["lost"]}
        record["lost"] = sorted(known | {(entry.owner, entry.row) for entry in found})
        for task, _ in {(entry.task, entry.ordinal) for entry in found}:
            record["substituted"][task] += 1
        replaced, total = sum(record["substituted"]), sum(record["quotas"])
        if replaced > self.settings.max_damage * total:
            reasons = "; ".join(sorted({entry.reason for entry in found if entry.reason}))
            raise RunError(
                f"{replaced} of the interval's {total} samples had to be replaced because their rows are lost, more "
                f"than max_damage {self.settings.max_damage} allows: {reasons}"
            )

    def images(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """(lr, hr) of the batch on the device, uint8 [B, 3, h, w] and [B, 3, H, W], RGB."""
        return self._degrader.images(batch, self.device)
