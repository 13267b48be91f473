"""One progress bar for every command: lively on a terminal, a line now and then in a log file."""

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, unit: str, **options: Any) -> tqdm:
    """A tqdm bar of `total` steps; `options` are tqdm's."""
    interval = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(total=total, unit=unit, mininterval=interval, maxinterval=max(interval, 10.0), miniters=1, **options)
