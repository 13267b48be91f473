"""References: what remains of a single-task network, its per-image PSNR at every boundary, alone or as a portable pack.

A trace may only be compared with a run of the same protocol: same network, start, interval, batch, rows. It is all
that the shared run needs; the weights of the single-task networks are not. A pack (docs/format.md) is one JSON file
with the traces of all tasks, from whoever has trained them: nothing in it is trusted before it is checked.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import RunError
from shared.records import canonical_json, require_fields
from shared.storage.atomic import write_bytes
from shared.text import short
from train.record.packs import read_json, read_pack, write_pack

TRACE = "trace.json"
PACK = "references.json"
PACK_FORMAT = "realsr-references-v1"


@dataclass
class Trace:
    """PSNR on Y of one task's validation images, dB, by step; `protocol` is what it may be compared with."""

    task: str
    protocol: dict[str, Any]
    psnr_db: dict[str, list[float]] = field(default_factory=dict)

    def record(self, step: int, psnr_db: list[float], folder: Path) -> None:
        """Add the values of a step, and save."""
        self.psnr_db[str(step)] = psnr_db
        write_bytes(folder / TRACE, canonical_json(asdict(self)))

    @property
    def last_step(self) -> int:
        """The step of the last values, -1 when there are none."""
        return max(map(int, self.psnr_db), default=-1)

    @staticmethod
    def from_json(values: Any) -> "Trace":
        """Raises ValueError for anything but a trace: every field of its type, steps with as many finite numbers."""
        if not isinstance(values, dict):
            raise ValueError("a trace must be an object")
        require_fields(Trace, values, "field")
        lengths = set()
        for step, psnr_db in values["psnr_db"].items():
            if not (step.isascii() and step.isdigit() and len(step) < 16 and str(int(step)) == step):
                raise ValueError(f"{step[:80]!r} is not a step")
            if not isinstance(psnr_db, list) or not all(type(v) in (int, float) for v in psnr_db):
                raise ValueError(f"step {step} does not hold a list of numbers")
            if not all(math.isfinite(v) for v in psnr_db):
                raise ValueError(f"step {step} holds a number that is not finite")
            lengths.add(len(psnr_db))
        if len(lengths) > 1 or 0 in lengths:
            raise ValueError("the steps have different numbers of images, or none")
        return Trace(**values)


def load_trace(folder: Path) -> Trace | None:
    """The trace of a reference's run folder, None when there is none. Raises `RunError` when it cannot be read."""
    path = folder / TRACE
    if not path.is_file():
        return None
    try:
        return Trace.from_json(read_json(path))
    except ValueError as error:
        raise RunError(f"{path} is not a trace of a reference: {error}") from error


def save_pack(traces: Sequence[Trace], path: Path) -> None:
    """Write a reference pack."""
    write_pack(path, PACK_FORMAT, "traces", [asdict(trace) for trace in traces])


def load_pack(path: Path) -> dict[str, Trace]:
    """The traces of a pack by task. Raises `RunError` for a file that is none, is damaged or holds nonsense."""
    try:
        content = read_pack(path, PACK_FORMAT, "traces", list)
        traces = [Trace.from_json(each) for each in content]
        if len({trace.task for trace in traces}) < len(traces) or not traces:
            raise ValueError("it holds no task, or one twice")
    except ValueError as error:
        raise RunError(f"{path} is not a reference pack: {error}") from error
    return {trace.task: trace for trace in traces}


def require_same_protocol(
    trace: Trace, protocol: Mapping[str, Any], source: Path, absent: Mapping[str, Any] | None = None
) -> None:
    """Raises `RunError` that names the first difference, with both values. absent: what a missing key stands for."""
    for key in {**protocol, **trace.protocol}:
        theirs, ours = (one.get(key, (absent or {}).get(key)) for one in (trace.protocol, protocol))
        if theirs != ours:
            raise RunError(
                f"reference {source} was trained with {key} = {short(theirs)}, this run has {short(ours)}: train "
                "references of its own (--references another folder) or use the same setting"
            )


@dataclass(frozen=True)
class References:
    """The traces of all tasks, in the run's order of tasks."""

    traces: list[Trace]

    def at(self, step: int) -> np.ndarray:
        """PSNR of each task's single-task network at `step`, float64 [n, m]. Raises `RunError` past a trace's end."""
        for trace in self.traces:
            if str(step) not in trace.psnr_db:
                raise RunError(
                    f"the reference of {trace.task} has no value at step {step} (it ends at {trace.last_step}): "
                    "train it as long as the shared run, with python train/run.py --mode references"
                )
        return np.array([trace.psnr_db[str(step)] for trace in self.traces])
