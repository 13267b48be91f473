"""Signals as a request to stop a run, and errors in words when memory runs out."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from shared.errors import RunError


class Interrupt:
    """Ctrl-C and SIGTERM as a request: the loop finishes its step, saves and stops.

    While entered, the first signal sets `requested` and is `signal`; a second one acts as it would have. Of a process
    that stops because another one was asked to, `signal` is SIGTERM.
    """

    def __init__(self) -> None:
        self.requested = False
        self.signal: int = signal.SIGTERM

    def __enter__(self) -> "Interrupt":
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested, self.signal = True, number
        signal.signal(number, self._previous[signal.Signals(number)])


def let_stop_requests_pass(worker: int) -> None:
    """Make a loader worker outlast a request to stop: the training process needs its workers until it has saved.

    Ctrl-C never reaches them. A first SIGTERM, which launchers and Slurm send to every process, is let pass.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL) and None)


@contextmanager
def shortages_named() -> Iterator[None]:
    """Raise a `RunError` that names the remedy when a device is out of memory or a loader worker was killed.

    Either happens at any moment, the second also while saving.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunError(
            "the device is out of memory: give it less at once, in another --run, by more parts of a batch "
            "(--accumulate), --precision bf16, a smaller --patch or --batch-size"
        ) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) or "killed" not in str(error):
            raise
        raise RunError(
            "a loader worker was killed, perhaps for want of memory (fewer --workers need less): run the same command "
            "again to go on from the last checkpoint"
        ) from error
