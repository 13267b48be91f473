"""Time the renderer: each operator, each codec, whole shards on one core, memory over time, and several workers.

Times are CPU time where not said otherwise, because a busy machine disturbs that less. A unit is the time of a plain
21 x 21 filter on 256 x 256 x 3, which is measured beside every group.
"""

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gen.crops import cut
from gen.dataset import DatasetJob, plan_dataset
from gen.engines.local import run as run_local
from gen.processes import one_thread
from gen.recipe import Recipe
from gen.shards import render_shard
from scripts.bench.harness import Cost, StageClock, cost_of, forget_peak, held_mb, machine, peak_mb, unit_ms
from scripts.bench.settings import RenderBenchSettings
from shared.degradation.cpu import OPERATORS, from_8bit, render, sharpen
from shared.degradation.kernels import separable_terms
from shared.degradation.partition import partition
from shared.degradation.plan import draw_plan
from shared.degradation.presets import get_space
from shared.photos.crops import draw_crops
from shared.photos.find import HRImageSet, find_hr_images
from shared.photos.photo_cache import fetch
from shared.shards.codecs import CODECS
from shared.shards.format import Row, row_members

WARM_ROWS = 40
"""Rows of each subspace that are rendered unmeasured: they compile loops and fill tables."""


def run(settings: RenderBenchSettings) -> dict[str, Any]:
    """Print and return the figures: milliseconds by name, MB, pairs/s."""
    one_thread()
    print(machine())
    figures = _Figures()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REALSR_CACHE"] = str(Path(folder, "cache"))
        photos = find_hr_images(settings.hr, "train", settings.patch)
        _decoding(figures, photos)
        _stages(figures, settings, photos)
        for codec in CODECS:
            _shards(figures, settings, photos, Path(folder, codec), codec)
        return {
            **figures.milliseconds,
            **_memory(settings, photos, Path(folder, "memory")),
            **_workers(settings, photos, Path(folder, "workers")),
        }


class _Figures:
    """Keeps and prints times."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    def add(self, name: str, milliseconds: float, unit: float, rest: str = "") -> None:
        self.milliseconds[name.strip()] = milliseconds
        print(f"{name:44s}{milliseconds:8.3f} ms {milliseconds / unit:7.3f} units  {rest}", flush=True)


def _decoding(figures: _Figures, photos: HRImageSet) -> None:
    first, again = (sum(cost_of(lambda p=p: fetch(p)).cpu for p in photos.photographs) for _ in range(2))
    unit, count = unit_ms(), len(photos.photographs)
    megapixels = sum(p.height * p.width for p in photos.photographs) / count / 1e6
    figures.add(
        "decoding and keeping an HR image", 1000 * first / count, unit, f"{megapixels:.2f} megapixels, {count} files"
    )
    figures.add("the same, kept", 1000 * again / count, unit)


def _stages(figures: _Figures, settings: RenderBenchSettings, photos: HRImageSet) -> None:
    """Milliseconds per pair, mean over the subspaces, by operator and kind."""
    clock, sizes, pairs = StageClock(), defaultdict(float), 0
    before = unit_ms()
    for subspace in partition(get_space(settings.space)):
        key = {"seed": 0, "subspace": subspace.name, "split": "train", "patch": settings.patch}
        crops = list(draw_crops(photos.photographs, range(WARM_ROWS + settings.rows), **key))
        hr_images = cut(crops, settings.patch)
        for row in range(len(crops)):
            clock.running = row >= WARM_ROWS
            with clock("crop"):
                hr = next(hr_images)
            with clock("plan"):
                plan = draw_plan(subspace, seed=0, split="train", row=row, height=len(hr), width=len(hr))
            with clock("degrade, all of it"):
                lr = render(hr, plan)
            image = from_8bit(hr)
            for operator, parameters in plan.steps(*lr.shape[:2]):
                kind = next((getattr(parameters, k) for k in ("family", "mode", "kind") if hasattr(parameters, k)), "")
                separable_terms.cache_clear()
                with clock(f"  {operator} {kind}"):
                    image = OPERATORS[operator](image, parameters)
            with clock("sharpening (--usm)"):
                sharpen(hr)
            meta = Row("b", "train", 0, row, "i", "0" * 64, 0, 0, settings.patch, 4, plan.to_json(), "s", "l")
            for name, codec in CODECS.items():
                with clock(f"codec {name}: encoding HR"):
                    data = codec.encode(hr)
                with clock(f"codec {name}: decoding HR"):
                    codec.decode(data, "HR")
                sizes[name] += len(data) * (row >= WARM_ROWS)
            with clock("LR PNG and json"):
                members = row_members("png", b"", lr, meta)
            sizes["LR"] += len(members["lr.png"]) * (row >= WARM_ROWS)
            pairs += row >= WARM_ROWS
    unit = (before + unit_ms()) / 2
    figures.add("unit: 21 x 21 filter on 256 x 256 x 3", unit, unit)
    seconds = clock.seconds
    for name in sorted(seconds, key=lambda name: (name.startswith("  "), -seconds[name])):
        figures.add(name, 1000 * seconds[name] / pairs, unit, "per pair")
    print("bytes per pair: " + ", ".join(f"{name} {size / pairs:.0f}" for name, size in sizes.items()))


def _shards(figures: _Figures, settings: RenderBenchSettings, photos: HRImageSet, folder: Path, codec: str) -> None:
    """Whole shards with everything: crops, plans, degradation, encoding, tar, hashes, read-back, fsync."""
    costs: list[Cost] = []
    units = [unit_ms()]
    for job in _jobs(settings, photos, folder, codec, settings.rows):
        costs.append(cost_of(lambda job=job: render_shard(job.specs[0])))
        units.append(unit_ms())
    milliseconds = [1000 * cost.cpu / settings.rows for cost in costs]
    mean, wall = float(np.mean(milliseconds)), 1000 * float(np.mean([cost.wall for cost in costs])) / settings.rows
    each = ", ".join(f"{value:.2f}" for value in milliseconds)
    rest = f"per pair; {1000 / mean:.0f} pairs/s per core; by subspace {each}; wall {wall:.2f}"
    figures.add(f"whole shards, {codec}", mean, float(np.mean(units)), rest)


def _memory(settings: RenderBenchSettings, photos: HRImageSet, folder: Path) -> dict[str, Any]:
    """What this process holds after each of many shards, and its peak within each."""
    held, peaks = [], []
    for job in _jobs(settings, photos, folder, "png", settings.rows * settings.shards):
        for spec in job.specs:
            forget_peak()
            render_shard(spec)
            held.append(held_mb())
            peaks.append(peak_mb())
    after = {number: held[number - 1] for number in (1, 2, len(held) // 2, len(held))}
    words = ", ".join(f"{mb:.0f} after {number}" for number, mb in after.items())
    print(f"memory without mapped files, MB: {words} shards of {settings.rows} rows")
    print(f"peak within one shard, with mapped files: {min(peaks):.0f} to {max(peaks):.0f} MB")
    return {"held_mb": after, "peak_mb": max(peaks)}


def _workers(settings: RenderBenchSettings, photos: HRImageSet, folder: Path) -> dict[str, Any]:
    """Pairs per second of wall time, with the start of the workers and from their first rows on."""
    rates, steady = {}, {}
    for workers in sorted({1, settings.workers}):
        jobs = _jobs(settings, photos, folder / str(workers), "png", settings.rows * settings.shards)
        specs = [spec for job in jobs for spec in job.specs]
        start = time.perf_counter()
        seen = [(start, 0)]
        failed = [outcome.reason for outcome in run_local(specs, workers, _watch(seen)) if not outcome.done]
        assert not failed, failed
        (first, early), (last, num_rows) = next(point for point in seen if point[1]), seen[-1]
        rates[workers], steady[workers] = num_rows / (last - start), (num_rows - early) / (last - first)
        print(
            f"{workers} workers: {rates[workers]:.0f} pairs/s with their start, {steady[workers]:.0f} from the first "
            f"rows on; scaling {rates[workers] / rates[1]:.2f} and {steady[workers] / steady[1]:.2f}",
            flush=True,
        )
    return {"pairs_per_s": rates, "pairs_per_s_from_first_rows": steady}


def _watch(seen: list[tuple[float, int]]) -> Callable[[int], None]:
    """A function for an engine to call with the number of new rows; it notes the time and the rows so far."""
    return lambda rows: seen.append((time.perf_counter(), seen[-1][1] + rows))


def _jobs(settings: RenderBenchSettings, photos: HRImageSet, out: Path, codec: str, rows: int) -> list[DatasetJob]:
    """One dataset for each subspace."""
    space, digest = get_space(settings.space), photos.digest()
    options = {"rows_per_shard": settings.rows, "codec": codec}
    recipes = [
        Recipe(settings.space, space.default_partition, subspace.name, "train", digest, settings.patch, **options)
        for subspace in partition(space)
    ]
    return [plan_dataset(out, recipe, photos, rows) for recipe in recipes]
