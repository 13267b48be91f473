"""The state of a run as JSON, and where its last checkpoint is: all that can be known of a run without PyTorch."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.errors import RunError
from shared.mixing.rows import DatasetVersion
from shared.rebalance.estimator import Memory
from shared.records import from_plain, read_json
from shared.text import short

STATE_FORMAT = 2
MAX_STATE_BYTES = 256 << 20
"""Larger files are refused unread: the measurements of an interval and its lost rows are some megabytes at most."""
MAX_STEP = 1 << 53
LATEST = "latest"


@dataclass(frozen=True)
class _Loader:
    """What a state's `feed` holds."""

    read: dict[str, int] = field(default_factory=dict)
    generations: dict[str, list[DatasetVersion]] = field(default_factory=dict)
    lost: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Memory:
    """What a state's `memory` holds."""

    losses: list[list[float | None]] = field(default_factory=list)
    estimator: Memory = field(default_factory=Memory)
    policy: dict[str, list[float]] = field(default_factory=dict)


@dataclass
class State:
    """All that a run must remember beside tensors; plain data without a rank in it.

    step: optimiser steps done. consumed: samples of each task delivered before the current interval. record: what was
    measured and decided at the interval's beginning, and trained since (`IntervalLog`); None at a boundary. datasets:
    identity of each task's rows, and digests of files (`train/record/resume.py`). memory: what the estimator and the
    policy remember of earlier boundaries (`_Memory`). feed: what the loader must remember of its datasets
    (`shared/mixing/state.py`).
    """

    step: int
    consumed: list[int]
    record: dict[str, Any] | None = None
    datasets: dict[str, str] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    feed: dict[str, Any] = field(default_factory=dict)
    format: int = STATE_FORMAT


def latest_checkpoint(run: Path) -> Path | None:
    """The folder that `latest` points at, None for a run without a checkpoint. Raises `RunError` if it is missing."""
    if not (run / LATEST).is_file():
        return None
    name = (run / LATEST).read_text(errors="replace").strip()
    folder = run / "checkpoints" / name
    if not re.fullmatch("step-[0-9]{8,15}", name):
        raise RunError(f"{run / LATEST} points at {name[:80]!r}, which is no checkpoint: restore it or delete {run}")
    if not (folder / "state.json").is_file():
        raise RunError(f"{run / LATEST} points at {folder}, which is not there: restore it or delete {run}")
    return folder


def load_state(folder: Path) -> State:
    """The state in a checkpoint folder. Raises `RunError` for another format, and for a file that holds no state."""
    path = folder / "state.json"
    try:
        values = read_json(path, MAX_STATE_BYTES)
        found = values.get("format") if isinstance(values, dict) else None
        if found != STATE_FORMAT:
            raise ValueError(f"its format is {short(found)}, this program reads {STATE_FORMAT}")
        state = from_plain(State, values, "entry")
        from_plain(_Loader, state.feed, "feed")
        for name, values in from_plain(_Memory, state.memory, "memory").policy.items():
            if len(values) != len(state.consumed) or min(values, default=0) < 0:
                raise ValueError(f"memory of the policy, {short(name)} is {short(values)}: it must be a number a task")
        counts = {"step": [state.step], "consumed": state.consumed, "read": [*state.feed.get("read", {}).values()]}
        for name, numbers in counts.items():
            if not all(0 <= number < MAX_STEP for number in numbers):
                raise ValueError(f"entry {name!r} is {short(numbers)}: it must be 0 or more, and below {MAX_STEP}")
    except (ValueError, OSError) as error:
        raise RunError(f"{path} holds no state of a run: {error}") from error
    return state


def recorded_identities(run: Path) -> dict[str, str]:
    """Identities of the datasets and files that a run was begun with; empty before its first checkpoint."""
    checkpoint = latest_checkpoint(run)
    return load_state(checkpoint).datasets if checkpoint else {}
