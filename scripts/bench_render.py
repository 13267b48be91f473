"""Time the renderer: each operator, each codec, whole shards on one core, memory over time, and scaling over workers.

Machines are noisy: compare figures of one run only. Times are of the CPU where not said otherwise, so that a busy
machine disturbs them less; the unit, a plain 21 x 21 filter on 256 x 256 x 3, is timed again beside every group.
"""

import os
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # Python puts scripts/ there

import cv2
import numpy as np

from gen.crops import cut
from gen.dataset import DatasetJob, plan_dataset
from gen.engines.local import run as run_local
from gen.processes import one_thread
from gen.recipe import Recipe
from gen.shards import render_shard
from shared.config import option, parse
from shared.degradation.cpu import OPERATORS, from_8bit, render, sharpen
from shared.degradation.kernels import separable_terms
from shared.degradation.partition import partition
from shared.degradation.plan import sample_plan
from shared.degradation.space import get_space
from shared.errors import run_command
from shared.photos.find import HRImageSet, draw_crops, find_hr_images
from shared.photos.photo_cache import fetch
from shared.shards.codecs import CODECS
from shared.shards.format import Row, row_members

WARM_ROWS = 40
"""Rows of each subspace that are rendered unmeasured: they compile loops and fill tables."""


@dataclass(frozen=True)
class RenderBenchSettings:
    """What to time."""

    hr: str = option("photos", "folder of HR pictures, or photos")
    space: str = option("paper", "degradation space")
    patch: int = option(256, "side of the HR crop in pixels")
    rows: int = option(100, "rows per subspace")
    workers: int = option(2, "largest number of worker processes")
    shards: int = option(8, "shards per subspace that are rendered one after the other to watch memory")


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    settings = parse(RenderBenchSettings, argv, "python scripts/bench_render.py", __doc__ or "")
    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REALSR_CACHE"] = str(Path(folder, "cache"))
        photos = find_hr_images(settings.hr, "train", settings.patch)
        _bench_decoding(photos)
        _bench_stages(settings, photos)
        for codec in CODECS:
            _bench_shards(settings, photos, Path(folder, codec), codec)
        _bench_memory(settings, photos, Path(folder, "memory"))
        _bench_workers(settings, photos, Path(folder, "workers"))
    return 0


class Clock:
    """Adds the CPU time of blocks to entries, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.running = True

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] += (time.process_time() - start) * self.running


def _unit() -> float:
    """Milliseconds of CPU of the plain filter now, mean of several calls."""
    image = np.zeros((256, 256, 3), np.float32)
    start = time.process_time()
    for _ in range(20):
        cv2.filter2D(image, -1, np.ones((21, 21), np.float32))
    return 1000 * (time.process_time() - start) / 20


def _line(name: str, milliseconds: float, unit: float, rest: str = "") -> None:
    print(f"{name:44s}{milliseconds:8.3f} ms {milliseconds / unit:7.3f} units  {rest}", flush=True)


def _timed(function: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def _bench_decoding(photos: HRImageSet) -> None:
    first, again = (sum(_timed(lambda p=p: fetch(p)) for p in photos.photographs) for _ in range(2))
    unit, count = _unit(), len(photos.photographs)
    megapixels = sum(p.height * p.width for p in photos.photographs) / count / 1e6
    _line(
        "decoding and keeping a photograph", 1000 * first / count, unit, f"{megapixels:.2f} megapixels, {count} files"
    )
    _line("the same, kept", 1000 * again / count, unit)


def _bench_stages(settings: RenderBenchSettings, photos: HRImageSet) -> None:
    """Milliseconds a pair, mean over the subspaces, by operator and kind."""
    clock, sizes, pairs = Clock(), defaultdict(float), 0
    before = _unit()
    for subspace in partition(get_space(settings.space)):
        key = {"seed": 0, "subspace": subspace.name, "split": "train", "patch": settings.patch}
        crops = list(draw_crops(photos.photographs, range(WARM_ROWS + settings.rows), **key))
        pictures = cut(crops, settings.patch)
        for row in range(len(crops)):
            clock.running = row >= WARM_ROWS
            with clock("crop"):
                hr = next(pictures)
            with clock("plan"):
                plan = sample_plan(subspace, seed=0, split="train", row=row, height=len(hr), width=len(hr))
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
    unit = (before + _unit()) / 2
    _line("unit: 21 x 21 filter on 256 x 256 x 3", unit, unit)
    seconds = clock.seconds
    for name in sorted(seconds, key=lambda name: (name.startswith("  "), -seconds[name])):
        _line(name, 1000 * seconds[name] / pairs, unit, "a pair")
    print("bytes a pair: " + ", ".join(f"{name} {size / pairs:.0f}" for name, size in sizes.items()))


def _bench_shards(settings: RenderBenchSettings, photos: HRImageSet, folder: Path, codec: str) -> None:
    """Whole shards with everything: crops, plans, degradation, encoding, tar, hashes, read-back, fsync."""
    milliseconds, wall, units = [], [], [_unit()]
    for job in _jobs(settings, photos, folder, codec, settings.rows):
        start = time.perf_counter()
        milliseconds.append(1000 * _timed(lambda job=job: render_shard(job.specs[0])) / settings.rows)
        wall.append(1000 * (time.perf_counter() - start) / settings.rows)
        units.append(_unit())
    mean, unit = float(np.mean(milliseconds)), float(np.mean(units))
    each = ", ".join(f"{value:.2f}" for value in milliseconds)
    rest = f"a pair; {1000 / mean:.0f} pairs/s a core; by subspace {each}; wall {np.mean(wall):.2f}"
    _line(f"whole shards, {codec}", mean, unit, rest)


def _bench_memory(settings: RenderBenchSettings, photos: HRImageSet, folder: Path) -> None:
    """What this process holds after each of many shards, and its peak within each."""
    held, peaks = [], []
    for job in _jobs(settings, photos, folder, "png", settings.rows * settings.shards):
        for spec in job.specs:
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            render_shard(spec)
            held.append(_status_megabytes("RssAnon"))
            peaks.append(_status_megabytes("VmHWM"))
    print(
        f"MB after 1, 2, {len(held) // 2}, {len(held)} shards of {settings.rows} rows, mapped files not counted: ",
        end="",
    )
    print(", ".join(f"{held[index]:.0f}" for index in (0, 1, len(held) // 2 - 1, -1)))
    print(f"peak within one of them, with mapped files: {min(peaks):.0f} to {max(peaks):.0f} MB")


def _status_megabytes(name: str) -> float:
    """Of this process, as Linux says."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def _bench_workers(settings: RenderBenchSettings, photos: HRImageSet, folder: Path) -> None:
    """Pairs a second of wall time, with the start of the workers and from their first rows on."""
    rates, steady = [], []
    for workers in sorted({1, settings.workers}):
        jobs = _jobs(settings, photos, folder / str(workers), "png", settings.rows * settings.shards)
        specs = [spec for job in jobs for spec in job.specs]
        start = time.perf_counter()
        seen = [(start, 0)]
        failed = [outcome.reason for outcome in run_local(specs, workers, _watch(seen)) if not outcome.done]
        assert not failed, failed
        (first, early), (last, num_rows) = next(point for point in seen if point[1]), seen[-1]
        rates.append(num_rows / (time.perf_counter() - start))
        steady.append((num_rows - early) / (last - first))
        print(f"{workers} workers: {rates[-1]:.0f} pairs/s with their start, {steady[-1]:.0f} from the first rows on")
    print(f"scaling {rates[-1] / rates[0]:.2f} with their start, {steady[-1] / steady[0]:.2f} from the first rows on")


def _watch(seen: list[tuple[float, int]]) -> Callable[[int], None]:
    """What an engine calls when more rows are rendered: it notes the time and their number until then."""
    return lambda rows: seen.append((time.perf_counter(), seen[-1][1] + rows))


def _jobs(settings: RenderBenchSettings, photos: HRImageSet, out: Path, codec: str, rows: int) -> list[DatasetJob]:
    """One dataset a subspace."""
    space, digest = get_space(settings.space), photos.digest()
    options = {"rows_per_shard": settings.rows, "codec": codec}
    recipes = [
        Recipe(settings.space, space.default_partition, subspace.name, "train", digest, settings.patch, **options)
        for subspace in partition(space)
    ]
    return [plan_dataset(out, recipe, photos, rows) for recipe in recipes]


if __name__ == "__main__":
    sys.exit(run_command(main))
