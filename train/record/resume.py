"""Whether a run may go on with these settings."""

import reprlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from shared.errors import RunError, UsageError
from shared.rebalance.options import without_removed
from shared.storage.remote import read_bounded
from train.settings import CONFIG, TrainSettings

MAX_CONFIG_BYTES = 1 << 20
"""Larger files are refused unread."""
FREE = {
    "run",
    "references",
    "groups",
    "iterations",
    "workers",
    "log_steps",
    "save_steps",
    "keep",
    "mode",
    "task",
    "max_damage",
    "vgg19",
    "trackers",
    "dry_run",
    "cache",
    "cache_gb",
}
"""TrainSettings that may change when a run is resumed: they alter no sample and no loss of the steps already done."""


def require_resumable(folder: Path, settings: TrainSettings) -> None:
    """Raises `UsageError` when a run in `folder` was begun with settings that make its continuation another run."""
    if not (folder / CONFIG).is_file():
        return
    begun = _completed(_saved(folder / CONFIG), asdict(TrainSettings()))
    begun["estimator"] = without_removed(begun["estimator"])
    for name, value in asdict(settings).items():
        if name not in FREE and begun[name] != value:
            raise UsageError(
                f"{folder} was begun with {name} = {_short(begun[name])}, now it is {value!r}: "
                "give the old value to resume, or another --run"
            )
    if begun["iterations"] != settings.iterations and settings.estimator.reference == "final":
        raise UsageError(
            f"{folder} was begun with iterations = {begun['iterations']}: with --estimator.reference final it "
            "cannot be changed, because earlier gaps were to that end"
        )
    if begun["iterations"] > settings.iterations:
        raise UsageError(
            f"{folder} was begun with iterations = {begun['iterations']}: a run can be lengthened, not cut"
        )


def _saved(path: Path) -> dict[str, Any]:
    """The settings in a run folder. Raises `RunError` for a file that holds anything else."""
    try:
        saved = yaml.safe_load(read_bounded(path, MAX_CONFIG_BYTES))
        if not isinstance(saved, dict) or not isinstance(saved.get("iterations", 1), int):
            raise ValueError("no settings")
        return saved
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise RunError(f"{path} does not hold the settings of a run ({type(error).__name__}): restore it") from error


def _short(value: Any) -> str:
    """As Python writes it; of what is nested beyond reason, its beginning."""
    writer = reprlib.Repr()
    writer.maxstring = writer.maxother = 300
    return writer.repr(value)


def _completed(saved: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """TrainSettings as an older version saved them: what did not exist then counts as its default."""
    nested = {
        name: _completed(saved[name], default)
        for name, default in defaults.items()
        if isinstance(default, dict) and isinstance(saved.get(name), dict)
    }
    return {**defaults, **saved, **nested}
