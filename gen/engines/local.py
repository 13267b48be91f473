"""Worker processes on this machine, one thread each."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cv2
from threadpoolctl import threadpool_limits

from gen.shards import Outcome, ShardSpec, attempt

POLL_SECONDS = 0.2
_rows_done: Any = None


def run(specs: Sequence[ShardSpec], workers: int, on_rows: Callable[[int], None]) -> Iterator[Outcome]:
    """Render the shards in `workers` processes, or in this one when a single worker is enough."""
    workers = min(workers, len(specs))
    if workers <= 1:
        _one_thread()
        yield from (attempt(spec, lambda: on_rows(1)) for spec in specs)
        return
    context = multiprocessing.get_context("spawn")  # forking a process that has threads is undefined
    counter = context.Value("q", 0)
    with ProcessPoolExecutor(workers, context, _start_worker, (counter, os.getpid())) as pool:
        pending, seen = {pool.submit(_attempt, spec): spec for spec in specs}, 0
        try:
            while pending:
                done, _ = wait(pending, timeout=POLL_SECONDS)
                now = counter.value
                on_rows(now - seen)
                seen = now
                for future in done:
                    spec = pending.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        yield Outcome(spec, reason="a worker was killed (out of memory?)")
        finally:
            pool.shutdown(cancel_futures=True)


def _attempt(spec: ShardSpec) -> Outcome:
    def count_row() -> None:
        with _rows_done.get_lock():
            _rows_done.value += 1

    return attempt(spec, count_row)


def _start_worker(counter: Any, parent: int) -> None:
    global _rows_done
    _rows_done = counter
    _one_thread()
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _one_thread() -> None:
    cv2.setNumThreads(1)
    threadpool_limits(1)


def _exit_with(parent: int) -> None:
    """Do not outlive a killed command: nobody would collect what this process renders."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)
