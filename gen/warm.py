"""Importing this makes a process ready to render and to check: modules, tables of noise, compiled loops.

The server of worker processes does, so that all of them share one copy (`gen/processes.py`).
"""

import os
import sys
from contextlib import suppress

import numpy as np

import gen.shardcheck
import gen.shards  # noqa: F401
from gen.processes import one_thread
from shared.degradation import cpu
from shared.degradation.noise import normal_table, poisson_deviations
from shared.degradation.partition import partition
from shared.degradation.plan import draw_plan
from shared.degradation.presets import get_space

ROWS = 40
"""Plans a subspace: enough to meet kernels of every size."""
SIDE = 96


def warm() -> None:
    """Fill the tables of noise and execute some plans of every operator."""
    one_thread()
    normal_table()
    for exponent in range(9):
        poisson_deviations(1 << exponent)
    for subspace in partition(get_space("realesrgan")):
        for row in range(ROWS):
            plan = draw_plan(subspace, seed=0, split="train", row=row, height=SIDE, width=SIDE)
            cpu.render(np.zeros((SIDE, SIDE, 3), np.uint8), plan)


def _silent_orphan(server: int) -> None:
    """No traceback of a worker whose server was killed while it started it: the command has given the worker up."""
    show = sys.excepthook
    sys.excepthook = lambda *error: show(*error) if server in (os.getpid(), os.getppid()) else None


_silent_orphan(os.getpid())
with suppress(Exception):  # what fails here fails again in a worker, which can say so
    warm()
