"""What an interval is made of: the source that serves each task, and the stored row that each sample shows.

Everything here is a function of the state, the quotas and the datasets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import RunError, UsageError
from ..shards.cache import ShardRequest
from .interval_record import IntervalRecord
from .needed_shards import coming_requests, missing_shards, shard_requests
from .pool import HRPool
from .rows import GrowingOrder
from .state import LoaderState
from .tasks import Task
from .tickets import IntervalTickets, Supply

SOURCES = ("auto", "shards", "fly", "gpu")
NAMED = 20
"""Missing shards of a task that a record names."""


def choose_source(
    wanted: str, rows: int, read: int, quota: int, max_repeats: float | None, has_accelerator: bool
) -> str:
    """The source of one task for one interval: shards, fly or gpu.

    wanted: that, or auto. rows: stored rows of the task. read: samples taken from them before. quota: samples of the
    interval.
    """
    if wanted != "auto":
        return wanted
    enough = rows > 0 and (max_repeats is None or read + quota <= max_repeats * rows)
    return "shards" if enough else "gpu" if has_accelerator else "fly"


def require_plans(tasks: Sequence[Task], source: str) -> None:
    """Raises `UsageError` when samples of all tasks shall be made on the fly and one has no plans to make them by."""
    for task in tasks:
        if task.plans is None and source not in ("auto", "shards"):
            raise UsageError(
                f"source is {source!r}: the pairs of task {task.name} were made elsewhere, and no plan is known that "
                "would make others; take source auto, or leave the task out"
            )


@dataclass(frozen=True)
class SourceRules:
    """What decides about sources; the fields are options of `MixingLoader`.

    has_accelerator: whether samples can be degraded on a device that is no CPU.
    """

    seed: int
    source: str
    max_repeats: float | None
    max_damage: float
    window_shards: int
    has_accelerator: bool


class Sources:
    """Decides about intervals, and makes their tickets. It holds for one version of each dataset."""

    def __init__(self, tasks: Sequence[Task], state: LoaderState, pool: HRPool | None, rules: SourceRules) -> None:
        """state: that of the loader, whose versions of the datasets are used. pool: HR images for samples on the fly.

        Raises `RunError` when some task can have no samples, `UsageError` as `require_plans`.
        """
        self._tasks, self._pool, self._rules = tasks, pool, rules
        self._names = [task.name for task in tasks]
        self._stored = [number for number, task in enumerate(tasks) if task.num_rows]
        self.num_rows = [state.versions[name][-1].rows if name in state.versions else 0 for name in self._names]
        if rules.source == "shards" and len(self._stored) < len(tasks):
            missing = next(task.name for task in tasks if not task.num_rows)
            raise RunError(f"task {missing} has no shards: render some, or let it be served on the fly (source auto)")
        require_plans(tasks, rules.source)
        if pool is None and not self._stored:
            raise RunError("there are no shards to take HR images from: give hr, a folder of HR images")
        self._orders = {number: self._order(state, number, tasks[number].name) for number in self._stored}
        self._hr_orders = {number: self._hr_order(state, number) for number in self._stored}

    def _hr_order(self, state: LoaderState, number: int) -> GrowingOrder:
        """The order of a task's HR images; their use is not counted, so it is always that of the last version."""
        return self._order(state, number, f"{self._names[number]} HR", slice(-1, None))

    def _order(self, state: LoaderState, number: int, key: str, versions: slice = slice(None)) -> GrowingOrder:
        manifest, rules = self._tasks[number].train_manifest, self._rules
        assert manifest
        known = state.versions[self._names[number]][versions]
        return GrowingOrder(known, manifest, rules.seed, key, rules.window_shards)

    # ---- deciding

    def decide(self, state: LoaderState, quotas: Sequence[int], steps: int) -> IntervalRecord:
        """The record of an interval that begins: its quotas, and the source of each task.

        Where `auto` may choose, a task too many of whose coming rows are in shards that cannot be had is served on the
        fly; fewer are replaced one by one.
        """
        sources, missing = [], {}
        for number, quota in enumerate(quotas):
            source, absent = self._choose(state, number, quota)
            sources.append(source)
            if absent:
                missing[self._names[number]] = absent
        nothing = [0] * len(self._names)
        decided = (state.interval, steps, self._names, list(quotas), sources, self.num_rows, missing)
        return IntervalRecord(*decided, nothing, nothing, [])

    def _choose(self, state: LoaderState, number: int, quota: int) -> tuple[str, list[str]]:
        """The source of a task for `quota` samples, and the shards for want of which it is not served from shards."""
        task, rules, order = self._tasks[number], self._rules, self._orders.get(number)
        read = state.read.get(task.name, 0)
        visits, on_device = order.visits(read) if order else 0, rules.has_accelerator
        if task.plans is None:
            return "shards", []
        source = choose_source(rules.source, self.num_rows[number], visits, quota, rules.max_repeats, on_device)
        if order and source == "shards" and rules.source == "auto":
            missing = missing_shards(task, order.take(read, quota))
            if sum(missing.values()) > rules.max_damage * quota:
                return choose_source("auto", 0, 0, quota, None, on_device), list(missing)[:NAMED]
        return source, []

    # ---- tickets

    def tickets(self, state: LoaderState, record: IntervalRecord, batch_size: int) -> IntervalTickets:
        """The tickets of an interval that begins with a state."""
        supplies = [self._supply(state, record, number) for number in range(len(self._tasks))]
        consumed, seed = [state.consumed[name] for name in self._names], self._rules.seed
        tickets = IntervalTickets(record.quotas, supplies, consumed, batch_size, seed, record.interval)
        tickets.skip(state.known_lost(), seed, self._names, self.num_rows)
        return tickets

    def _supply(self, state: LoaderState, record: IntervalRecord, number: int) -> Supply:
        """Where the samples of a task come from in an interval."""
        source, quota, name = record.sources[number], record.quotas[number], self._names[number]
        if source == "shards":
            rows = self._orders[number].take(state.read.get(name, 0), quota)
            return Supply(source, np.full(quota, number), rows)
        if self._pool or not quota:
            return Supply(source, np.full(quota, -1), np.full(quota, -1))
        whole = [other for other in self._stored if self._names[other] not in record.missing]
        if not whole:
            named = ", ".join(shard for shards in record.missing.values() for shard in shards)
            raise RunError(f"no task has shards to take HR images from, missing are {named}: restore them or give hr")
        owners = [number] if number in whole else whole
        return Supply(source, *self._hr_rows(owners, state.consumed[name], quota))

    def _hr_rows(self, owners: Sequence[int], before: int, quota: int) -> tuple[np.ndarray, np.ndarray]:
        """HR images of the stored rows of several tasks in turn: owner and row of each sample, int64 [quota]."""
        ordinals = np.arange(before, before + quota)
        turn, rows = ordinals % len(owners), np.empty(quota, np.int64)
        for position, owner in enumerate(owners):
            mine = ordinals[turn == position] // len(owners)
            if len(mine):
                rows[turn == position] = self._hr_orders[owner].take(int(mine[0]), len(mine))
        return np.array(owners)[turn], rows

    # ---- remote shards

    def requests(self, state: LoaderState, record: IntervalRecord, tickets: IntervalTickets) -> list[ShardRequest]:
        """The remote shards of an interval, and after them those that the coming one needs first."""
        requests = shard_requests(self._tasks, tickets)
        for number in self._stored:
            task, quota = self._tasks[number], record.quotas[number]
            if record.sources[number] == "shards" and task.is_remote:
                assert task.train_manifest
                most = max(entry.nsamples for entry in task.train_manifest.shardlist)
                first = state.read.get(task.name, 0) + quota
                rows = self._orders[number].take(first, self._rules.window_shards * most)
                requests += coming_requests(task, rows, record.steps)
        return requests
