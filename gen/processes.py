"""Worker processes on this machine, one thread each.

They are forked by a server that has imported, filled and compiled what they need (`gen/warm.py`): a worker begins at
once instead of after a second, and shares that memory with the others. The server has no second thread, whose locks a
fork would copy.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from typing import Any

import cv2
from threadpoolctl import threadpool_limits

POLL_SECONDS = 0.2
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["gen.warm"])


def start_server() -> None:
    """Start the server now if it does not run yet, so that it is ready when workers are wanted, a second later."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # what NumPy reads when the server loads it
    forkserver.ensure_running()


def process_pool(workers: int, start: Callable[..., None], *arguments: Any) -> ProcessPoolExecutor:
    """Worker processes that call `start(*arguments)` first; it must call `start_process`."""
    start_server()
    return ProcessPoolExecutor(workers, context, start, arguments)


def start_process(stop: Any = None) -> None:
    """Make this process a worker of another: one thread, and no longer life. It ends when `stop` has a true value."""
    one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all: the command alone acts on it
    threading.Thread(target=_exit_with, args=(multiprocessing.parent_process(), stop), daemon=True).start()


def one_thread() -> None:
    """Keep this process to one thread: the workers beside it have the other cores."""
    cv2.setNumThreads(1)
    threadpool_limits(1)


def _exit_with(parent: Any, stop: Any) -> None:
    """Do not outlive a killed or interrupted command: nobody would collect what this process renders."""
    while parent.is_alive() and not (stop and stop.value):
        time.sleep(POLL_SECONDS)
    os._exit(1)
