"""Which shards hold given rows, which of them are missing, and when an interval needs them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..shards.cache import ShardRequest
from ..shards.manifest import ShardEntry
from ..storage.places import info
from ..storage.remote import Remote
from ..storage.retry import RetryPolicy
from .tasks import Task
from .tickets import IntervalTickets

CONNECTIONS = 16
"""Files of a remote store that are looked up at a time."""


def shards_of(task: Task, rows: np.ndarray) -> np.ndarray:
    """The number of the shard that holds each row, int64 [rows]."""
    assert task.train_manifest
    ends = np.cumsum([entry.nsamples for entry in task.train_manifest.shardlist])
    return np.searchsorted(ends, rows, side="right")


def missing_shards(task: Task, rows: np.ndarray) -> dict[str, int]:
    """The shards that hold some of these rows and are absent or have another size, with the number of the rows.

    A store that does not answer has none of the shards that are not in this node's cache.
    """
    assert task.train is not None
    assert task.train_manifest
    numbers, counts = np.unique(shards_of(task, rows), return_counts=True)
    entries = [task.train_manifest.shardlist[number] for number in numbers]
    retry = task.cache.retry if task.cache else RetryPolicy()
    silent: list[str] = []

    def is_there(entry: ShardEntry) -> bool:
        tar = task.train / entry.url  # type: ignore[operator]
        if isinstance(tar, Remote) and task.cache and task.cache.touch(entry):
            return True
        if silent:
            return False
        try:
            return retry(lambda: info(tar)).size == entry.filesize
        except FileNotFoundError:
            return False
        except OSError:
            silent.append(entry.url)
            return False

    with ThreadPoolExecutor(CONNECTIONS if isinstance(task.train, Remote) else 1) as pool:
        there = list(pool.map(is_there, entries))
    found = zip(entries, counts.tolist(), there, strict=True)
    return {entry.url: count for entry, count, is_there in found if not is_there}


def shard_requests(tasks: Sequence[Task], tickets: IntervalTickets) -> list[ShardRequest]:
    """The remote shards that an interval needs, in the order of their first use."""
    requests: list[ShardRequest] = []
    for number, task in enumerate(tasks):
        slots = np.flatnonzero(tickets.owners == number)
        if len(slots) and task.is_remote:
            requests += _requests(task, shards_of(task, tickets.rows[slots]), slots // tickets.batch_size)
    return sorted(requests, key=lambda each: (each.first, each.last))


def coming_requests(task: Task, rows: np.ndarray, step: int) -> list[ShardRequest]:
    """The remote shards of rows that the task shows after an interval of `step` steps."""
    if not task.is_remote:
        return []
    shards = shards_of(task, rows)
    return [each._replace(first=step, last=step) for each in _requests(task, shards, np.arange(len(shards)))]


def _requests(task: Task, shards: np.ndarray, steps: np.ndarray) -> Iterator[ShardRequest]:
    """One request for each shard, in the order of first use. shards, steps: int64 [slots], steps ascending."""
    assert isinstance(task.train, Remote)
    assert task.train_manifest
    numbers, first = np.unique(shards, return_index=True)
    _, last = np.unique(shards[::-1], return_index=True)
    found = zip(numbers, steps[first], steps[::-1][last], strict=True)
    for number, begin, end in sorted(found, key=lambda each: each[1]):
        entry = task.train_manifest.shardlist[number]
        yield ShardRequest(task.train / entry.url, entry, int(begin), int(end))
