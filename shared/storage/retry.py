"""Which errors of a store are worth another attempt, and when."""

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How often a failing request is repeated, and how many seconds pass before each further attempt."""

    delays_seconds: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, action: Callable[[], T]) -> T:
        """Result of the action. Raises its last OSError, or at once one that waiting cannot mend, such as 404."""
        for delay in self.delays_seconds:
            try:
                return action()
            except OSError as error:
                if _is_final(error):
                    raise
                self.sleep(delay)
        return action()


def _is_final(error: OSError) -> bool:
    forbidden = isinstance(error.__cause__, PermissionError) or getattr(error.__cause__, "status", None) in (401, 403)
    return isinstance(error, FileNotFoundError) or forbidden or is_disk_full(error)


def is_disk_full(error: OSError) -> bool:
    """Whether there was no room for what was fetched."""
    causes = [each for each in (error, error.__cause__) if isinstance(each, OSError)]
    return any(each.errno in (errno.ENOSPC, errno.EDQUOT) for each in causes)
