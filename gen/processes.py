"""Worker processes on this machine, one thread each.

They are forked by a server that has imported, filled and compiled what they need (`gen/warm.py`): a worker begins at
once instead of after a second, and shares that memory with the others. The server has no second thread, whose locks a
fork would copy.
"""

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from typing import Any

from threadpoolctl import threadpool_limits

from shared.errors import RunError

POLL_SECONDS = 0.2
context = multiprocessing.get_context("forkserver")


def start_server() -> None:
    """Start the server now if it does not run yet, so that it is ready when workers are wanted, a second later.

    It and its workers never see Ctrl-C, which a terminal sends to all: the command alone acts on it.
    Raises `RunError` where the folder for temporary files cannot hold its socket.
    """
    context.set_forkserver_preload(["gen.warm"])
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # what NumPy reads when the server loads it
    resource_tracker.ensure_running()  # the server would start it, and its start unblocks signals
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    except OSError as error:  # the path of its socket is too long
        place = tempfile.gettempdir()
        raise RunError(f"no worker can be started: {error}, in {place}; set TMPDIR to a shorter path") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect at the end of the block: where they would leave half of something behind."""
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


class _Pool(ProcessPoolExecutor):
    def submit(self, *arguments: Any, **options: Any) -> Future:
        with interrupts_wait():  # else the server might start a worker that nobody knows any more
            return super().submit(*arguments, **options)


def start_process(stop: Any = None) -> None:
    """Make this process a worker of another: one thread, and no longer life. It ends when `stop` has a true value."""
    one_thread()
    threading.Thread(target=_exit_with, args=(multiprocessing.parent_process(), stop), daemon=True).start()


def one_thread() -> None:
    """Keep this process to one thread: the workers beside it have the other cores."""
    import cv2  # here, so that commands answer before it is loaded

    cv2.setNumThreads(1)
    threadpool_limits(1)


def _exit_with(parent: Any, stop: Any) -> None:
    """Do not outlive a killed or interrupted command: nobody would collect what this process renders."""
    while parent.is_alive() and not (stop and stop.value):
        time.sleep(POLL_SECONDS)
    os._exit(1)
