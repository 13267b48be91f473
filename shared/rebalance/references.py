"""References: the per-image PSNR of single-task networks at every interval boundary, which gaps are measured against.

A trace may only be compared with a run of the same protocol: same network, start, interval, batch, rows. It is all that
a shared run needs of a single-task network; its weights are not. Since version 2 a trace also holds what its network
achieves on the other tasks, from which the gain of a mixture is predicted (`surface.py`). A pack is the traces of all
tasks in one JSON file (docs/format.md), from whoever has trained them: nothing in it is trusted before it is checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..errors import RunError
from ..packs import pack, unpack
from ..records import from_plain
from ..text import short, some_of

PACK_FORMAT = "realsr-references-v2"
PACK_FORMATS = ("realsr-references-v1", PACK_FORMAT)
YOUNGER = ("photographs", "others")
"""Fields that traces of version 1 do not have."""
OWN_ROWS = ("train_rows", "val_rows")
"""What the protocols of references of several tasks differ by."""


@dataclass
class OtherTask:
    """What a single-task network achieves on another task. val_rows: identity of the validation set."""

    val_rows: str
    psnr_db: dict[str, list[float]] = field(default_factory=dict)


@dataclass
class Trace:
    """What one single-task network has achieved at each step.

    protocol: what the trace may be compared with. psnr_db: PSNR on Y of each validation image of its own task, dB, by
    step. photographs: the HR image that each of these images was cut from. others: the PSNR on other tasks, by name,
    which are no part of the protocol.
    """

    task: str
    protocol: dict[str, Any]
    psnr_db: dict[str, list[float]] = field(default_factory=dict)
    photographs: list[str] = field(default_factory=list)
    others: dict[str, OtherTask] = field(default_factory=dict)

    def add(self, step: int, psnr_db: Sequence[float]) -> None:
        """Add the values of its own task at a step."""
        self.psnr_db[str(step)] = list(psnr_db)

    def add_other(self, task: str, val_rows: str, step: int, psnr_db: Sequence[float]) -> None:
        """Add the values of another task at a step. Values on another validation set than before replace all of it."""
        if task not in self.others or self.others[task].val_rows != val_rows:
            self.others[task] = OtherTask(val_rows)
        self.others[task].psnr_db[str(step)] = list(psnr_db)

    @property
    def last_step(self) -> int:
        """The step of the last values, -1 when there are none."""
        return max(map(int, self.psnr_db), default=-1)

    @staticmethod
    def from_json(values: Any) -> "Trace":
        """A trace of either version. Raises ValueError for anything else."""
        if isinstance(values, dict) and not any(name in values for name in YOUNGER):
            values = {**values, "photographs": [], "others": {}}
        trace = from_plain(Trace, values, complete=True)
        own = {len(trace.photographs)} if trace.photographs else set()
        numbers = [own | _image_numbers(trace.psnr_db)]
        numbers += [_image_numbers(other.psnr_db) for other in trace.others.values()]
        if any(len(images) > 1 or 0 in images for images in numbers):
            raise ValueError("the steps have different numbers of images, or none")
        return trace


def _image_numbers(psnr_db: Mapping[str, Sequence[float]]) -> set[int]:
    """The numbers of images of a table. Raises ValueError unless its keys are steps."""
    for step in psnr_db:
        if not (step.isascii() and step.isdigit() and len(step) < 16 and str(int(step)) == step):
            raise ValueError(f"{step[:80]!r} is not a step")
    return {len(values) for values in psnr_db.values()}


def pack_references(traces: Sequence[Trace]) -> bytes:
    """The file of a reference pack, in the newest version."""
    return pack(PACK_FORMAT, "traces", [asdict(trace) for trace in traces])


def unpack_references(values: Any) -> dict[str, Trace]:
    """The traces, by task, of a pack of any version that was read as JSON. Raises ValueError for a damaged one."""
    traces = [Trace.from_json(each) for each in unpack(values, PACK_FORMATS, "traces", list)]
    if len({trace.task for trace in traces}) < len(traces) or not traces:
        raise ValueError("it holds no task, or one twice")
    return {trace.task: trace for trace in traces}


def require_same_protocol(
    trace: Trace, protocol: Mapping[str, Any], source: object, absent: Mapping[str, Any] | None = None
) -> None:
    """Raises `RunError` that names the first difference, with both values. absent: what a missing key stands for."""
    if found := difference(trace.protocol, protocol, absent or {}):
        raise RunError(
            f"reference {source} was trained with {found}: train references of its own (--references another folder) "
            "or use the same setting"
        )


def difference(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], absent: Mapping[str, Any], without: Sequence[str] = ()
) -> str:
    """The first entry in which a protocol differs from that of a run, in words; empty where they agree.

    absent: what a missing entry stands for. without: entries that may differ.
    """
    for key in {**ours, **theirs}:
        their, our = (one.get(key, absent.get(key)) for one in (theirs, ours))
        if key not in without and their != our:
            return f"{key} = {short(their)}, this run has {short(our)}"
    return ""


@dataclass(frozen=True)
class References:
    """The traces of all tasks, in the run's order of tasks."""

    traces: list[Trace]

    def at(self, step: int) -> list[np.ndarray]:
        """PSNR of each task's single-task network at `step`, n rows of float64 [m_i].

        Raises `RunError` past a trace's end.
        """
        for trace in self.traces:
            if str(step) not in trace.psnr_db:
                raise RunError(
                    f"the reference of {trace.task} has no value at step {step} (it ends at {trace.last_step}): "
                    "train it as long as the shared run, with python train/run.py --mode references"
                )
        return [np.array(trace.psnr_db[str(step)], float) for trace in self.traces]

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks."""
        return [trace.task for trace in self.traces]

    @property
    def last_step(self) -> int:
        """The last step that all traces have reached."""
        return min(trace.last_step for trace in self.traces)

    def across(self, step: int) -> tuple[list[list[np.ndarray]], list[list[str]]]:
        """PSNR of each network on all tasks at `step`, and the HR images of each task.

        Entry [j][i], float64 [m_i], is the network of task j on the images of task i. Raises `RunError` that names the
        missing values, networks of different protocols, or values of other numbers of images.
        """
        first = self.traces[0]
        for trace in self.traces[1:]:
            _require_comparable(first, trace)
        missing = [
            f"{network.task} on {task.task}"
            for network in self.traces
            for task in self.traces
            if network is not task and not _has(network, task, step)
        ]
        if missing:
            raise RunError(
                f"references have no values at step {step} for the network of {some_of(missing, 4)}: references of "
                "earlier versions know their own task alone, train new ones (python train/run.py --mode pilot)"
            )
        rows = [[np.array(_values(network, task, step), float) for task in self.traces] for network in self.traces]
        for number, task in enumerate(self.traces):
            if any(len(network[number]) != len(task.photographs) for network in rows):
                raise RunError(
                    f"references have other numbers of values on {task.task} than it has validation images, "
                    f"{len(task.photographs)}: train them again"
                )
        return rows, [trace.photographs for trace in self.traces]


def _require_comparable(one: Trace, other: Trace) -> None:
    """Raises `RunError` unless two references differ by their tasks alone."""
    for key in sorted({*one.protocol, *other.protocol} - {*OWN_ROWS}):
        if one.protocol.get(key) != other.protocol.get(key):
            raise RunError(
                f"the references of {one.task} and {other.task} were trained with different {key}: "
                f"{short(one.protocol.get(key))} and {short(other.protocol.get(key))}; train both alike"
            )


def _has(network: Trace, task: Trace, step: int) -> bool:
    other = network.others.get(task.task)
    return other is not None and other.val_rows == task.protocol.get("val_rows") and str(step) in other.psnr_db


def _values(network: Trace, task: Trace, step: int) -> list[float]:
    return (network if network is task else network.others[task.task]).psnr_db[str(step)]
