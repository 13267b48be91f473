"""What `train.evaluate` does once its settings are known to be sound: it measures a system on test sets."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shared.command import next_step
from shared.errors import RunError, UsageError
from shared.images import encode_png
from shared.metrics import psnr_rgb, psnr_y, ssim_rgb, ssim_y
from shared.metrics_lpips import Lpips
from shared.progress import progress_bar
from shared.storage.atomic import locked, write_bytes
from shared.storage.json_lines import JsonLines
from train.evaluation.measure import EQUAL_DB
from train.evaluation.results import COUNTS, OUTPUTS, RESULTS, begin, read_results
from train.evaluation.settings import EvaluateSettings
from train.evaluation.summaries import write_tables
from train.evaluation.systems import System, bicubic, open_system
from train.evaluation.testsets import TestSet
from train.networks.build import forbid_tf32

DEFAULT_SCALE = 4


class MissingResultsError(RunError):
    """A folder of results lacks images; those that it has are measured."""


def evaluate_sets(settings: EvaluateSettings, testsets: Sequence[TestSet]) -> int:
    """Measure the system of the settings, and write its tables. Returns the exit code."""
    forbid_tf32()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    system = open_system(settings, device)
    _check_scales(system, testsets)
    measures = Measures(settings, device)
    out = Path(settings.out)
    _announce(system, testsets, device)
    with locked(out, "train.evaluate", *(f"{OUTPUTS}/{testset.name}" for testset in testsets)):
        begin(out, identity(system, settings, testsets), settings.overwrite)
        missing = measure_sets(system, testsets, measures, out, settings.keep_images)
        results = read_results(out)
        if results:
            write_tables(results, out, system.words, settings.border, settings.rounded)
            print((out / "summary.md").read_text())
    if missing:
        raise MissingResultsError(
            f"{len(missing)} images have no result: {', '.join(missing[:5])}{' ...' * (len(missing) > 5)}"
        )
    print(f"tables: {out / 'summary.md'}, .tex, .json and images.csv")
    print(next_step("compare", out, "OTHER"))
    return 0


def identity(system: System, settings: EvaluateSettings, testsets: Sequence[TestSet]) -> dict[str, Any]:
    """What must be equal for two evaluations to be one."""
    return {
        "system": system.words,
        "weights": system.identity,
        "border": settings.border,
        "rounded": settings.rounded,
        "lpips": settings.lpips or [],
        "testsets": [[testset.name, testset.identify()] for testset in testsets],
        COUNTS: {testset.name: len(testset.names) for testset in testsets if testset.scale},
    }


def _check_scales(system: System, testsets: Sequence[TestSet]) -> None:
    for testset in testsets:
        if testset.scale and system.scale not in (None, testset.scale):
            raise UsageError(f"{system.words} upscales by {system.scale}, test set {testset.name} by {testset.scale}")


def _announce(system: System, testsets: Sequence[TestSet], device: torch.device) -> None:
    for testset in testsets:
        for reason in testset.unmatched:
            print(f"{testset.name}: left out, {reason}")
    sets = ", ".join(f"{testset.name} ({len(testset.names)})" for testset in testsets)
    tiling = f", tiles of {system.tiling.tile} + {system.tiling.overlap}" if system.tiling else ""
    print(f"{system.words} on {sets}, {device}{tiling}")


class Measures:
    """What is measured of an output against its HR image; float64 on the CPU, LPIPS on the device."""

    def __init__(self, settings: EvaluateSettings, device: torch.device) -> None:
        self.border, self.rounded, self.device = settings.border, settings.rounded, device
        self.lpips = {net: Lpips(net).to(device) for net in settings.lpips or ()}

    @torch.no_grad()
    def __call__(self, output: np.ndarray, bicubic: np.ndarray, hr: np.ndarray) -> dict[str, float]:
        """uint8 [H, W, 3] RGB each to values by the names of `summaries.COLUMNS`; PSNR in dB, at most 100."""
        x, base, target = (torch.from_numpy(i).permute(2, 0, 1)[None].double() / 255 for i in (output, bicubic, hr))
        values = {name: self._value(measure, x, target) for name, measure in MEASURES.items()}
        for net, distance in self.lpips.items():
            values[f"lpips_{net}"] = distance(x.to(self.device), target.to(self.device)).item()
        return values | {"bicubic_db": self._value(psnr_y, base, target)}

    def _value(self, measure: Callable[..., torch.Tensor], output: torch.Tensor, target: torch.Tensor) -> float:
        return measure(output, target, self.border, rounded=self.rounded).clamp(max=EQUAL_DB).item()


MEASURES: dict[str, Callable[..., torch.Tensor]] = {
    "psnr_db": psnr_y,
    "ssim": ssim_y,
    "psnr_rgb_db": psnr_rgb,
    "ssim_rgb": ssim_rgb,
}


def measure_sets(
    system: System, testsets: Sequence[TestSet], measures: Measures, out: Path, keep_images: bool
) -> list[str]:
    """Measure every image that has not been measured, and log it at once; the images without a result."""
    log, missing = JsonLines(out / RESULTS), []
    log.rewind("number", sys.maxsize)  # a line that a crash has cut is no line
    done = {(record["testset"], record["image"]) for record in log.read()}
    with progress_bar(sum(len(testset.names) for testset in testsets), "image") as bar:
        for testset in testsets:
            folder, photographs = out / OUTPUTS / testset.name, testset.photographs
            for number, name in enumerate(testset.names):
                file = folder / f"{name}.png"
                if not (file.is_file() if testset.scale is None else (testset.name, name) in done):
                    image, scale = testset.read(number), testset.scale or system.scale or DEFAULT_SCALE
                    output = system.output(testset.name, image, scale)
                    if output is None:
                        missing.append(f"{testset.name}/{name}")
                    elif keep_images or image.hr is None:
                        write_bytes(file, encode_png(output))
                    if output is not None and image.hr is not None:
                        where = {"testset": testset.name, "image": name, "photograph": photographs[number]}
                        log.append({"number": number, **where, **measures(output, bicubic(image.lr, scale), image.hr)})
                bar.update()
    return missing
