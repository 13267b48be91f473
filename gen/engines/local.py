"""Worker processes on this machine, one thread each."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any

from gen.processes import KILLED, POLL_SECONDS, context, one_thread, process_pool, start_process
from gen.shards import attempt
from gen.specs import Outcome, ShardSpec, failure

MAX_LIVES = 2
"""Times that workers are started which finish no shard."""
MAX_ROWS_AT_ONCE = 1 << 16
_row_done: Connection


def run(specs: Sequence[ShardSpec], workers: int, on_rows: Callable[[int], object]) -> Iterator[Outcome]:
    """Render the shards in `workers` processes, or in this one when a single worker is enough.

    When a worker is killed, or the server that starts them, the few shards at hand fail and new workers go on with the
    others. Workers that were killed before they finished a single shard are replaced once.
    """
    workers = min(workers, len(specs))
    if workers <= 1:
        one_thread()
        yield from (attempt(spec, lambda: on_rows(1)) for spec in specs)
        return
    todo, lives = list(reversed(specs)), MAX_LIVES
    while todo and lives:
        lives -= 1
        for outcome in _run_until_killed(todo, workers, on_rows):
            lives = MAX_LIVES if outcome.done else lives
            yield outcome
    yield from (Outcome(spec, reason=f"not begun, because {KILLED}") for spec in reversed(todo))


def _run_until_killed(todo: list[ShardSpec], workers: int, on_rows: Callable[[int], object]) -> Iterator[Outcome]:
    """Take shards off the end of `todo` until none is left or a worker is killed."""
    # Neither has a lock, which a killed worker would hold for ever.
    (rows_done, row_done), stop = context.Pipe(duplex=False), context.RawValue("b", 0)
    pending: dict[Future[Outcome], ShardSpec] = {}
    broken = False
    with rows_done, row_done, process_pool(workers, _start_worker, row_done, stop) as pool:
        try:
            while pending or (todo and not broken):
                while todo and len(pending) <= workers and not broken:  # one more than can be at work
                    try:
                        pending[pool.submit(_attempt, todo[-1])] = todo[-1]
                        todo.pop()
                    except BrokenProcessPool:
                        broken = True
                done, _ = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                on_rows(len(os.read(rows_done.fileno(), MAX_ROWS_AT_ONCE)) if rows_done.poll() else 0)
                for future in done:
                    spec = pending.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        broken = True
                        yield failure(spec, KILLED)
        finally:
            stop.value = bool(pending)  # Ctrl-C, or nobody wants the outcomes any more
            pool.shutdown(cancel_futures=True)


def _attempt(spec: ShardSpec) -> Outcome:
    return attempt(spec, lambda: os.write(_row_done.fileno(), b"."))


def _start_worker(row_done: Connection, stop: Any) -> None:
    global _row_done
    _row_done = row_done
    start_process(stop)
