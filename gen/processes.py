"""Worker processes on this machine, one thread each.

A server forks them. It has imported and compiled what they need (`gen/warm.py`), so a worker starts at once instead of
after a second, and the workers share that memory. The server has no second thread, whose locks a fork would copy.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from shared.errors import RunError

T = TypeVar("T")
R = TypeVar("R")
POLL_SECONDS = 0.2
KILLED = "a worker was killed (out of memory?)"
context = multiprocessing.get_context("forkserver")


def start_server() -> None:
    """Start the server if it does not run yet, so that it is ready when workers are needed a second later.

    The server and its workers ignore Ctrl-C, which a terminal sends to all of them: only the command acts on it.
    Raises `RunError` when the path of the folder for temporary files is too long for the server's socket.
    """
    context.set_forkserver_preload(["gen.warm"])
    resource_tracker.ensure_running()  # the server would start it, and its start unblocks signals
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # Without these the server would look for modules in the current folder first, whatever their owner.
    search = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    try:
        with _environment(**search, OPENBLAS_NUM_THREADS="1"):
            forkserver.ensure_running()
    except OSError as error:  # the path of its socket is too long
        place = tempfile.gettempdir()
        raise RunError(f"no worker can be started: {error}, in {place}; set TMPDIR to a shorter path") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables of the processes that are started within the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM to the end of a block that they must not interrupt half-way."""
    caught: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()  # no signal interrupts another thread
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    handlers = {number: signal.signal(number, lambda caller, frame: caught.append(caller)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in caught:
            signal.raise_signal(late)


def process_pool(workers: int, start: Callable[..., None], *arguments: Any) -> ProcessPoolExecutor:
    """Worker processes that call `start(*arguments)` first; it must call `start_process`."""
    start_server()
    return _Pool(workers, context, start, arguments)


def in_processes(function: Callable[[T], R], items: Sequence[T], workers: int, at_once: int = 1) -> Iterator[R]:
    """`function` of each item, in order: in this process if one worker is enough, else in several.

    at_once: items that a worker takes at a time. Raises `RunError` when a worker was killed.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        yield from map(function, items)
        return
    with process_pool(workers, start_process) as pool:
        try:
            yield from pool.map(function, items, chunksize=at_once)
        except BrokenProcessPool as error:
            raise RunError(f"not all was done: {KILLED}; run again with fewer --workers") from error
        finally:
            pool.shutdown(cancel_futures=True)


class _Pool(ProcessPoolExecutor):
    def submit(self, *arguments: Any, **options: Any) -> Future:
        """Raises `BrokenProcessPool` when a worker, or the server that starts them, was killed."""
        with interrupts_wait():  # else the server might start a worker that nobody knows any more
            try:
                return super().submit(*arguments, **options)
            except (EOFError, ConnectionError) as error:
                raise BrokenProcessPool(KILLED) from error


def start_process(stop: Any = None) -> None:
    """Make this process a worker: it has one thread, and ends with its parent or when `stop` has a true value."""
    one_thread()
    threading.Thread(target=_exit_with, args=(multiprocessing.parent_process(), stop), daemon=True).start()


def one_thread() -> None:
    """Keep this process to one thread: the other workers have the other cores."""
    import cv2  # here, so that commands answer before it is loaded

    cv2.setNumThreads(1)
    threadpool_limits(1)


def _exit_with(parent: Any, stop: Any) -> None:
    """End with the command that was killed or interrupted: nobody would collect what this process renders."""
    while parent.is_alive() and not (stop and stop.value):
        time.sleep(POLL_SECONDS)
    os._exit(1)
