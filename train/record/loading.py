"""What a run asks of its loader, and what its state keeps for the loader and of the datasets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from shared.errors import RunError
from shared.mixing.rows import DatasetVersion
from shared.mixing.state import FORMAT
from shared.mixing.tasks import Task
from train.record.interval_log import IntervalLog
from train.record.resume import FILE, HR
from train.record.state import State
from train.settings import TrainSettings

KEPT = ("read", "generations", "lost")
"""Entries of the loader's state that are the `feed` of a run's state."""


def loader_options(settings: TrainSettings, device: torch.device) -> dict[str, Any]:
    """Arguments of `MixingLoader` that follow from the settings of a run."""
    names = ("batch_size", "seed", "workers", "source", "flip", "max_repeats", "max_damage", "window_shards")
    same = {name: getattr(settings, name) for name in names}
    return {**same, "device": device, "pin_memory": device.type == "cuda"}


def loader_state(
    state: State, log: IntervalLog | None, settings: TrainSettings, tasks: Sequence[str]
) -> dict[str, Any]:
    """The loader's state in the state of a run. tasks: names of all that is trained on."""
    interval, step = divmod(state.step, settings.interval_steps)
    return {
        "format": FORMAT,
        "seed": settings.seed,
        "batch_size": settings.batch_size,
        "tasks": list(tasks),
        "interval": interval,
        "step": step,
        "consumed": dict(zip(tasks, state.consumed, strict=True)),
        **{name: state.feed.get(name, {}) for name in KEPT},
        "hr": state.datasets.get(HR),
        "record": log.record.to_json() if log and log.record else None,
    }


def keep_loader_state(state: State, found: dict[str, Any]) -> None:
    """Enter the loader's state into the state of a run."""
    state.consumed = list(found["consumed"].values())
    state.feed = {name: found[name] for name in KEPT}


def begun_datasets(state: State, tasks: Sequence[Task], plans: Sequence[Task], folder: Path) -> dict[str, str]:
    """Identities of the datasets that a run was begun with: those of its state, or of a new run those of now.

    tasks: with their datasets. plans: tasks of one frozen plan each. Rows must not change under a run, because ordinals
    would mean other samples; train datasets alone may grow. Raises `RunError` for a dataset that has changed.
    """
    now = {f"{task.name}/val": task.val_manifest.identity() for task in tasks}
    now |= {f"{task.name}/plan": task.identity() for task in plans}
    stored = {f"{task.name}/train": task.train_manifest for task in tasks if task.train_manifest}
    begun = state.datasets or {**now, **{name: manifest.identity() for name, manifest in stored.items()}}
    names = begun.keys() | now.keys() | stored.keys()
    for name in sorted(name for name in names if not name.startswith(FILE)):
        found = stored[name].identity() if name in stored else now.get(name)
        known = state.feed.get("generations", {}).get(name.removesuffix("/train"))
        if name in stored and name in begun and known:
            if DatasetVersion(**known[-1]).continues_as(stored[name]):
                continue
            found = None  # also where it is again as it was before it grew
        if found is None or begun.get(name) != found:
            change = "has changed" if name in begun else "was added"
            raise RunError(f"dataset {name} {change} since {folder} was begun: use another --run")
    return begun
