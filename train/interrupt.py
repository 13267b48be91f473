"""Ctrl-C and SIGTERM as a request: the loop finishes its step, saves and stops. A killed loader worker in words."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from shared.errors import RunError


class Interrupt:
    """While entered, the first signal sets `requested`; a second one acts as it would have."""

    def __init__(self) -> None:
        self.requested = False

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
        self.requested = True
        signal.signal(number, self._previous[signal.Signals(number)])


@contextmanager
def killed_workers_named() -> Iterator[None]:
    """Raise a `RunError` when PyTorch finds a loader worker killed, which it does at any moment, also while saving."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) or "killed" not in str(error):
            raise
        raise RunError(
            "a loader worker was killed, perhaps for want of memory (fewer --workers need less): run the same command "
            "again to go on from the last checkpoint"
        ) from error
