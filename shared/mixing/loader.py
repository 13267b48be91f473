"""The mixing loader: batches whose counts of each task follow given weights exactly, over all ranks.

An interval is a number of steps with fixed quotas. Which source serves a task, and from how many rows, is decided when
the interval begins and holds until it ends. The state is a few kilobytes of JSON without a rank in it: with any number
of workers and ranks, a resumed interval yields the samples that an uninterrupted one would have.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ..errors import RunError, UsageError
from ..shards.cache import Prefetch, ShardCache, ShardRequest, default_folder
from ..shards.manifest import MANIFEST, Manifest
from ..storage.remote import Found, Place, Remote, RetryPolicy, info, place
from .degrade import Degrader
from .interval_record import IntervalRecord
from .pool import HRPool, find_pool
from .quotas import apportion
from .rows import DatasetVersion, GrowingOrder
from .samples import Loaded, LostRow, Samples, batch_bytes, images_of
from .state import LoaderState
from .supply import choose_source, coming_requests, missing_shards, shard_requests
from .tasks import Task, find_tasks, read_manifest
from .tickets import IntervalTickets, Supply
from .workers import Workers

T = TypeVar("T")
CACHE_BYTES = 64 * 10**9
NAMED = 20
"""Missing shards of a task that a record names."""


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
        tasks: Sequence[str] | Sequence[Task] | None = None,
        seed: int = 0,
        workers: int = 2,
        source: str = "auto",
        hr: str | HRPool | None = None,
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
            shards: folder or url (s3, https, hf, ...) with one dataset a task, as `gen.render` makes them.
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
        self.rank, self.num_ranks = _ranks(rank, num_ranks)
        self._gather = gather or _all_gather
        if self.num_ranks > 1 and gather is None and not _distributed():
            raise UsageError(f"num_ranks is {num_ranks}: give gather, or initialise torch.distributed first")
        if batch_size < 1 or batch_size % self.num_ranks:
            raise UsageError(f"batch_size is {batch_size}: it must be a multiple of the {self.num_ranks} processes")
        if source not in ("auto", "shards", "fly", "gpu"):
            raise UsageError(f"source is {source!r}: it must be auto, shards, fly or gpu")
        if source == "gpu" and device is None:
            raise UsageError("source is gpu: give the device that degrades, such as device='cuda'")
        self.batch_size, self.seed, self._source, self._flip = batch_size, seed, source, flip
        self._max_repeats, self._max_damage, self._window = max_repeats, max_damage, window_shards
        self.device = None if device is None else torch.device(device)
        self._num_workers, self._pin_memory, self._worker_init = workers, pin_memory, worker_init
        self._tasks = _tasks(place(str(shards)), tasks, source, hr, patch, cache)
        self._pool = find_pool(hr, self._tasks, seed) if isinstance(hr, str) else hr
        self._degrader = Degrader(self._tasks[0].scale, self._tasks[0].usm)
        self._stored = [number for number, task in enumerate(self._tasks) if task.num_rows]
        if source == "shards" and len(self._stored) < len(self._tasks):
            missing = next(task.name for task in self._tasks if not task.num_rows)
            raise RunError(f"task {missing} has no shards: render some, or let it be served on the fly (source auto)")
        if self._pool is None and not self._stored:
            raise RunError("there are no shards to take HR images from: give hr, a folder of HR images")
        versions = {self._tasks[number].name: [self._version(number, 0)] for number in self._stored}
        self._state = LoaderState(self.tasks, versions, self._pool.identity() if self._pool else None)
        self._tickets: IntervalTickets | None = None
        self._in_hand = False
        self._passes = 0
        self._seen: dict[str, Found] = {}
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
        self._settle()
        if self._state.is_open and self._state.step == self._state.steps:
            self._finish()
        given = (weights, steps, quotas)
        record = self._agree(lambda: self._continued(*given) if self._state.is_open else self._decide(*given))
        if not self._state.is_open:
            self._state.begin(record)
        elif (record.interval, record.quotas) != (self._state.interval, self._state.quotas):
            raise RunError("the ranks do not continue the same interval: give all of them the state of one checkpoint")
        self._tickets = self._make_tickets(record, self.batch_size)
        return self._batches(self._load(self._tickets, record))

    def _load(self, tickets: IntervalTickets, record: IntervalRecord) -> Iterator[Loaded]:
        """Start loading the rest of the interval, and fetching the remote shards that it needs."""
        assert self._workers
        first = self._state.step
        mine = (tickets.batch(step, self.rank, self.num_ranks) for step in range(first, tickets.steps))
        loaded = self._workers.batches(mine)  # workers are forked before there are threads that fetch
        requests = shard_requests(self._tasks, tickets) + self._coming(record)
        if requests:
            cache = next(task.cache for task in self._tasks if task.cache)
            self._prefetch = Prefetch(cache, [each for each in requests if each.last >= first], first)
        return loaded

    def _batches(self, loaded: Iterator[Loaded]) -> Iterator[Batch]:
        self._passes += 1
        return self._yielded(loaded, self._passes)

    def _yielded(self, loaded: Iterator[Loaded], number: int) -> Iterator[Batch]:
        for found in loaded:
            if number != self._passes:
                raise RunError("this interval was taken up again by another call of interval(): use its iterator")
            if self._prefetch:
                self._prefetch.advance(self._state.step)
            self._note(found.lost)
            batch = self._complete(found)
            self._in_hand = True
            yield batch
            self._settle()
        if number == self._passes and self._state.is_open:
            self._finish()

    def _settle(self) -> None:
        """Count the batch that was handed out as done."""
        self._state.step += self._in_hand
        self._in_hand = False

    def _finish(self) -> None:
        """Move the interval's samples to the past, with what all ranks found lost in it."""
        if self._prefetch:
            self._prefetch.stop()
        found = (self._state.lost_now, self._state.substituted)
        self._state.end(self._gather(found) if self.num_ranks > 1 else [found])
        self._tickets = None

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
        if replaced > self._max_damage * total:
            reasons = "; ".join(sorted({entry.reason for entry in lost if entry.reason}))
            raise RunError(
                f"{replaced} of the interval's {total} samples had to be replaced because their rows are lost, more "
                f"than max_damage {self._max_damage} allows: {reasons}"
            )

    # ---- what an interval is made of

    def _continued(self, weights: Any, steps: int | None, quotas: Any) -> IntervalRecord:
        """The record of the interval that is under way. Raises ValueError when other arguments are given."""
        record = self._state.record
        assert record
        if weights is not None or quotas is not None:
            steps = record.steps if steps is None else steps
            asked = self._quotas(weights, steps, quotas)
        else:
            asked = record.quotas
        if (steps or record.steps) != record.steps or asked != record.quotas:
            raise UsageError(
                f"interval {record.interval} is at step {self._state.step} of {record.steps} with quotas "
                f"{record.quotas}: finish it first, by interval() with the same arguments or none"
            )
        return record

    def _decide(self, weights: Any, steps: int | None, quotas: Any) -> IntervalRecord:
        """The record of the interval that begins: its quotas, and the source of each task.

        Where `auto` may choose, a task too many of whose coming rows are in shards that cannot be had is served on the
        fly; fewer are replaced one by one.
        """
        counts = self._quotas(weights, steps, quotas)
        sources, missing = [], {}
        for number, quota in enumerate(counts):
            source, absent = self._choose(number, quota)
            sources.append(source)
            if absent:
                missing[self._tasks[number].name] = absent
        n, length = len(counts), sum(counts) // self.batch_size
        record = (self._state.interval, length, list(self.tasks), counts, sources, self._num_rows, missing)
        return IntervalRecord(*record, [0] * n, [0] * n, [])

    def _choose(self, number: int, quota: int) -> tuple[str, list[str]]:
        """The source of a task for `quota` samples, and the shards for want of which it is not served from shards."""
        task, order = self._tasks[number], self._orders.get(number)
        accelerated = self.device is not None and self.device.type != "cpu"
        rows, read = self._num_rows[number], self._state.read.get(task.name, 0)
        visits = order.visits(read) if order else 0
        source = choose_source(self._source, rows, visits, quota, self._max_repeats, accelerated)
        if order and source == "shards" and self._source == "auto":
            missing = missing_shards(task, order.take(read, quota))
            if sum(missing.values()) > self._max_damage * quota:
                return choose_source("auto", 0, 0, quota, None, accelerated), list(missing)[:NAMED]
        return source, []

    def _quotas(self, weights: Any, steps: int | None, quotas: Any) -> list[int]:
        """Samples of each task. Raises `UsageError` (a ValueError) for arguments that give none."""
        if (weights is None) == (quotas is None):
            raise UsageError("an interval needs weights and steps, or quotas: give one of the two")
        values = self._by_task("weights" if quotas is None else "quotas", weights if quotas is None else quotas)
        if quotas is None:
            if steps is None or steps < 1:
                raise UsageError(f"steps is {steps}: an interval by weights needs a positive number of steps")
            try:
                return apportion(values, steps * self.batch_size)
            except ValueError as error:
                raise UsageError(str(error)) from None
        counts, total = [int(value) for value in values], sum(values)
        if (
            counts != values
            or min(counts) < 0
            or total == 0
            or total != (steps or total // self.batch_size) * (self.batch_size)
        ):
            raise UsageError(
                f"quotas are {values}: they must be integers, not negative, whose sum is "
                + (f"{steps} steps x " if steps else "a positive multiple of ")
                + f"batch_size {self.batch_size}"
            )
        return counts

    def _by_task(self, name: str, values: Any) -> list:
        """Values in the order of tasks."""
        if isinstance(values, Mapping):
            for key in values:
                if key not in self.tasks:
                    raise UsageError(f"{name} name a task {key!r}: the tasks are {', '.join(self.tasks)}")
            return [values.get(task, 0) for task in self.tasks]
        if len(values) != len(self._tasks):
            raise UsageError(f"{name} are {list(values)}: {len(self._tasks)} tasks need as many")
        return list(values)

    def _make_tickets(self, record: IntervalRecord, batch_size: int) -> IntervalTickets:
        """The tickets of an interval that begins now."""
        supplies = [self._supply(number, record) for number in range(len(self._tasks))]
        consumed = [self._state.consumed[name] for name in self.tasks]
        tickets = IntervalTickets(record.quotas, supplies, consumed, batch_size, self.seed, record.interval)
        tickets.skip(self._state.known_lost(self.tasks), self.seed, self.tasks, self._num_rows)
        return tickets

    def _supply(self, number: int, record: IntervalRecord) -> Supply:
        """Where the samples of a task come from in an interval."""
        source, quota, task = record.sources[number], record.quotas[number], self._tasks[number]
        if source == "shards":
            rows = self._orders[number].take(self._state.read.get(task.name, 0), quota)
            return Supply(source, np.full(quota, number), rows)
        if self._pool:
            return Supply(source, np.full(quota, -1), np.full(quota, -1))
        whole = [other for other in self._stored if self._tasks[other].name not in record.missing]
        if not whole:
            named = ", ".join(name for names in record.missing.values() for name in names)
            raise RunError(f"no task has shards to take HR images from, missing are {named}: restore them or give hr")
        owners = [number] if number in whole else whole
        return Supply(source, *self._hr_rows(owners, self._state.consumed[task.name], quota))

    def _hr_rows(self, owners: Sequence[int], before: int, quota: int) -> tuple[np.ndarray, np.ndarray]:
        """HR images of the stored rows of several tasks in turn: owner and row of each sample, int64 [quota]."""
        ordinals = np.arange(before, before + quota)
        turn, rows = ordinals % len(owners), np.empty(quota, np.int64)
        for position, owner in enumerate(owners):
            mine = ordinals[turn == position] // len(owners)
            if len(mine):
                rows[turn == position] = self._hr_orders[owner].take(int(mine[0]), len(mine))
        return np.array(owners)[turn], rows

    def _coming(self, record: IntervalRecord) -> list[ShardRequest]:
        """The shards of the next windows, which the coming interval needs first."""
        requests: list[ShardRequest] = []
        for number in self._stored:
            task = self._tasks[number]
            if record.sources[number] == "shards" and isinstance(task.train, Remote) and task.train_manifest:
                most = max(entry.nsamples for entry in task.train_manifest.shardlist)
                first = self._state.read.get(task.name, 0) + record.quotas[number]
                rows = self._orders[number].take(first, self._window * most)
                requests += coming_requests(task, rows, record.steps)
        return requests

    def _agree(self, decide: Callable[[], T]) -> T:
        """What rank 0 decides, on all ranks; its error is raised by all of them."""
        if self.num_ranks == 1:
            return decide()
        decided: list[Any] = [None, None]
        if self.rank == 0:
            try:
                decided[0] = decide()
            except (RunError, ValueError) as error:
                decided[1] = error
        value, refusal = self._gather(decided)[0]
        if refusal:
            raise refusal
        return value

    # ---- beside intervals

    def peek(self, task: str, count: int) -> Batch:
        """The first `count` samples that a task trains next; nothing is consumed. Other ranks need not call it."""
        if task not in self.tasks:
            raise UsageError(f"unknown task {task!r}: the tasks are {', '.join(self.tasks)}")
        number, nothing = self.tasks.index(task), [0] * len(self._tasks)
        source, missing = self._choose(number, count)
        counts, sources = list(nothing), ["shards" if order else "fly" for order in self._num_rows]
        counts[number], sources[number] = count, source
        absent = {task: missing} if missing else {}
        decided = (self._state.interval, 1, list(self.tasks), counts, sources, self._num_rows, absent)
        tickets = self._make_tickets(IntervalRecord(*decided, nothing, nothing, []), count)
        return self._complete(self._samples.batch(tickets.batch(0)))

    def refresh(self) -> dict[str, int]:
        """Take up rows that were added to the datasets. Returns how many, by task.

        All ranks must call it, between two intervals. Raises `RunError` when a dataset has changed in another way; what
        cannot be read now is looked for at the next call.
        """
        self._settle()
        if self._state.is_open:
            raise RunError("rows are taken up between two intervals: finish this one before refresh()")
        grown = self._agree(self._look)
        added: dict[str, int] = {}
        for number, manifest in enumerate(grown):
            if manifest:
                task = self._tasks[number]
                added[task.name] = manifest.rows - self._num_rows[number]
                self._tasks[number] = replace(task, train_manifest=manifest)
                version = self._version(number, self._state.read.get(task.name, 0))
                self._state.versions[task.name].append(version)
        if added:
            self._prepare()
        return added

    def _look(self) -> list[Manifest | None]:
        """For each task the manifest of its shards, if they have grown since."""
        return [self._grown(number) if number in self._stored else None for number in range(len(self._tasks))]

    def _grown(self, number: int) -> Manifest | None:
        task = self._tasks[number]
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
        last = self._state.versions[task.name][-1]
        if not last.has_grown_to(now) and not last.is_current(now):
            raise RunError(f"dataset {task.name}/train has changed since the run was begun: use another --run")
        return now if last.has_grown_to(now) else None

    def _version(self, number: int, first: int) -> DatasetVersion:
        manifest = self._tasks[number].train_manifest
        assert manifest
        return DatasetVersion.of(manifest, first)

    def _prepare(self) -> None:
        """Make everything that depends on which rows there are."""
        self.close()
        if self._prefetch:
            self._prefetch.join()  # new workers are forked from a quiet process
        self._orders = {number: self._order(number) for number in self._stored}
        self._hr_orders = {number: self._order(number, hr=True) for number in self._stored}
        versions = self._state.versions
        self._num_rows = [versions[name][-1].rows if name in versions else 0 for name in self.tasks]
        first = self._tasks[0]
        self._samples = Samples(self._tasks, self.seed, self._flip, self._num_rows, self._pool, 2 * self._window)
        size = batch_bytes(self.batch_size // self.num_ranks, first.patch, first.scale)
        self._workers = Workers(self._samples, self._num_workers, size, self._pin_memory, self._worker_init)

    def _order(self, number: int, hr: bool = False) -> GrowingOrder:
        """The order of a task's rows; of HR images alone, which are not counted, always that of the last version."""
        name, manifest = self._tasks[number].name, self._tasks[number].train_manifest
        assert manifest
        versions = self._state.versions[name]
        options = manifest, self.seed, f"{name} HR" if hr else name, self._window
        return GrowingOrder(versions[-1:] if hr else versions, *options)

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
        for name, value in (("seed", self.seed), ("batch_size", self.batch_size), ("tasks", list(self.tasks))):
            if state.get(name) != value:
                raise UsageError(f"the state has {name} {state.get(name)}, this loader {value}: they must be the same")
        restored = LoaderState.from_json(state, self.rank)
        for number in self._stored:
            name, manifest = self._tasks[number].name, self._tasks[number].train_manifest
            assert manifest
            last = restored.versions[name][-1] if name in restored.versions else None
            if last is None or not (last.is_current(manifest) or last.has_grown_to(manifest)):
                raise RunError(f"dataset {name}/train has changed since the state was saved: begin anew without it")
        if restored.hr != self._state.hr:
            raise RunError("the HR images are not those that the state was saved with: give the same hr")
        self._passes += 1
        self._in_hand, self._tickets, self._state = False, None, restored
        self._prepare()

    def close(self) -> None:
        """End the worker processes. A loader that is never closed ends with its process."""
        if self._prefetch:
            self._prefetch.stop()
        if self._workers:
            self._workers.close()


def _tasks(
    shards: Place,
    tasks: Sequence[str] | Sequence[Task] | None,
    source: str,
    hr: str | HRPool | None,
    patch: int | None,
    cache: str | Path | ShardCache | None,
) -> list[Task]:
    """The tasks to load, as they are given or by their names."""
    given = list(tasks or ())
    if given and all(isinstance(task, Task) for task in given):
        return given  # type: ignore[return-value]
    if not isinstance(cache, ShardCache):
        cache = ShardCache(Path(cache).expanduser() if cache else default_folder(), CACHE_BYTES)
    on_the_fly = source in ("fly", "gpu") or hr is not None
    names: list[str] = given  # type: ignore[assignment]
    return find_tasks(shards, names, on_the_fly=on_the_fly, validation=False, patch=patch, cache=cache)


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _ranks(rank: int | None, num_ranks: int | None) -> tuple[int, int]:
    """This rank and the number of ranks, as given or as torch.distributed says."""
    if (rank is None) != (num_ranks is None):
        raise UsageError(f"rank is {rank}, num_ranks {num_ranks}: give both or none")
    if rank is None or num_ranks is None:
        return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if _distributed() else (0, 1)
    if not 0 <= rank < num_ranks:
        raise UsageError(f"rank is {rank}: it must be between 0 and num_ranks - 1, {num_ranks - 1}")
    return rank, num_ranks


def _all_gather(value: Any) -> list:
    values: list = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
