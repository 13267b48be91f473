"""Time a training step: ours, in each precision, against a plain fp32 PyTorch loop of the same network, in one run.

Ours is the step of train/run.py with its loader. The plain loop is what one writes first: a DataLoader of the same rows
with the same workers, copies that wait, default memory layout, torch.optim.Adam, an average of the weights tensor by
tensor, `loss.item()` at every step, Real-ESRGAN's order of things in the GAN stage. All take turns, `rounds` times; a
ratio is the median over rounds of ours to the plain loop of the same round, of CPU time where there is no accelerator,
because machines are noisy. Weights are random, VGG19's too, which changes no time.
"""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # Python puts scripts/ there

import numpy as np
import torch
import torchvision
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gen.render import main as render
from shared.config import option, parse
from shared.errors import UsageError, run_command
from shared.mixing.tasks import Task, find_tasks
from shared.rebalance.measurements import Measurements
from shared.rebalance.policies import make_policy
from shared.shards.reader import Dataset
from train.loop import Run, RunSpec
from train.networks import num_parameters, seeded
from train.networks.discriminator import UNetDiscriminator
from train.networks.weights import NetworkSpec
from train.optimisation.learner import ADAM_BETAS
from train.optimisation.losses import VGG19, Perceptual
from train.processes import Interrupt
from train.run import make_accelerator
from train.settings import GANSettings, NetworkSettings, TrainSettings

WARM_UP = 2


@dataclass(frozen=True)
class Options:
    """What to time."""

    network: NetworkSettings = option(NetworkSettings, "of train/run.py")
    stage: str = option("psnr", "psnr or gan")
    perceptual: bool = option(True, "VGG19 in the GAN stage")
    shards: str | None = option(None, "folder with datasets (default: two small ones are rendered)")
    patch: int = option(256, "side of the HR patch where shards are rendered, pixels")
    batch: int = option(0, "samples a step; 0: 48 on an accelerator, 4 on the CPU")
    steps: int = option(0, "steps timed a turn; 0: 30 on an accelerator, 4 on the CPU")
    rounds: int = option(3, "turns of each")
    workers: int = option(2, "loader workers, of either side; an accelerator may be faster than 2")
    compile: bool = option(False, "also with torch.compile")


@dataclass(frozen=True)
class Turn:
    """One turn of one loop. seconds: wall time of its steps; cpu_seconds: of this process; waited: for data.

    peak_bytes: memory of the accelerator, or of this process, at its peak.
    """

    seconds: float
    cpu_seconds: float
    waited: float
    peak_bytes: int


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    options = parse(Options, argv, "python scripts/bench_train.py", __doc__ or "")
    if options.stage not in ("psnr", "gan"):
        raise UsageError(f"stage is {options.stage!r}: choose psnr or gan")
    gpu = torch.cuda.is_available()
    options = replace(options, batch=options.batch or (48 if gpu else 4), steps=options.steps or (30 if gpu else 4))
    if not gpu:
        torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        shards = Path(options.shards) if options.shards else _render(Path(folder) / "shards", options.patch)
        _write_vgg19(Path(folder) / VGG19)
        tasks = find_tasks(shards)
        spec = NetworkSpec(options.network.name, options.network.options, tasks[0].scale)
        device = torch.cuda.get_device_name() if gpu else "CPU, one thread"
        print(
            f"{device}; {spec.name}, {num_parameters(spec.build()):,} parameters; stage {options.stage}; batch "
            f"{options.batch}, HR {tasks[0].patch} px; {options.steps} steps a turn, {options.rounds} turns each"
        )
        _report(options, _take_turns(options, spec, tasks, Path(folder)), gpu)
    return 0


def _render(out: Path, patch: int) -> Path:
    """Two small tasks from scikit-image's photographs."""
    with redirect_stdout(StringIO()):
        for task in ("mild", "noise"):
            for split, count in (("train", 64), ("val", 2)):
                sizes = ["--patch", str(patch), "--count", str(count), "--rows-per-shard", "32", "--workers", "1"]
                render(["--subspace", task, "--split", split, "--out", str(out), *sizes])
    return out


def _write_vgg19(path: Path) -> None:
    with seeded(0):
        features = torchvision.models.vgg19(weights=None).features
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, path)


def _settings(options: Options, vgg19: Path, **changes: object) -> TrainSettings:
    """Of our side. A turn is one interval."""
    steps = WARM_UP + options.steps
    values = {
        "network": options.network,
        "stage": options.stage,
        "gan": GANSettings(perceptual=float(options.perceptual)),
        "vgg19": str(vgg19),
        "policy": "uniform",
        "iterations": steps,
        "interval_steps": steps,
        "batch_size": options.batch,
        "workers": options.workers,
        "trackers": ["none"],
    }
    return TrainSettings(**{**values, **changes})


def _take_turns(options: Options, spec: NetworkSpec, tasks: list[Task], folder: Path) -> dict[str, list[Turn]]:
    """The turns of every loop, by name; the plain one first."""
    fp32, bf16 = _settings(options, folder / VGG19), _settings(options, folder / VGG19, precision="bf16")
    loops: dict[str, Callable[[], Turn]] = {
        "plain fp32": lambda: _plain(options, fp32, spec, tasks),
        "ours fp32": lambda: _ours(options, fp32, spec, tasks, folder),
        "ours bf16": lambda: _ours(options, bf16, spec, tasks, folder),
    }
    if options.compile:
        loops["ours bf16, compiled"] = lambda: _ours(options, replace(bf16, compile=True), spec, tasks, folder)
    turns: dict[str, list[Turn]] = {name: [] for name in loops}
    for _ in range(options.rounds):
        for name, loop in loops.items():
            turns[name].append(loop())
            gc.collect()
    return turns


def _report(options: Options, turns: dict[str, list[Turn]], gpu: bool) -> None:
    def cost(turn: Turn) -> float:
        return turn.seconds if gpu else turn.cpu_seconds

    samples = options.steps * options.batch
    print(f"{'':20s} samples/s  {'' if gpu else 'CPU ms a sample  '}ratio  data wait  peak memory")
    for name, mine in turns.items():
        ratios = [cost(plain) / cost(turn) for plain, turn in zip(turns["plain fp32"], mine, strict=True)]
        cpu = "" if gpu else f"{1000 * statistics.median(turn.cpu_seconds for turn in mine) / samples:15.1f}  "
        print(
            f"{name:20s}{samples / statistics.median(turn.seconds for turn in mine):10.2f}  {cpu}"
            f"{statistics.median(ratios):5.2f}  {100 * statistics.median(t.waited / t.seconds for t in mine):8.1f} %"
            f"{statistics.median(turn.peak_bytes for turn in mine) / 2**20:9.0f} MiB"
        )


class _Clock:
    """Times the steps of a turn after its warm-up."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._waited = 0.0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the resident set so far

    def start(self) -> None:
        self._synchronise()
        self._waited, self._start, self._cpu_start = 0.0, time.perf_counter(), time.process_time()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    def stop(self) -> Turn:
        self._synchronise()
        seconds, cpu_seconds = time.perf_counter() - self._start, time.process_time() - self._cpu_start
        if self._device.type == "cuda":
            return Turn(seconds, cpu_seconds, self._waited, torch.cuda.max_memory_allocated())
        status = Path("/proc/self/status").read_text()
        kilobytes = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        return Turn(seconds, cpu_seconds, self._waited, kilobytes * 1024)

    def _synchronise(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


# ---- ours


def _ours(options: Options, settings: TrainSettings, spec: NetworkSpec, tasks: list[Task], folder: Path) -> Turn:
    AcceleratorState._reset_state(reset_partial_state=True)  # one process has one precision, unless it forgets
    accelerator, interrupt = make_accelerator(settings), Interrupt()
    clock = _Clock(accelerator.device)
    weights = spec.build().state_dict()
    run = Run(RunSpec(folder / "run", "bench", settings, tasks, spec, weights, make_policy("uniform")), accelerator)
    nothing_known = Measurements(0, [task.name for task in tasks], np.zeros((len(tasks), 1)), [""])
    run.state.record = record = run.decide(nothing_known)
    stream = run.feed.interval(record, run.state.consumed, 0, 0)
    for number in range(WARM_UP + options.steps):
        if number == WARM_UP:
            clock.start()
        with clock.waiting():
            batch = next(stream)
        run.training_step(batch, record, interrupt)
        run.state.step += 1
    turn = clock.stop()
    accelerator.free_memory()
    return turn


# ---- what one writes first


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


def _plain(options: Options, settings: TrainSettings, spec: NetworkSpec, tasks: list[Task]) -> Turn:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock = _Clock(device)
    network, average = (spec.build().to(device) for _ in range(2))
    adam = torch.optim.Adam(network.parameters(), lr=settings.lr, betas=ADAM_BETAS)
    critic = _Critic(settings, device) if options.stage == "gan" else None
    pairs = _Pairs(tasks, (WARM_UP + options.steps) * options.batch)
    stream = iter(DataLoader(pairs, options.batch, shuffle=True, num_workers=options.workers))
    for number in range(WARM_UP + options.steps):
        if number == WARM_UP:
            clock.start()
        with clock.waiting():
            lr, hr = next(stream)
        lr, hr = lr.to(device), hr.to(device)
        adam.zero_grad()
        output = network(lr)
        loss = functional.l1_loss(output, hr)
        if critic:
            loss = loss + critic.of_generator(output, hr)
        loss.backward()
        adam.step()
        loss.item()
        if critic:
            critic.step(output.detach(), hr)
        with torch.no_grad():
            for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                mean.mul_(settings.ema).add_(now, alpha=1 - settings.ema)
    return clock.stop()


class _Critic:
    """The discriminator's side, and the losses that it and VGG19 add to the generator's."""

    def __init__(self, settings: TrainSettings, device: torch.device) -> None:
        self._weights = settings.gan
        self._network = UNetDiscriminator(settings.gan.num_feat).to(device)
        self._perceptual = Perceptual(settings.vgg19).to(device) if settings.gan.perceptual else None
        self._adam = torch.optim.Adam(self._network.parameters(), lr=settings.lr, betas=ADAM_BETAS)

    def of_generator(self, output: Tensor, hr: Tensor) -> Tensor:
        self._network.requires_grad_(False)
        loss = self._weights.adversarial * self._judge(output, 1.0)
        return loss + self._perceptual(output, hr).mean() if self._perceptual else loss

    def step(self, output: Tensor, hr: Tensor) -> None:
        self._network.requires_grad_(True)
        self._adam.zero_grad()
        for image, label in ((hr, 1.0), (output, 0.0)):
            loss = self._judge(image, label)
            loss.backward()
            loss.item()
        self._adam.step()

    def _judge(self, image: Tensor, label: float) -> Tensor:
        self._network.refresh(1)
        scores: Tensor = self._network(image)
        return functional.binary_cross_entropy_with_logits(scores, torch.full_like(scores, label))


if __name__ == "__main__":
    sys.exit(run_command(main))
