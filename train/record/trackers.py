"""Trackers: TensorBoard, Weights & Biases and whatever else Accelerate knows, for curves and images of a run.

A resumed run goes on in the same log, without a step twice. A tracker is imported when a run is about to train.
"""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from accelerate import tracking

from shared.errors import RunError, UsageError
from shared.storage.atomic import write_text
from train.settings import TrainSettings

PROJECT = "realsr-rebalance"
"""What services that order runs by project are told."""
TENSORBOARD = "tensorboard"
WANDB_ID = ".wandb-id"
Tracker: TypeAlias = tracking.GeneralTracker


def require_trackers(names: Sequence[str]) -> None:
    """Raises `UsageError` for a tracker that Accelerate does not know, or that is not installed."""
    known, installed = sorted(tracking.LOGGER_TYPE_TO_CLASS), [str(t) for t in tracking.get_available_trackers()]
    for name in names:
        if name not in known:
            raise UsageError(f"unknown tracker {name!r}: choose from {', '.join(known)}, or none")
        if name not in installed:
            raise UsageError(
                f"tracker {name} is not installed: pip install {name.replace('_', '-')}, or choose others "
                f"(--trackers {' or '.join(each for each in (*installed, 'none') if each != name)})"
            )


def open_trackers(settings: TrainSettings, folder: Path, step: int) -> list[Tracker]:
    """The trackers of a run in `folder`, ready to log `step` and what comes after it; what they had of it is void.

    Raises `RunError` when one does not start: not logged in, without a connection, or badly installed.
    """
    trackers = [_make(name, settings, folder, step) for name in settings.tracker_names]
    for tracker in trackers:
        try:
            tracker.start()
        except Exception as error:  # whatever a service raises
            raise RunError(
                f"tracker {tracker.name} does not start: {error}; mend that, or choose other --trackers"
            ) from error
    return trackers


def _make(name: str, settings: TrainSettings, folder: Path, step: int) -> Tracker:
    kind = tracking.LOGGER_TYPE_TO_CLASS[name]
    if name == TENSORBOARD:  # its curves lie in the run, under the run's name when --logdir is the folder of all runs
        return kind(TENSORBOARD, folder, purge_step=step)
    options = {}
    if name == "wandb":
        options = {"name": str(folder), "id": _wandb_id(folder), "resume": "allow", "dir": folder}
        options["config"] = settings.to_plain()
    return kind(PROJECT, *([folder] if kind.requires_logging_directory else []), **options)


def log_images(tracker: Tracker, images: Mapping[str, np.ndarray], step: int) -> None:
    """Log images by name, uint8 [H, W, 3] RGB; a tracker that takes none goes without."""
    if hasattr(tracker, "log_images"):
        options = {"dataformats": "NHWC"} if tracker.name == TENSORBOARD else {}
        tracker.log_images({name: image[None] for name, image in images.items()}, step=step, **options)


def _wandb_id(folder: Path) -> str:
    """What a resumed run is recognised by: drawn once, kept in the run."""
    path = folder / WANDB_ID
    if not path.is_file():
        write_text(path, uuid.uuid4().hex)
    return path.read_text()
