"""Loops that Numba compiles: integers and IEEE rules, one thread, the same result on every machine.

The first call on a machine compiles; the result is kept beside the source, or in the user's cache folder, or, where
neither can be written, for the process.
"""

from collections.abc import Callable

import numba


def compiled(function: Callable) -> Callable:
    """Compile on first use."""
    try:
        return numba.njit(function, cache=True, nogil=True)
    except RuntimeError:  # no folder to keep the result in
        return numba.njit(function, nogil=True)
