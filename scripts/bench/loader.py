"""Time the mixing loader: against decoding alone and webdataset's RandomMix on the same shards, in one run."""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from torch.utils.data import DataLoader, IterableDataset

from gen.render import main as render
from scripts.bench.harness import (
    Cost,
    Figures,
    Waits,
    cost_of,
    family,
    figures_of,
    held_mb,
    machine,
    show_figures,
    take_turns,
)
from scripts.bench.settings import LoaderBenchSettings
from shared.mixing.loader import MixingLoader
from shared.mixing.quotas import apportion, order
from shared.shards.format import decode_pair
from shared.shards.reader import ShardFile, open_rows

WEIGHTS = (0.4, 0.3, 0.2, 0.1)
WARM_BATCHES = 8
BATCH = 48
STEPS = 200


def run(settings: LoaderBenchSettings) -> dict[str, Any]:
    """The benchmark. Returns its figures."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(settings.shards or _render(settings, Path(folder)))
        figures: dict[str, Any] = {"machine": machine()}
        figures["sides"] = _sides(shards, settings)
        figures |= _boundary(shards, settings) | _first_batch(shards) | _wait(shards, settings)
        figures["memory_mb"] = _memory(shards, settings.memory_samples)
    return figures


def _render(settings: LoaderBenchSettings, folder: Path) -> Path:
    words = ["--subspace", "all", "--hr", settings.hr, "--out", str(folder), "--rows-per-shard", "64"]
    render([*words, "--count", str(settings.rows)])
    return folder


def _sides(shards: Path, settings: LoaderBenchSettings) -> Figures:
    """Pairs per second and CPU time of each side, which take turns. Their workers end with this call."""
    streams: dict[str, Iterator[Any]] = {f"ours, {workers} workers": _batches(shards, workers) for workers in (0, 1, 2)}
    streams["RandomMix, 2 workers"] = _random_mix(shards, 2)
    sides: dict[str, Callable[[], Cost]] = {"decoding alone": _decoding(shards, settings.steps)}
    for name, stream in streams.items():
        for _ in range(WARM_BATCHES):  # queues are then as full as at the end
            next(stream)
        sides[name] = lambda stream=stream: cost_of(lambda: [next(stream) for _ in range(settings.steps)])
    ratios = {"decoding / CPU": ("decoding alone", "cpu"), "RandomMix / wall": ("RandomMix, 2 workers", "wall")}
    figures = figures_of(take_turns(sides, settings.turns), settings.steps * BATCH, ratios)
    show_figures(figures)
    return figures


def _decoding(shards: Path, steps: int) -> Callable[[], Cost]:
    """As many rows as a side loads in a turn, in memory already: record, checksums and both images of each."""
    rows = []
    for folder in sorted(path.parent for path in shards.glob("*/manifest.json")):
        for entry in open_rows(folder).manifest.shardlist:
            shard = ShardFile(folder / entry.url, entry.nsamples)
            for members in shard._rows:
                hr, meta, lr = (shard._pread(member.size, member.offset) for member in members)
                rows.append((memoryview(hr), meta, memoryview(lr), members[0].key))
    return lambda: cost_of(lambda: [decode_pair(*rows[n % len(rows)]) for n in range(steps * BATCH)] and None)


def _batches(shards: Path, workers: int, steps: int = STEPS) -> Iterator[Any]:
    """Our batches, one interval after the other."""
    loader = MixingLoader(shards, BATCH, workers=workers)
    while True:
        yield from loader.interval(WEIGHTS, steps)


def _random_mix(shards: Path, workers: int) -> Iterator[Any]:
    """What webdataset offers for mixtures, with its own decoder and a shuffle buffer of 1000, as its guide has it."""
    parts = []
    for task in MixingLoader(shards, BATCH).tasks:
        tars = [str(path) for path in sorted((shards / task).glob("*.tar"))]
        part = webdataset.WebDataset(tars, resampled=True, shardshuffle=False).shuffle(1000, initial=100)
        parts.append(part.decode("rgb8").to_tuple("hr.png", "lr.png"))
    mixed = webdataset.RandomMix(parts, list(WEIGHTS))
    return iter(DataLoader(_Endless(mixed), batch_size=BATCH, num_workers=workers, prefetch_factor=4))


class _Endless(IterableDataset):
    def __init__(self, mixed: Any) -> None:
        self._mixed = mixed

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mixed)


def _boundary(shards: Path, settings: LoaderBenchSettings) -> dict[str, float]:
    """What the beginning of an interval costs."""
    quotas, start = apportion(WEIGHTS, 240_000), time.process_time()
    order(quotas, 0, 0)
    of_order = 1000 * (time.process_time() - start)
    stream = Waits(_batches(shards, 2, steps=12))
    for _ in range(12 * 2 * settings.turns):
        next(stream)
    waits_ms = 1000 * np.reshape(stream.seconds, (-1, 12))
    of_first, of_others = float(np.median(waits_ms[1:, 0])), float(waits_ms[:, 1:].mean())
    print(f"order of 240 000 slots: {of_order:.1f} ms of CPU")
    print(f"first batch of an interval {of_first:.0f} ms, others {of_others:.0f} ms (2 workers)")
    return {"order_ms": of_order, "boundary_ms": of_first, "batch_ms": of_others}


def _first_batch(shards: Path) -> dict[str, float]:
    """Time from building a loader to its first batch, imports and compilation done."""
    start = time.perf_counter()
    with MixingLoader(shards, BATCH) as loader:
        next(loader.interval(WEIGHTS, STEPS))
        seconds = time.perf_counter() - start
    print(f"first batch {seconds:.2f} s after the loader is built (2 workers)")
    return {"first_batch_s": seconds}


def _wait(shards: Path, settings: LoaderBenchSettings) -> dict[str, float]:
    """Share of the time that a training step which leaves the CPU alone waits for its batch."""
    stream = Waits(_batches(shards, 2))
    for _ in range(WARM_BATCHES):
        next(stream)
    begin = time.perf_counter()
    for _ in range(settings.steps):
        next(stream)
        time.sleep(settings.step_seconds)
    share = sum(stream.seconds[WARM_BATCHES:]) / (time.perf_counter() - begin)
    print(f"data wait {100 * share:.2f} % of steps of {settings.step_seconds} s, batches of {BATCH}, 2 workers")
    return {"data_wait": share}


def _memory(shards: Path, samples: int) -> dict[int, float]:
    """What this process and its loader workers hold, on the way to so many samples."""
    gc.collect()  # whoever was timed before
    stream, held = _batches(shards, 2), {}
    marks = {max(1, round(samples * share / BATCH)) for share in (0.02, 0.25, 0.5, 0.75, 1)}
    for number in range(1, max(marks) + 1):
        next(stream)
        if number in marks:
            held[number * BATCH] = sum(map(held_mb, family()))
    print("memory of all processes after samples, MB: " + ", ".join(f"{n}: {mb:.0f}" for n, mb in held.items()))
    return held
