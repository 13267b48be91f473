"""The state of a run as JSON, and where its last checkpoint is: all that can be known of a run without PyTorch."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.errors import RunError
from shared.storage.remote import read_bounded

STATE_FORMAT = 2
STATE = {"step": int, "consumed": list, "record": dict | None, "datasets": dict, "memory": dict, "feed": dict}
MAX_STATE_BYTES = 256 << 20
"""Larger files are refused unread: the measurements of an interval and its lost rows are some megabytes at most."""
LATEST = "latest"


@dataclass
class State:
    """All that a run must remember beside tensors; plain data without a rank in it.

    step: optimiser steps done. consumed: samples of each task delivered before the current interval. record: what was
    measured and decided at the interval's beginning, and trained since (`IntervalLog`); None at a boundary. datasets:
    identity of each task's rows, and digests of files (`train/record/resume.py`). memory: what the estimator and the
    policy remember of earlier boundaries. feed: what the loader must remember of its datasets
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
    """Raises `RunError` for another state format, or a file that holds no state."""
    path = folder / "state.json"
    try:
        values = json.loads(read_bounded(path, MAX_STATE_BYTES))
        found = values.get("format")
        if found == STATE_FORMAT:
            state = State(**values)
            wrong = [name for name, kind in STATE.items() if not isinstance(getattr(state, name), kind)]
            if wrong:
                raise ValueError(f"{', '.join(wrong)} of another type")
            return state
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{path} holds no state of a run: {error}") from error
    raise RunError(f"{folder} has state format {str(found)[:80]}: this program reads {STATE_FORMAT}")


def begun_with(run: Path, dataset: str) -> str | None:
    """The identity of a dataset that a run was begun with; None when it has not got far enough to tell."""
    checkpoint = latest_checkpoint(run)
    return load_state(checkpoint).datasets.get(dataset) if checkpoint else None
