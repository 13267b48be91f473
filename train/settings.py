"""Settings of a run: one typed dataclass for YAML and command line."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from shared.atomic import write_text
from shared.config import option
from shared.errors import UsageError

CONFIG = "config.yaml"
FREE = {"run", "references", "iterations", "workers", "log_steps", "save_steps", "keep", "mode", "task"}
"""Settings that may change when a run is resumed: they alter no sample and no loss of the steps already done."""


@dataclass(frozen=True)
class NetworkSettings:
    """Which network, in which size.

    Args:
        name: msrresnet or rrdbnet
        options: sizes, e.g. --network.options.num_feat 16 (num_feat, num_block; rrdbnet also num_grow_ch)
    """

    name: str = "msrresnet"
    options: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What `train/run.py` can be asked for. Defaults: the paper's interval, batch and length, stage L1."""

    mode: Literal["shared", "single", "references"] = option(
        "shared", "shared: one network for all tasks; single: one task's reference; references: all of them"
    )
    run: str = option("runs/default", "folder of the run; running the same command again resumes it")
    shards: str = option("shards", "folder with the datasets that gen.render made")
    tasks: list[str] | None = option(None, "tasks to use (default: every dataset in --shards)")
    task: str | None = option(None, "the task of --mode single")
    references: str | None = option(
        None, "folder of the references' runs (default: RUN/references, trained if missing)"
    )
    init: str | None = option(
        None, "weights that all networks start from: run folder, .pth or .safetensors (default: random)"
    )
    network: NetworkSettings = option(NetworkSettings, "the network")
    policy: str = option("rebalance", "how volumes are decided each interval: rebalance (the paper) or uniform")
    iterations: int = option(400_000, "optimiser steps of every network")
    interval_steps: int = option(5_000, "steps between two estimates")
    batch_size: int = option(48, "samples a step, over all processes")
    lr: float = option(1e-4, "learning rate of Adam (betas .9, .99), constant")
    ema: float = option(0.999, "decay of the averaged weights that are evaluated")
    seed: int = option(0, "seed of initialisation, sample order and flips")
    flip: bool = option(True, "flip half of the samples horizontally")
    window_shards: int = option(8, "shards of a task that rows are drawn from at a time")
    workers: int = option(2, "loader processes; 0 loads in the training process")
    log_steps: int = option(100, "steps between two lines of metrics.jsonl")
    save_steps: int = option(5_000, "steps between two checkpoints; every border has one in any case")
    keep: int = option(3, "checkpoints kept")
    channels_last: bool = option(True, "memory layout of the network; faster on CPU and on tensor cores")

    def __post_init__(self) -> None:
        """Raises `UsageError` for values that no run can have."""
        for name in ("iterations", "interval_steps", "batch_size", "log_steps", "save_steps", "keep", "window_shards"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.iterations % self.interval_steps:
            raise UsageError(
                f"iterations is {self.iterations}: it must be a multiple of interval_steps {self.interval_steps}"
            )
        if self.mode == "single" and not self.task:
            raise UsageError("--mode single needs --task, the task to train on")
        if not 0 < self.lr < math.inf:
            raise UsageError(f"lr is {self.lr}: it must be positive")
        if not 0 <= self.ema < 1:
            raise UsageError(f"ema is {self.ema}: it must be in [0, 1)")
        if self.workers < 0:
            raise UsageError(f"workers is {self.workers}: it must not be negative")

    def save(self, folder: Path) -> None:
        """Write the resolved settings into the run folder."""
        write_text(folder / CONFIG, yaml.safe_dump(asdict(self), sort_keys=False))


def require_resumable(folder: Path, settings: Settings) -> None:
    """Raises `UsageError` when a run in `folder` was begun with settings that make its continuation another run."""
    if not (folder / CONFIG).is_file():
        return
    begun: dict[str, Any] = yaml.safe_load((folder / CONFIG).read_text())
    for name, value in asdict(settings).items():
        if name not in FREE and begun.get(name) != value:
            raise UsageError(
                f"{folder} was begun with {name} = {begun.get(name)!r}, now it is {value!r}: "
                "give the old value to resume, or another --run"
            )
    if begun["iterations"] > settings.iterations:
        raise UsageError(
            f"{folder} was begun with iterations = {begun['iterations']}: a run can be lengthened, not cut"
        )
