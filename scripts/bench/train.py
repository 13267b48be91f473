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
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gen.render import main as render
from scripts.bench.harness import accelerator, finish, forget_peak, machine, median_ratio, peak_mb, show, take_turns
from scripts.bench.settings import TrainBenchSettings
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

WARM_UP = 2


@dataclass(frozen=True)
class Turn:
    """One turn of one loop.

    seconds: wall time of its steps. cpu_seconds: CPU time of this process. waited: seconds of waiting for data.
    peak_mb: peak of the memory of the accelerator, or of this process, MiB.
    """

    seconds: float
    cpu_seconds: float
    waited: float
    peak_mb: float


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
        loops: dict[str, Callable[[], Turn]] = {
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


def _report(options: TrainBenchSettings, turns: dict[str, list[Turn]], device: torch.device) -> dict[str, Any]:
    samples, key = options.steps * options.batch, "seconds" if device.type == "cuda" else "cpu_seconds"
    costs = {name: [getattr(turn, key) for turn in mine] for name, mine in turns.items()}
    ratios = {name: median_ratio(costs["plain fp32"], mine) for name, mine in costs.items()}
    lines = []
    for name, mine in turns.items():
        seconds, cpu, wait, peak = (
            statistics.median(values)
            for values in zip(*((t.seconds, t.cpu_seconds, t.waited / t.seconds, t.peak_mb) for t in mine), strict=True)
        )
        cells = [f"{samples / seconds:.1f}", f"{1000 * cpu / samples:.1f}", f"{ratios[name]:.2f}"]
        lines.append([name, *cells, f"{100 * wait:.1f} %", f"{peak:.0f} MiB"])
    head = ["loop", "samples/s", "CPU ms per sample", "plain / it", "data wait", "peak memory"]
    show(head, lines)
    return {"head": head, "lines": lines, "ratios": ratios, "turns": {n: [*map(asdict, t)] for n, t in turns.items()}}


class _Clock:
    """Times the steps of a turn after its warm-up."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._waited = device, 0.0
        forget_peak(device)

    def start(self) -> None:
        finish(self._device)
        self._waited, self._start, self._cpu_start = 0.0, time.perf_counter(), time.process_time()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    def stop(self) -> Turn:
        finish(self._device)
        seconds, cpu_seconds = time.perf_counter() - self._start, time.process_time() - self._cpu_start
        return Turn(seconds, cpu_seconds, self._waited, peak_mb(self._device))


def _ours(settings: TrainSettings, spec: NetworkSpec, tasks: list[Task], folder: Path) -> Turn:
    launcher, interrupt = make_accelerator(settings), Interrupt()
    clock = _Clock(launcher.device)
    weights = spec.build().state_dict()
    run = Run(RunSpec(folder / "run", "bench", settings, tasks, spec, weights, make_policy("uniform")), launcher)
    nothing_known = Measurements(0, [task.name for task in tasks], np.zeros((len(tasks), 1)), [""])
    log = run.decide(nothing_known)
    with run.loader:
        batches = run.loader.interval(log.p, settings.iterations)
        for number in range(settings.iterations):
            if number == WARM_UP:
                clock.start()
            with clock.waiting():
                batch = next(batches)
            run.training_step(batch, log, interrupt)
            run.state.step += 1
        turn = clock.stop()
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


def _plain(settings: TrainSettings, spec: NetworkSpec, tasks: list[Task], device: torch.device) -> Turn:
    clock = _Clock(device)
    network, average = (spec.build().to(device) for _ in range(2))
    adam = torch.optim.Adam(network.parameters(), lr=settings.lr, betas=ADAM_BETAS)
    pairs = _Pairs(tasks, settings.iterations * settings.batch_size)
    stream = iter(DataLoader(pairs, settings.batch_size, shuffle=True, num_workers=settings.workers))
    for number in range(settings.iterations):
        if number == WARM_UP:
            clock.start()
        with clock.waiting():
            lr, hr = next(stream)
        lr, hr = lr.to(device), hr.to(device)
        adam.zero_grad()
        loss = functional.l1_loss(network(lr), hr)
        loss.backward()
        adam.step()
        loss.item()
        with torch.no_grad():
            for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                mean.mul_(settings.ema).add_(now, alpha=1 - settings.ema)
    return clock.stop()
