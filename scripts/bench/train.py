"""Time a training step: ours, in each precision, against a plain fp32 PyTorch loop of the same network, stage psnr.

Ours is the step of train/run.py with its loader. The plain loop is what one writes first: a DataLoader of the same rows
with the same workers, blocking copies, default memory layout, torch.optim.Adam, an average of the weights tensor by
tensor, and `loss.item()` at every step. The loops take turns; a ratio is the median over turns of the plain loop's time
to ours, in CPU time where there is no accelerator.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gen.render import main as render
from scripts.bench.harness import (
    Cost,
    Waits,
    accelerator,
    cost_of,
    figures_of,
    forget_peak,
    machine,
    peak_mb,
    show_figures,
    take_turns,
)
from scripts.bench.settings import TrainBenchSettings
from shared.mixing.loader import Batch
from shared.mixing.tasks import Task, find_tasks
from shared.rebalance.measurements import Measurements
from shared.rebalance.policies import make_policy
from shared.shards.reader import Dataset
from train.loop import Run, RunSpec
from train.networks.build import num_parameters
from train.networks.weights import NetworkSpec
from train.optimisation.learner import ADAM_BETAS
from train.processes import Interrupt
from train.session import make_accelerator
from train.settings import TrainSettings

T = TypeVar("T")
WARM_UP = 2


def run(options: TrainBenchSettings) -> dict[str, Any]:
    """Print and return the figures."""
    device = accelerator()
    default_batch, default_steps = (48, 30) if device.type == "cuda" else (4, 4)
    options = replace(options, batch=options.batch or default_batch, steps=options.steps or default_steps)
    with TemporaryDirectory() as folder:
        tasks = find_tasks(Path(options.shards) if options.shards else _render(Path(folder) / "shards", options.patch))
        spec = NetworkSpec(options.network.name, options.network.options, tasks[0].scale)
        print(
            f"{machine(device)}; {spec.name}, {num_parameters(spec.build()):,} parameters; batch {options.batch}, "
            f"HR {tasks[0].patch} px; {options.steps} steps in a turn, {options.turns} turns each\n"
        )
        fp32 = _settings(options)
        bf16 = replace(fp32, precision="bf16")
        loops: dict[str, Callable[[], Cost]] = {
            "plain fp32": lambda: _plain(fp32, spec, tasks, device),
            "ours fp32": lambda: _ours(fp32, spec, tasks, Path(folder)),
            "ours bf16": lambda: _ours(bf16, spec, tasks, Path(folder)),
        }
        if options.compile:
            loops["ours bf16, compiled"] = lambda: _ours(replace(bf16, compile=True), spec, tasks, Path(folder))
        return _report(options, take_turns(loops, options.turns), device)


def _render(out: Path, patch: int) -> Path:
    """Two small tasks from scikit-image's photographs."""
    with redirect_stdout(StringIO()):
        for task in ("mild", "noise"):
            for split, count in (("train", 64), ("val", 2)):
                sizes = ["--patch", str(patch), "--count", str(count), "--rows-per-shard", "32", "--workers", "1"]
                render(["--subspace", task, "--split", split, "--out", str(out), *sizes])
    return out


def _settings(options: TrainBenchSettings) -> TrainSettings:
    """The settings of a run whose one interval is a turn."""
    steps = WARM_UP + options.steps
    return TrainSettings(
        network=options.network,
        policy="uniform",
        iterations=steps,
        interval_steps=steps,
        batch_size=options.batch,
        workers=options.workers,
        trackers=["none"],
    )


def _report(options: TrainBenchSettings, turns: dict[str, list[Cost]], device: torch.device) -> dict[str, Any]:
    clock = "wall" if device.type == "cuda" else "cpu"
    figures = figures_of(turns, options.steps * options.batch, {"plain / it": ("plain fp32", clock)})
    for name, mine in turns.items():
        figures[name]["data wait, %"] = 100 * statistics.median(turn.waited / turn.wall for turn in mine)
        figures[name]["peak memory, MiB"] = statistics.median(turn.peak_mb for turn in mine)
    show_figures(figures)
    return {"loops": figures, "turns": {name: [turn._asdict() for turn in mine] for name, mine in turns.items()}}


def _turn(stream: Iterator[T], step: Callable[[T], object], steps: int, device: torch.device) -> Cost:
    """Take all steps; those after the warm-up are timed."""
    waits = Waits(stream)
    forget_peak(device)

    def take(count: int) -> None:
        for _ in range(count):
            step(next(waits))

    take(WARM_UP)
    cost = cost_of(lambda: take(steps - WARM_UP), device, time.process_time)
    return cost._replace(waited=sum(waits.seconds[WARM_UP:]), peak_mb=peak_mb(device))


def _ours(settings: TrainSettings, spec: NetworkSpec, tasks: list[Task], folder: Path) -> Cost:
    launcher, interrupt = make_accelerator(settings), Interrupt()
    weights = spec.build().state_dict()
    run = Run(RunSpec(folder / "run", "bench", settings, tasks, spec, weights, make_policy("uniform")), launcher)
    nothing_known = Measurements(0, [task.name for task in tasks], np.zeros((len(tasks), 1)), [""])
    log = run.decide(nothing_known)

    def step(batch: Batch) -> None:
        run.training_step(batch, log, interrupt)
        run.state.step += 1

    with run.loader:
        stream = run.loader.interval(log.p, settings.iterations)
        turn = _turn(stream, step, settings.iterations, launcher.device)
    launcher.free_memory()
    gc.collect()
    return turn


class _Pairs(TorchDataset):
    """`samples` rows of all tasks, again and again, as tensors in [0, 1]: a turn is one epoch, with no wait between."""

    def __init__(self, tasks: list[Task], samples: int) -> None:
        self._rows, self._samples = [Dataset(task.train) for task in tasks if task.train], samples

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rows = self._rows[index % len(self._rows)]
        pair = rows[index // len(self._rows) % len(rows)]
        lr, hr = (torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in (pair.lr, pair.hr))
        return lr, hr


def _plain(settings: TrainSettings, spec: NetworkSpec, tasks: list[Task], device: torch.device) -> Cost:
    network, average = (spec.build().to(device) for _ in range(2))
    adam = torch.optim.Adam(network.parameters(), lr=settings.lr, betas=ADAM_BETAS)
    pairs = _Pairs(tasks, settings.iterations * settings.batch_size)
    stream = iter(DataLoader(pairs, settings.batch_size, shuffle=True, num_workers=settings.workers))

    def step(pair: list[Tensor]) -> None:
        lr, hr = (image.to(device) for image in pair)
        adam.zero_grad()
        loss = functional.l1_loss(network(lr), hr)
        loss.backward()
        adam.step()
        loss.item()
        with torch.no_grad():
            for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                mean.mul_(settings.ema).add_(now, alpha=1 - settings.ema)

    return _turn(stream, step, settings.iterations, device)
