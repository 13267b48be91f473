"""Time the renderer: each operator, the whole pipeline on one core, and its scaling over workers.

Machines are noisy: compare figures of one run only. The first line is the time of a plain 21 x 21 filter, as a unit.
"""

import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from gen.dataset import plan_dataset
from gen.engines.local import run as run_local
from gen.photos import PhotoSet, draw_crops, find_photographs
from gen.recipe import Recipe
from gen.shards import render_shard
from shared.config import option, parse
from shared.degradation.cpu import OPERATORS, from_8bit, render
from shared.degradation.noise import poisson_table
from shared.degradation.partition import partition
from shared.degradation.plan import sample_plan
from shared.degradation.space import get_space
from shared.errors import run_command
from shared.format import Row, encode_pair
from shared.images import decode


@dataclass(frozen=True)
class Settings:
    """What to time."""

    hr: str = option("photos", "folder of HR pictures, or photos")
    space: str = option("paper", "degradation space")
    patch: int = option(256, "side of the HR crop in pixels")
    rows: int = option(100, "rows per subspace")
    workers: int = option(2, "largest number of worker processes")


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    settings = parse(Settings, argv, "python scripts/bench_render.py", __doc__ or "")
    cv2.setNumThreads(1)
    threadpool_limits(1)
    for exponent in range(9):
        poisson_table(1 << exponent)  # built once a process; not a cost of a row
    photos = find_photographs(settings.hr, "train", settings.patch)
    print(f"unit: 21 x 21 filter on 256 x 256 x 3   {_best(_plain_filter):7.2f} ms")
    _bench_stages(settings, photos)
    _bench_shards(settings, photos)
    return 0


def _best(function: Callable[[], object], repeats: int = 20) -> float:
    """Milliseconds of the fastest of several calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def _plain_filter(image: np.ndarray = np.zeros((256, 256, 3), np.float32)) -> np.ndarray:  # noqa: B008
    return cv2.filter2D(image, -1, np.ones((21, 21), np.float32))


def _bench_stages(settings: Settings, photos: PhotoSet) -> None:
    """Milliseconds a pair, mean over the subspaces, by operator and kind."""
    seconds: dict[str, float] = defaultdict(float)
    pairs, hr_bytes, lr_bytes = 0, 0, 0
    for subspace in partition(get_space(settings.space)):
        crops = draw_crops(
            photos.photographs,
            range(settings.rows),
            seed=0,
            subspace=subspace.name,
            split="train",
            patch=settings.patch,
        )
        cached: dict[str, np.ndarray] = {}
        for row, crop in enumerate(crops):
            path = crop.photograph.path
            picture = cached.setdefault(path, decode(Path(path).read_bytes(), path) if path not in cached else None)
            hr = picture[crop.y : crop.y + settings.patch, crop.x : crop.x + settings.patch].copy()
            with _Clock(seconds, "plan"):
                plan = sample_plan(subspace, seed=0, split="train", row=row, height=len(hr), width=len(hr))
            with _Clock(seconds, "degrade, all of it"):
                lr = render(hr, plan)
            image = from_8bit(hr)
            for operator, parameters in plan.steps(*lr.shape[:2]):
                kind = next((getattr(parameters, k) for k in ("family", "mode", "kind") if hasattr(parameters, k)), "")
                with _Clock(seconds, f"  {operator} {kind}"):
                    image = OPERATORS[operator](image, parameters)
            meta = Row("b", "train", 0, row, "i", "0" * 64, 0, 0, settings.patch, 4, plan.to_json(), "s", "l")
            with _Clock(seconds, "encode"):
                members = encode_pair(hr, lr, meta)
            hr_bytes, lr_bytes, pairs = hr_bytes + len(members["hr.png"]), lr_bytes + len(members["lr.png"]), pairs + 1
    for name in sorted(seconds, key=lambda name: (name.startswith("  "), -seconds[name])):
        print(f"{name:40s}{1000 * seconds[name] / pairs:7.3f} ms a pair")
    print(f"bytes a pair: HR {hr_bytes / pairs:.0f}, LR {lr_bytes / pairs:.0f}")


class _Clock:
    """Adds the time of a block to an entry."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._seconds[self._name] += time.perf_counter() - self._start


def _bench_shards(settings: Settings, photos: PhotoSet) -> None:
    """Whole shards with everything: crops, plans, degradation, PNG, tar, hashes, fsync."""
    names = [subspace.name for subspace in partition(get_space(settings.space))]
    with tempfile.TemporaryDirectory() as folder:
        for subspace in names:
            (spec,) = _job(settings, photos, Path(folder, "one"), subspace, settings.rows).specs
            start = time.perf_counter()
            render_shard(spec)
            print(f"shard of {subspace:10s}{1000 * (time.perf_counter() - start) / settings.rows:29.2f} ms a pair")
        rates = []
        for workers in (1, settings.workers):
            specs = [
                spec
                for subspace in names
                for spec in _job(settings, photos, Path(folder, str(workers)), subspace, settings.rows * 4).specs
            ]
            start = time.perf_counter()
            failed = [outcome.reason for outcome in run_local(specs, workers, lambda rows: None) if not outcome.done]
            assert not failed, failed
            rates.append(sum(spec.rows for spec in specs) / (time.perf_counter() - start))
            print(f"{workers} workers, their start included {rates[-1]:22.0f} pairs/s")
    print(f"scaling {rates[-1] / rates[0]:.2f}")
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"peak memory of a process {peak / 1024:.0f} MB")


def _job(settings: Settings, photos: PhotoSet, out: Path, subspace: str, rows: int):
    default = get_space(settings.space).default_partition
    recipe = Recipe(
        settings.space, default, subspace, "train", photos.digest(), settings.patch, rows_per_shard=settings.rows
    )
    return plan_dataset(out, recipe, photos, rows)


if __name__ == "__main__":
    sys.exit(run_command(main))
