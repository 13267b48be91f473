"""The mixing loader: batches whose counts of each task follow given weights exactly, over all ranks.

An interval is a number of steps with fixed quotas. Which source serves a task, and from how many rows, is decided when
the interval begins and holds until it ends. The state is a few kilobytes of JSON without a rank in it: with any number
of workers and ranks, a resumed interval yields the samples that an uninterrupted one would have.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import RunError, UsageError
from ..shards.cache import Prefetch, ShardCache
from ..shards.manifest import Manifest
from .degrade import Degrader
from .growth import GrowthWatch, require_unchanged
from .interval_record import IntervalRecord
from .pool import HRPool, find_pool
from .quotas import interval_quotas
from .ranks import Ranks
from .rows import DatasetVersion
from .samples import Loaded, LostRow, Samples, batch_bytes, images_of
from .sources import SOURCES, SourceRules, Sources
from .state import LoaderState
from .tasks import Task, open_tasks
from .tickets import IntervalTickets
from .workers import Workers


@dataclass(frozen=True)
class Batch:
    """One rank's part of a global batch; always complete.

    lr: uint8 [b, 3, h, w]. hr: uint8 [b, 3, H, W]. Both RGB, channels last in memory, on the loader's device if it has
    one. task, ordinal: int64 [b], number of the task in `MixingLoader.tasks`, and of the sample among all samples of
    that task. row: int64 [b], the stored row that the sample shows, or whose HR image it shows; -1 for none.
    """

    lr: torch.Tensor
    hr: torch.Tensor
    task: torch.Tensor
    ordinal: torch.Tensor
    row: torch.Tensor


class MixingLoader:
    """Yields batches of LR-HR pairs in which the number of samples of each task is exact over all ranks.

    loader = MixingLoader("shards", batch_size=48)
    for k in range(80):
        for batch in loader.interval({"mild": 0.4, "noise": 0.6}, steps=5000):
            train_step(batch.lr, batch.hr, batch.task)
        save(model, loader.state_dict())
    """

    def __init__(
        self,
        shards: str | Path,
        batch_size: int,
        *,
        tasks: str | Sequence[str] | Sequence[Task] | None = None,
        seed: int = 0,
        workers: int = 2,
        source: str = "auto",
        hr: str | Path | HRPool | None = None,
        patch: int | None = None,
        flip: bool = True,
        max_repeats: float | None = None,
        max_damage: float = 0.01,
        window_shards: int = 8,
        cache: str | Path | ShardCache | None = None,
        device: str | torch.device | None = None,
        pin_memory: bool = False,
        rank: int | None = None,
        num_ranks: int | None = None,
        gather: Callable[[Any], list] | None = None,
        worker_init: Callable[[int], None] | None = None,
    ) -> None:
        """Find the datasets and check that every task can be served.

        Args:
            shards: folder or url (s3, https, hf, ...) with one dataset a task, as `realsr render` makes them.
            batch_size: samples a step over all ranks; a multiple of their number.
            tasks: names of the tasks to use (default: all datasets; https cannot be listed, so name them there).
                Instead of names, `Task` objects may be given.
            seed: seed of the order of samples, flips and samples on the fly.
            workers: loader processes; 0 loads in this process.
            source: shards, fly (HR crops that workers degrade), gpu (HR crops degraded on `device`), or auto: shards,
                and for a task that has none or reaches `max_repeats` gpu if `device` is an accelerator, else fly.
            hr: HR images for fly and gpu: a folder, or photos (default: the HR images in the shards).
            patch: HR side of samples on the fly where no shards say it, pixels.
            flip: flip half of the samples horizontally.
            max_repeats: largest mean number of times that a stored row is used; then auto makes samples on the fly.
            max_damage: share of an interval's samples that may show another row because theirs cannot be read.
            window_shards: shards of a task that rows are drawn from at a time.
            cache: folder where shards from a url are kept, up to 64 GB (default: in the user's cache folder).
            device: where the images of a batch are put; without, they stay on the CPU.
            pin_memory: load into page-locked memory, for faster copies to a GPU.
            rank, num_ranks: this process among those that share each batch (default: as torch.distributed says).
            gather: `gather(value)` returns the values of all ranks in their order; called when an interval begins,
                when it ends, and in `refresh` (default: torch.distributed.all_gather_object).
            worker_init: called in each worker with its number.

        Raises `UsageError` (a ValueError) for settings that exclude each other, `RunError` (a RuntimeError) when there
        are no datasets or some task can have no samples.
        """
        self._ranks = Ranks(rank, num_ranks, gather)
        self.rank, self.num_ranks = self._ranks.rank, self._ranks.num_ranks
        if batch_size < 1 or batch_size % self.num_ranks:
            raise UsageError(f"batch_size is {batch_size}: it must be a multiple of the {self.num_ranks} processes")
        if source not in SOURCES:
            raise UsageError(f"source is {source!r}: it must be auto, shards, fly or gpu")
        if workers < 0 or window_shards < 1:
            raise UsageError(f"workers is {workers}, window_shards {window_shards}: at least 0 and 1 are needed")
        if source == "gpu" and device is None:
            raise UsageError("source is gpu: give the device that degrades, such as device='cuda'")
        self.batch_size, self.seed, self._flip = batch_size, seed, flip
        self.device = None if device is None else torch.device(device)
        accelerated = self.device is not None and self.device.type != "cpu"
        self._rules = SourceRules(seed, source, max_repeats, max_damage, window_shards, accelerated)
        self._num_workers, self._pin_memory, self._worker_init = workers, pin_memory, worker_init
        self._tasks = open_tasks(
            shards, tasks, on_the_fly=source in ("fly", "gpu") or hr is not None, patch=patch, cache=cache
        )
        self._pool = find_pool(str(hr), self._tasks, seed) if isinstance(hr, str | Path) else hr
        self._degrader = Degrader(self._tasks[0].scale, self._tasks[0].usm)
        stored = {task.name: task.train_manifest for task in self._tasks if task.train_manifest}
        versions = {name: [DatasetVersion.of(manifest, 0)] for name, manifest in stored.items()}
        self._state = LoaderState(self.tasks, versions, self._pool.identity() if self._pool else None)
        self._tickets: IntervalTickets | None = None
        self._in_hand = False
        self._iterators = 0
        self._growth = GrowthWatch()
        self._prefetch: Prefetch | None = None
        self._workers: Workers | None = None
        self._prepare()

    def __enter__(self) -> "MixingLoader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks; `Batch.task` numbers them."""
        return tuple(task.name for task in self._tasks)

    @property
    def interval_number(self) -> int:
        """Number of the current or next interval, from 0."""
        return self._state.interval

    @property
    def step(self) -> int:
        """Batches of the current interval that are done."""
        return self._state.step

    @property
    def record(self) -> IntervalRecord | None:
        """The current interval so far, or the last one once it has ended; None before the first."""
        record = self._state.record
        if record is None or self._tickets is None:
            return record
        return replace(record, delivered=self._tickets.delivered(self._state.step))

    # ---- intervals

    def interval(
        self,
        weights: Mapping[str, float] | Sequence[float] | None = None,
        steps: int | None = None,
        *,
        quotas: Mapping[str, int] | Sequence[int] | None = None,
    ) -> Iterator[Batch]:
        """This rank's batches of the next interval, or the rest of one that was left or restored.

        Args:
            weights: relative volume of each task, by name or in the order of `tasks`; a missing name is 0.
            steps: batches of the interval.
            quotas: samples of each task instead of weights; they sum to steps x batch_size.

        What rank 0 gives holds for all ranks. A batch is done when the next one is asked for or `state_dict` is called.
        Raises ValueError for arguments that are missing, unknown, or not those of the interval that is to be continued;
        `RunError` when shards cannot be had or more samples than `max_damage` allows had to be replaced.
        """
        self._finish_if_done()
        state, given = self._state, (weights, steps, quotas)

        def decide() -> tuple[dict[str, Any], IntervalRecord]:
            return state.identity(), self._continued(*given) if state.is_open else self._begun(*given)

        theirs, record = self._ranks.agree(decide)
        mine = state.identity()
        if differing := [name for name in mine if mine[name] != theirs[name]]:
            raise RunError(
                f"rank {self.rank} differs from rank 0 in {', '.join(differing)}: load the state of one checkpoint on "
                "all ranks, and call refresh() when datasets may have grown while the loaders were made"
            )
        tickets = self._sources.tickets(state, record, self.batch_size)
        if not state.is_open:
            state.begin(record)
        self._stop()
        self._tickets = tickets
        return self._batches(self._load(tickets, record), self._iterators)

    def _load(self, tickets: IntervalTickets, record: IntervalRecord) -> Iterator[Loaded]:
        """Start loading the rest of the interval, and fetching the remote shards that it needs."""
        assert self._workers
        first = self._state.step
        mine = (tickets.batch(step, self.rank, self.num_ranks) for step in range(first, tickets.steps))
        if self._prefetch and not self._workers.are_running:
            self._prefetch.join()  # workers are forked from a quiet process, before there are threads that fetch
        self._prefetch, loaded = None, self._workers.batches(mine)
        requests = self._sources.requests(self._state, record, tickets)
        if requests:
            cache = next(task.cache for task in self._tasks if task.cache)
            self._prefetch = Prefetch(cache, [each for each in requests if each.last >= first], first)
        return loaded

    def _batches(self, loaded: Iterator[Loaded], number: int) -> Iterator[Batch]:
        while True:
            if number != self._iterators:
                raise RunError(
                    "this iterator is out of date, since interval(), load_state_dict() or close() was called: go on "
                    "with a new one from interval()"
                )
            self._settle()
            found = next(loaded, None)
            if found is None:
                break
            if self._prefetch:
                self._prefetch.advance(self._state.step)
            self._note(found.lost)
            batch = self._complete(found)
            self._in_hand = True
            yield batch
        self._finish_if_done()

    def _settle(self) -> None:
        """Count the batch that was handed out as done."""
        self._state.step += self._in_hand
        self._in_hand = False

    def _finish_if_done(self) -> None:
        """Move a finished interval's samples to the past, with what all ranks found lost in it."""
        self._settle()
        state = self._state
        if state.is_open and state.step == state.steps:
            self._stop()
            state.end(self._ranks.gather((state.lost_now, state.substituted)))
            self._tickets = None

    def _stop(self) -> None:
        """Let no iterator go on, and fetch no further shards."""
        self._iterators += 1
        if self._prefetch:
            self._prefetch.stop()

    def _complete(self, found: Loaded) -> Batch:
        """The batch with all of its LR images, on the loader's device."""
        task, ordinal, row = torch.from_numpy(found.columns)
        lr, hr = images_of(found.memory, len(task), self._tasks[0].patch, self._tasks[0].scale)
        if self.device is not None:
            lr, hr = self._degrader.complete(lr, hr, found.pending, self.device)
        return Batch(lr, hr, task, ordinal, row)

    def _note(self, lost: Sequence[LostRow]) -> None:
        """Enter rows that could not be read. Raises `RunError` that names them when they are too many."""
        if not lost:
            return
        self._state.note(lost)
        replaced, total = sum(self._state.substituted), self._state.steps * self.batch_size // self.num_ranks
        if replaced > self._rules.max_damage * total:
            reasons = "; ".join(sorted({entry.reason for entry in lost if entry.reason}))
            raise RunError(
                f"{replaced} of the interval's {total} samples had to be replaced because their rows are lost, more "
                f"than max_damage {self._rules.max_damage} allows: {reasons}"
            )

    def _begun(self, weights: Any, steps: int | None, quotas: Any) -> IntervalRecord:
        """The record of the interval that begins."""
        counts = interval_quotas(self.tasks, self.batch_size, weights, steps, quotas)
        return self._sources.decide(self._state, counts, sum(counts) // self.batch_size)

    def _continued(self, weights: Any, steps: int | None, quotas: Any) -> IntervalRecord:
        """The record of the interval that is under way. Raises ValueError when other arguments are given."""
        record = self._state.record
        assert record
        asked, length = record.quotas, record.steps if steps is None else steps
        if weights is not None or quotas is not None:
            asked = interval_quotas(self.tasks, self.batch_size, weights, length, quotas)
        if (asked, length) != (record.quotas, record.steps):
            raise UsageError(
                f"interval {record.interval} is at step {self._state.step} of {record.steps} with quotas "
                f"{record.quotas}: finish it first, by interval() with the same arguments or none"
            )
        return record

    # ---- beside intervals

    def peek(self, task: str, count: int) -> Batch:
        """The first `count` samples that a task trains next; nothing is consumed. Other ranks need not call it."""
        if task not in self.tasks:
            raise UsageError(f"unknown task {task!r}: the tasks are {', '.join(self.tasks)}")
        counts, state, now = [count if name == task else 0 for name in self.tasks], self._state, self.record
        if now and state.is_open:
            state = state.after(now.delivered)
            record = replace(now, quotas=counts)
        else:
            record = self._sources.decide(state, counts, 1)
        tickets = self._sources.tickets(state, record, count)
        return self._complete(self._samples.batch(tickets.batch(0)))

    def refresh(self) -> dict[str, int]:
        """Take up rows that were added to the datasets, as rank 0 finds them. Returns how many, by task.

        All ranks must call it, between two intervals. Raises `RunError` when a dataset has changed in another way; what
        cannot be read now is looked for at the next call.
        """
        self._finish_if_done()
        if self._state.is_open:
            raise RunError("rows are taken up between two intervals: finish this one before refresh()")
        before = self._state.versions
        others = self._ranks.gather(before)
        differing = {name for name in before if any(other.get(name) != before[name] for other in others)}
        manifests, versions = self._ranks.agree(lambda: self._look(differing))
        if manifests:
            self._tasks = [
                replace(each, train_manifest=manifests.get(each.name, each.train_manifest)) for each in self._tasks
            ]
            self._state.versions = versions
            self._prepare()
        return {
            name: versions[name][-1].rows - before[name][-1].rows
            for name in manifests
            if versions[name][-1].rows > before[name][-1].rows
        }

    def _look(self, differing: set[str]) -> tuple[dict[str, Manifest], dict[str, list[DatasetVersion]]]:
        """Manifests of the datasets that have grown or that differ between ranks, and all versions with them."""
        grown, versions = self._growth.look(self._tasks, self._state), dict(self._state.versions)
        for name, manifest in grown.items():
            versions[name] = [*versions[name], DatasetVersion.of(manifest, self._state.read.get(name, 0))]
        known = {task.name: task.train_manifest for task in self._tasks if task.train_manifest}
        return {**{name: known[name] for name in differing}, **grown}, versions

    def _prepare(self) -> None:
        """Make everything that depends on which rows there are."""
        self.close()
        first, window = self._tasks[0], self._rules.window_shards
        self._sources = Sources(self._tasks, self._state, self._pool, self._rules)
        rows = self._sources.num_rows
        self._samples = Samples(self._tasks, self.seed, self._flip, rows, self._pool, 2 * window)
        size = batch_bytes(self.batch_size // self.num_ranks, first.patch, first.scale)
        self._workers = Workers(self._samples, self._num_workers, size, self._pin_memory, self._worker_init)

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """The state as plain data for JSON; the batch in hand counts as done. It may be called on one rank alone.

        After the last batch of an interval it is the state at the beginning of the next one.
        """
        self._settle()
        return {"seed": self.seed, "batch_size": self.batch_size, **self._state.to_json(self.record)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, which may come from another number of workers and ranks; all ranks load the same one.

        Raises `UsageError` (a ValueError) for the state of a loader with another seed, batch size or other tasks,
        `RunError` for a damaged state, and when a dataset is not the one that the state was saved with.
        """
        restored = LoaderState.from_json(state, self.rank)
        for name, value in (("seed", self.seed), ("batch_size", self.batch_size), ("tasks", list(self.tasks))):
            if state.get(name) != value:
                raise UsageError(f"the state has {name} {state.get(name)}, this loader {value}: they must be the same")
        if sum(restored.quotas) != restored.steps * self.batch_size:
            raise RunError("the state of the loader is damaged: the quotas of its record do not fill its steps")
        require_unchanged(self._tasks, restored)
        if restored.hr != self._state.hr:
            raise RunError("the HR images are not those that the state was saved with: give the same hr")
        self._in_hand, self._tickets, self._state, self._growth = False, None, restored, GrowthWatch()
        self._prepare()

    def close(self) -> None:
        """End the worker processes. A loader that is never closed ends with its process."""
        self._stop()
        if self._workers:
            self._workers.close()
