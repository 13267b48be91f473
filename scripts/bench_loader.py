"""Time the training loader: against decoding alone and webdataset's RandomMix on the same shards, in one run.

Machines are noisy: the sides take turns, and a ratio is the median over the turns. CPU time is of all processes of a
side, a sample; wall time depends on what else the machine does. `--memory-samples 100000` for memory over a long run.
"""

import gc
import os
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # Python puts scripts/ there

import torch
import webdataset
from torch.utils.data import DataLoader

from gen.render import main as render
from shared.config import option, parse
from shared.errors import run_command
from shared.mixing.quotas import apportion, order
from shared.mixing.sources import Batch
from shared.mixing.tasks import Task, find_tasks
from shared.shards.format import decode_pair
from shared.shards.reader import ShardFile
from train.feed import Feed
from train.settings import TrainSettings as RunSettings

WEIGHTS = (0.4, 0.3, 0.2, 0.1)
WARM_BATCHES = 8
BATCH = 48


@dataclass(frozen=True)
class TrainSettings:
    """What to time."""

    shards: str | None = option(None, "datasets of four tasks (default: rendered for the purpose)")
    hr: str = option("photos", "HR pictures to render from")
    rows: int = option(192, "rows of a task to render")
    steps: int = option(30, "batches of 48 that a side delivers in a turn")
    turns: int = option(3, "turns of each side")
    memory_samples: int = option(6000, "samples over which memory is watched")
    step_seconds: float = option(0.15, "length of the simulated training step")


class Cost(NamedTuple):
    """Of one sample: seconds of wall time and of CPU, over all processes of a side."""

    wall: float
    cpu: float


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    settings = parse(TrainSettings, argv, "python scripts/bench_loader.py", __doc__ or "")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(settings.shards or _render(settings, Path(folder)))
        tasks = find_tasks(shards)
        _report(_take_turns(tasks, settings))
        _bench_boundary(tasks, settings)
        _bench_wait(tasks, settings)
        _bench_memory(tasks, settings.memory_samples)
    return 0


def _render(settings: TrainSettings, folder: Path) -> Path:
    words = ["--subspace", "all", "--hr", settings.hr, "--out", str(folder), "--rows-per-shard", "64"]
    render([*words, "--count", str(settings.rows)])
    render([*words, "--count", "2", "--split", "val"])
    return folder


def _take_turns(tasks: Sequence[Task], settings: TrainSettings) -> dict[str, list[Cost]]:
    """What each side costs, turn by turn. Their workers end with this call."""
    ours = {"ours, no worker": 0, "ours, 1 worker": 1, "ours, 2 workers": 2}
    streams = {name: _batches(_feed(tasks, workers), 200) for name, workers in ours.items()}
    streams["RandomMix, 2"] = _random_mix(tasks, 2)
    sides: dict[str, Callable[[], Cost]] = {"decoding alone": lambda: _decoding(tasks, settings.steps)}
    for name, stream in streams.items():
        sides[name] = lambda stream=stream: _timed(stream, settings.steps)
    costs = {name: [] for name in sides}
    for _ in range(settings.turns):
        for name, side in sides.items():
            costs[name].append(side())
    return costs


def _report(costs: dict[str, list[Cost]]) -> None:
    base, mix = costs["decoding alone"], costs["RandomMix, 2"]
    print(f"{'':18s}{'pairs/s':>9s}{'CPU ms':>9s}{'decoding / CPU':>16s}{'RandomMix / wall':>18s}{'/ CPU':>8s}")
    for name, taken in costs.items():
        rate = 1 / statistics.median(cost.wall for cost in taken)
        cpu = 1000 * statistics.median(cost.cpu for cost in taken)
        alone = statistics.median(b.cpu / cost.cpu for b, cost in zip(base, taken, strict=True))
        walls = statistics.median(m.wall / cost.wall for m, cost in zip(mix, taken, strict=True))
        cpus = statistics.median(m.cpu / cost.cpu for m, cost in zip(mix, taken, strict=True))
        print(f"{name:18s}{rate:9.0f}{cpu:9.3f}{alone:16.2f}{walls:18.2f}{cpus:8.2f}", flush=True)


# ---- the sides


def _decoding(tasks: Sequence[Task], steps: int) -> Cost:
    """As many rows as `_timed` takes, in memory already: record, checksums and both pictures of each."""
    rows = []
    for task in tasks:
        assert isinstance(task.train, Path)
        assert task.train_manifest
        for entry in task.train_manifest.shardlist:
            shard = ShardFile(task.train / entry.url, entry.nsamples)
            for members in shard._rows:
                hr, meta, lr = (shard._pread(member.size, member.offset) for member in members)
                rows.append((memoryview(hr), meta, memoryview(lr), members[0].key))
    count, wall, cpu = steps * BATCH, time.perf_counter(), time.process_time()
    for number in range(count):
        decode_pair(*rows[number % len(rows)])
    return Cost((time.perf_counter() - wall) / count, (time.process_time() - cpu) / count)


def _feed(tasks: Sequence[Task], workers: int, steps: int = 200) -> Feed:
    options = RunSettings(batch_size=BATCH, interval_steps=steps, iterations=steps, workers=workers)
    return Feed(tasks, options, torch.device("cpu"))


def _batches(feed: Feed, steps: int) -> Iterator[Batch]:
    """Our batches, one interval after the other."""
    consumed, interval = [0] * len(feed.tasks), 0
    while True:
        quotas = apportion(WEIGHTS[: len(feed.tasks)], steps * BATCH)
        record = {"quotas": quotas, **feed.decide(quotas)}
        yield from feed.interval(record, consumed, interval, 0)
        feed.close(record)
        consumed, interval = [a + b for a, b in zip(consumed, quotas, strict=True)], interval + 1


def _random_mix(tasks: Sequence[Task], workers: int) -> Iterator[object]:
    """What webdataset offers for mixtures, with its own decoder and a shuffle buffer of 1000, as its guide has it."""
    parts = []
    for task in tasks:
        assert isinstance(task.train, Path)
        assert task.train_manifest
        tars = [str(task.train / entry.url) for entry in task.train_manifest.shardlist]
        part = webdataset.WebDataset(tars, resampled=True, shardshuffle=False).shuffle(1000, initial=100)
        parts.append(part.decode("rgb8").to_tuple("hr.png", "lr.png"))
    mixed = webdataset.RandomMix(parts, list(WEIGHTS[: len(parts)]))
    return iter(DataLoader(_Endless(mixed), batch_size=BATCH, num_workers=workers, prefetch_factor=4))


class _Endless(torch.utils.data.IterableDataset):
    def __init__(self, mixed: object) -> None:
        self._mixed = mixed

    def __iter__(self) -> Iterator[object]:
        return iter(self._mixed)  # type: ignore[call-overload]


def _timed(stream: Iterator[object], steps: int) -> Cost:
    """Of so many batches, after some that fill the queues as they will be filled at the end."""
    for _ in range(WARM_BATCHES):
        next(stream)
    before, wall = _cpu_seconds(), time.perf_counter()
    for _ in range(steps):
        next(stream)
    count = steps * BATCH
    return Cost((time.perf_counter() - wall) / count, (_cpu_seconds() - before) / count)


def _processes() -> list[int]:
    """This process and its children."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [os.getpid(), *map(int, children.split())]


def _cpu_seconds() -> float:
    """CPU time of this process and its living children."""
    ticks = 0
    for pid in _processes()[1:]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


# ---- boundaries, waiting, memory


def _bench_boundary(tasks: Sequence[Task], settings: TrainSettings) -> None:
    quotas = apportion(WEIGHTS, 240_000)
    start = time.process_time()
    order(quotas, 0, 0)
    print(f"order of 240 000 slots: {1000 * (time.process_time() - start):.1f} ms of CPU")
    stream, first, others = _batches(_feed(tasks, 2, steps=12), 12), [], []
    for number in range(12 * 2 * settings.turns):
        start = time.perf_counter()
        next(stream)
        (first if number % 12 == 0 else others).append(time.perf_counter() - start)
    of_one = 1000 * statistics.median(first[1:])
    print(f"first batch of an interval {of_one:.0f} ms, others {1000 * statistics.mean(others):.0f} ms (2 workers)")


def _bench_wait(tasks: Sequence[Task], settings: TrainSettings) -> None:
    """Share of the time that a training step which leaves the CPU alone waits for its batch."""
    stream, waited = _batches(_feed(tasks, 2), 200), 0.0
    for _ in range(WARM_BATCHES):
        next(stream)
    begin = time.perf_counter()
    for _ in range(settings.steps):
        start = time.perf_counter()
        next(stream)
        waited += time.perf_counter() - start
        time.sleep(settings.step_seconds)
    share = waited / (time.perf_counter() - begin)
    print(f"data wait {100 * share:.2f} % of steps of {settings.step_seconds} s, batches of {BATCH}, 2 workers")


def _bench_memory(tasks: Sequence[Task], samples: int) -> None:
    """What this process and its loader workers hold, on the way to so many samples."""
    gc.collect()  # whoever was timed before
    stream, held = _batches(_feed(tasks, 2), 200), []
    marks = {max(1, round(samples * share / BATCH)) for share in (0.02, 0.25, 0.5, 0.75, 1)}
    for number in range(1, max(marks) + 1):
        next(stream)
        if number in marks:
            held.append(f"{number * BATCH}: {sum(map(_held_mb, _processes())):.0f}")
    print("memory of all processes after samples, MB: " + ", ".join(held), end="; ")
    print(f"peak of this one {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")


def _held_mb(pid: int) -> float:
    found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    sys.exit(run_command(main))
