"""Before an interval: which of its shards can be had, and which of them are to be fetched when."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..shards.cache import ShardRequest
from ..shards.manifest import ShardEntry
from ..storage.remote import Remote, RetryPolicy, info
from .tasks import Task

ASKED_AT_ONCE = 16


def shards_of(task: Task, rows: np.ndarray) -> np.ndarray:
    """The number of the shard that holds each row, int64 [rows]."""
    assert task.train_manifest
    ends = np.cumsum([entry.nsamples for entry in task.train_manifest.shardlist])
    return np.searchsorted(ends, rows, side="right")


def missing_shards(task: Task, rows: np.ndarray) -> dict[str, int]:
    """The shards that hold some of these rows and cannot be had, with how many of the rows: absent, or of another size.

    A store that does not answer has none of those that are not kept on this node.
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

    with ThreadPoolExecutor(ASKED_AT_ONCE if isinstance(task.train, Remote) else 1) as pool:
        there = list(pool.map(is_there, entries))
    found = zip(entries, counts.tolist(), there, strict=True)
    return {entry.url: count for entry, count, is_there in found if not is_there}


def wanted_shards(tasks: Sequence[Task], owners: np.ndarray, rows: np.ndarray, batch_size: int) -> list[ShardRequest]:
    """The shards behind urls that the slots of an interval show, in the order of their first use.

    owners, rows: int64 [slots], as in `Ticket`.
    """
    wanted: list[ShardRequest] = []
    for number, task in enumerate(tasks):
        slots = np.flatnonzero(owners == number)
        if len(slots) and isinstance(task.train, Remote) and task.cache:
            steps = slots // batch_size
            wanted += _spans(task, shards_of(task, rows[slots]), steps)
    return sorted(wanted, key=lambda each: (each.first, each.last))


def _spans(task: Task, shards: np.ndarray, steps: np.ndarray) -> Iterator[ShardRequest]:
    assert isinstance(task.train, Remote)
    assert task.train_manifest
    numbers, first = np.unique(shards, return_index=True)
    _, last = np.unique(shards[::-1], return_index=True)
    for number, begin, end in zip(numbers, steps[first], steps[::-1][last], strict=True):
        entry = task.train_manifest.shardlist[number]
        yield ShardRequest(task.train / entry.url, entry, int(begin), int(end))
