"""Worker processes on this machine, one thread each."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from gen.processes import KILLED, POLL_SECONDS, context, one_thread, process_pool, start_process
from gen.shards import attempt
from gen.specs import Outcome, ShardSpec, failure

_rows_done: Any = None


def run(specs: Sequence[ShardSpec], workers: int, on_rows: Callable[[int], object]) -> Iterator[Outcome]:
    """Render the shards in `workers` processes, or in this one when a single worker is enough.

    When a worker is killed, the few shards at hand then fail, and new workers go on with the others; workers that are
    killed before they have finished a single shard are not replaced again.
    """
    workers = min(workers, len(specs))
    if workers <= 1:
        one_thread()
        yield from (attempt(spec, lambda: on_rows(1)) for spec in specs)
        return
    todo, alive = list(reversed(specs)), True
    while todo and alive:
        alive = False
        for outcome in _run_until_killed(todo, workers, on_rows):
            alive |= outcome.done is not None
            yield outcome
    yield from (Outcome(spec, reason=f"not begun, because {KILLED}") for spec in reversed(todo))


def _run_until_killed(todo: list[ShardSpec], workers: int, on_rows: Callable[[int], object]) -> Iterator[Outcome]:
    """Take shards off the end of `todo` until none is left or a worker is killed."""
    counter, stop = context.Value("q", 0), context.Value("b", 0)
    pending: dict[Future[Outcome], ShardSpec] = {}
    seen, broken = 0, False
    with process_pool(workers, _start_worker, counter, stop) as pool:
        try:
            while pending or (todo and not broken):
                while todo and len(pending) <= workers and not broken:  # one more than can be at work
                    try:
                        pending[pool.submit(_attempt, todo[-1])] = todo[-1]
                        todo.pop()
                    except BrokenProcessPool:
                        broken = True
                done, _ = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                now = counter.value
                on_rows(now - seen)
                seen = now
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
    def count_row() -> None:
        with _rows_done.get_lock():
            _rows_done.value += 1

    return attempt(spec, count_row)


def _start_worker(counter: Any, stop: Any) -> None:
    global _rows_done
    _rows_done = counter
    start_process(stop)
