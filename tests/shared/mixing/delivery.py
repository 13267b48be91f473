"""What loaders deliver, as plain data that tests compare, and several ranks in one process."""

import hashlib
import json
import pickle
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from shared.mixing.loader import Batch, MixingLoader

T = TypeVar("T")
Gather = Callable[[Any], list]
BATCH_SIZE = 4
MEETING_SECONDS = 60.0


class Sample(NamedTuple):
    """One sample of a batch. images: hash of its HR and LR image."""

    task: int
    ordinal: int
    row: int
    images: str


def samples_of(batch: Batch) -> list[Sample]:
    """The samples of a batch in their order."""
    columns = (batch.task.tolist(), batch.ordinal.tolist(), batch.row.tolist(), batch.hr.cpu(), batch.lr.cpu())
    return [
        Sample(task, ordinal, row, hashlib.sha256(hr.numpy().tobytes() + lr.numpy().tobytes()).hexdigest()[:16])
        for task, ordinal, row, hr, lr in zip(*columns, strict=True)
    ]


def steps_of(batches: Iterable[Batch]) -> list[list[Sample]]:
    """The samples of every batch."""
    return [samples_of(batch) for batch in batches]


def counts_of(steps: Iterable[list[Sample]], num_tasks: int = 3) -> list[int]:
    """Samples of each task."""
    tasks = [sample.task for sample in chain(*steps)]
    return [tasks.count(task) for task in range(num_tasks)]


def make_loader(shards: Any, **changes: Any) -> MixingLoader:
    """A loader of batches of four, in this process unless `workers` says otherwise."""
    return MixingLoader(shards, **{"batch_size": BATCH_SIZE, "workers": 0, "window_shards": 2, **changes})


def through_json(state: dict[str, Any]) -> dict[str, Any]:
    """A state after it was written to a file and read again."""
    return json.loads(json.dumps(state))


class Meeting:
    """Where the ranks of one process gather what each of them has, as `torch.distributed.all_gather_object` does."""

    def __init__(self, num_ranks: int) -> None:
        self._barrier, self._sent = threading.Barrier(num_ranks, timeout=MEETING_SECONDS), [b""] * num_ranks
        self.times = [0] * num_ranks

    def gather_of(self, rank: int) -> Gather:
        """The `gather` of one rank."""

        def gather(value: Any) -> list:
            self.times[rank] += 1
            self._sent[rank] = pickle.dumps(value)
            self._barrier.wait()
            found = [pickle.loads(sent) for sent in self._sent]
            self._barrier.wait()
            return found

        return gather

    def leave(self) -> None:
        """Whoever waits for a rank that has failed fails, too."""
        self._barrier.abort()


def on_ranks(num_ranks: int, work: Callable[[dict[str, Any]], T], meeting: Meeting | None = None) -> list[T]:
    """What `work` returns on each rank; its argument are the loader's options that make it this rank."""
    meeting = meeting or Meeting(num_ranks)

    def one(rank: int, future: Future[T]) -> None:
        try:
            future.set_result(work({"rank": rank, "num_ranks": num_ranks, "gather": meeting.gather_of(rank)}))
        except BaseException as error:
            meeting.leave()
            future.set_exception(error)

    # Plain threads: a worker forked in a thread of an executor ends with exit code 1, as its exit handler joins itself.
    futures: list[Future[T]] = [Future() for _ in range(num_ranks)]
    threads = [threading.Thread(target=one, args=(rank, future)) for rank, future in enumerate(futures)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [future.exception() for future in futures]
    for error in sorted(filter(None, errors), key=lambda each: isinstance(each, threading.BrokenBarrierError)):
        raise error
    return [future.result() for future in futures]


def joined(ranks: Iterable[list[list[Sample]]]) -> list[list[Sample]]:
    """The global batches of every step, from the parts of all ranks."""
    return [list(chain(*zip(*parts, strict=True))) for parts in zip(*ranks, strict=True)]
