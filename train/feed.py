"""The feed: everything that supplies batches, between the quotas of an interval and the images on the device.

Which source serves a task, and from how many rows, is decided at a boundary and frozen for the interval. A row that is
lost within an interval is replaced by another of the same dataset: the first of the ticket's candidates that is not in
the logged list of lost rows and can be read. The list is part of the state, so a resumed run goes on exactly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from shared.errors import RunError
from shared.mixing.availability import missing_shards, wanted_shards
from shared.mixing.degrade import Degrader
from shared.mixing.generations import Generation, GrowingOrder, generation_of
from shared.mixing.pool import Pool
from shared.mixing.sources import Batch, Lost, TicketDataset, batches, make_loader
from shared.mixing.tasks import Task, read_manifest
from shared.mixing.tickets import Supply, Ticket, TicketSampler
from shared.shards.cache import Prefetch, ShardRequest
from shared.shards.manifest import MANIFEST, Manifest
from shared.storage.remote import Found, Remote, RetryPolicy, info
from train.settings import TrainSettings

NAMED = 20
"""Missing shards of a task that a record names."""


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
        settings: TrainSettings,
        device: torch.device,
        rank: int = 0,
        num_ranks: int = 1,
        pool: Pool | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        """pool: HR pictures for samples on the fly; without, they take the HR images of shards.

        state: what the feed must remember at a boundary, plain data that it keeps up to date: `read`, the samples that
        each task has taken from its shards so far; `generations`, when it took up which rows of its dataset.
        Raises `RunError` when some task can have no samples at all.
        """
        state = {} if state is None else state
        self.tasks, self.settings, self.device, self.pool = list(tasks), settings, device, pool
        self._read: dict[str, int] = state.setdefault("read", {})
        self._generations: dict[str, list[dict[str, Any]]] = state.setdefault("generations", {})
        self._seen: dict[str, Found] = {}
        self._prefetch: Prefetch | None = None
        self._sampler = TicketSampler(settings.batch_size, rank, num_ranks)
        self._degrader = Degrader(tasks[0].scale, tasks[0].usm)
        self._stored = [number for number, task in enumerate(tasks) if task.num_rows]
        if settings.source == "shards" and len(self._stored) < len(tasks):
            missing = next(task.name for task in tasks if not task.num_rows)
            raise RunError(f"task {missing} has no shards: render some, or let it be served on the fly (--source auto)")
        if pool is None and not self._stored:
            raise RunError("there are no shards to take HR images from: give --hr DIR, a folder of pictures")
        for number in self._stored:
            self._generations.setdefault(tasks[number].name, [self._generation(number).plain()])
        self._prepare()

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *error: object) -> None:
        """End the loader's processes, whoever still holds them, such as the frames of an error on its way out.

        Python itself sends each one SIGTERM when it ends, which they let pass, and then waits for them for ever.
        """
        iterator: Any = self._loader._iterator
        if iterator is not None:
            iterator._shutdown_workers()

    def _generation(self, task: int) -> Generation:
        """The one that would begin now."""
        manifest, name = self.tasks[task].train_manifest, self.tasks[task].name
        assert manifest
        return generation_of(manifest, self._read.get(name, 0))

    def _prepare(self) -> None:
        """Everything that depends on which rows there are."""
        if self._prefetch:
            self._prefetch.join()  # new workers are forked from a quiet process
        self._orders = {number: self._order(number) for number in self._stored}
        self._hr_orders = {number: self._order(number, hr=True) for number in self._stored}
        window, names = self.settings.window_shards, [task.name for task in self.tasks]
        self._num_rows = [self._generations[name][-1]["rows"] if name in self._generations else 0 for name in names]
        self._dataset = TicketDataset(
            self.tasks, self.settings.seed, self.settings.flip, self._num_rows, frozenset(), self.pool, 2 * window
        )
        workers, on_gpu = self.settings.workers, self.device.type == "cuda"
        self._loader = make_loader(self._dataset, self._sampler, workers, on_gpu)

    def _order(self, task: int, hr: bool = False) -> GrowingOrder:
        """The order of a task's rows; of HR images alone, which are not counted, always that of the last generation."""
        name, manifest = self.tasks[task].name, self.tasks[task].train_manifest
        assert manifest
        generations = [Generation(**each) for each in self._generations[name]]
        options = manifest, self.settings.seed, f"{name} HR" if hr else name, self.settings.window_shards
        return GrowingOrder(generations[-1:] if hr else generations, *options)

    # ---- at a boundary

    def look(self) -> list[Manifest | None]:
        """For each task the manifest of its shards, if they have grown since. Any other change is a `RunError`.

        What cannot be read now is looked for at the next boundary.
        """
        return [self._grown(number) if number in self._stored else None for number in range(len(self.tasks))]

    def _grown(self, number: int) -> Manifest | None:
        task = self.tasks[number]
        assert task.train is not None
        retry = task.cache.retry if task.cache else RetryPolicy()
        try:
            found = retry(lambda: info(task.train / MANIFEST))  # type: ignore[operator]
            if found == self._seen.get(task.name):
                return None
            now = read_manifest(task.train, retry)
        except (RunError, OSError):
            return None
        self._seen[task.name] = found
        last = Generation(**self._generations[task.name][-1])
        if not last.is_before(now) and not last.is_that_of(now):
            raise RunError(f"dataset {task.name}/train has changed since the run was begun: use another --run")
        return now if last.is_before(now) else None

    def adopt(self, grown: Sequence[Manifest | None]) -> None:
        """From the next interval on, draw from these rows too. All ranks do so together."""
        for number, manifest in enumerate(grown):
            if manifest:
                self.tasks[number] = replace(self.tasks[number], train_manifest=manifest)
                self._generations[self.tasks[number].name].append(self._generation(number).plain())
        if any(grown):
            self._prepare()

    def decide(self, quotas: Sequence[int]) -> dict[str, Any]:
        """What the interval's record says of data: the source of each task, its rows, and nothing lost yet.

        Where `auto` may choose, a task too many of whose coming rows are in shards that cannot be had is served on the
        fly; fewer are replaced one by one.
        """
        settings, accelerated = self.settings, self.device.type != "cpu"
        record: dict[str, Any] = {"sources": [], "rows": self._num_rows, "missing": {}}
        for number, (task, quota) in enumerate(zip(self.tasks, quotas, strict=True)):
            rows, read = self._num_rows[number], self._read.get(task.name, 0)
            order = self._orders.get(number)
            visits = order.visits(read) if order else 0
            source = choose_source(settings.source, rows, visits, quota, settings.max_repeats, accelerated)
            if order and source == "shards" and settings.source == "auto":
                missing = missing_shards(task, order.take(read, quota))
                if sum(missing.values()) > settings.max_damage * quota:
                    source = choose_source("auto", 0, 0, quota, None, accelerated)
                    record["missing"][task.name] = list(missing)[:NAMED]
            record["sources"].append(source)
        return {**record, "lost": [], "substituted": [0] * len(quotas)}

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
        stream = batches(self._loader)  # its workers are forked before there are other threads
        wanted = wanted_shards(self.tasks, *self._sampler.places, self.settings.batch_size)
        wanted += self._beyond(record)
        return self._fetching(stream, wanted, first_step) if wanted else stream

    def _beyond(self, record: dict[str, Any]) -> list[ShardRequest]:
        """The shards of the next windows, which the coming interval will want first."""
        wanted: list[ShardRequest] = []
        never = sum(record["quotas"]) // self.settings.batch_size
        for number in self._stored:
            task, source = self.tasks[number], record["sources"][number]
            if source == "shards" and isinstance(task.train, Remote) and task.train_manifest:
                most = max(entry.nsamples for entry in task.train_manifest.shardlist)
                first = self._read.get(task.name, 0) + record["quotas"][number]
                rows = self._orders[number].take(first, self.settings.window_shards * most)
                coming = wanted_shards(self.tasks, np.full(len(rows), number), rows, 1)
                wanted += [each._replace(first=never, last=never) for each in coming]
        return wanted

    def _fetching(self, stream: Iterator[Batch], wanted: list[ShardRequest], step: int) -> Iterator[Batch]:
        """The same batches, while their shards are fetched ahead of them."""
        cache = next(task.cache for task in self.tasks if task.cache)
        self._prefetch = prefetch = Prefetch(cache, [each for each in wanted if each.last >= step], step)
        try:
            for step, batch in enumerate(stream, step):  # noqa: B020
                prefetch.advance(step)
                yield batch
        finally:
            prefetch.stop()

    def _supply(self, task: int, record: dict[str, Any], before: int) -> Supply:
        source, quota, name = record["sources"][task], record["quotas"][task], self.tasks[task].name
        if source == "shards":
            rows = self._orders[task].take(self._read.get(name, 0), quota)
            return Supply(source, np.full(quota, task), rows)
        if self.pool:
            return Supply(source, np.full(quota, -1), np.full(quota, -1))
        whole = [number for number in self._stored if self.tasks[number].name not in record.get("missing", {})]
        if not whole:
            named = ", ".join(name for names in record["missing"].values() for name in names)
            raise RunError(f"no task has shards to take HR images from, missing are {named}: restore them or give --hr")
        return Supply(source, *self._spread([task] if task in whole else whole, before, quota))

    def _spread(self, owners: Sequence[int], before: int, quota: int) -> tuple[np.ndarray, np.ndarray]:
        """HR images of the stored rows of several tasks in turn."""
        ordinals = np.arange(before, before + quota)
        turn, rows = ordinals % len(owners), np.empty(quota, np.int64)
        for place, owner in enumerate(owners):
            mine = ordinals[turn == place] // len(owners)
            if len(mine):
                rows[turn == place] = self._hr_orders[owner].take(int(mine[0]), len(mine))
        return np.array(owners)[turn], rows

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
