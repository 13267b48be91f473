"""Measure a system on test sets: quality of every image beside bicubic, as a table and summaries.

A system is a checkpoint (--checkpoint: a run folder, one of its checkpoint folders, a .pth or .safetensors file in
official keys, or the word bicubic) or the pictures that another program has made (--results). Test sets: NAME=PATH of a
dataset folder of gen.render, a set of gen.testset, RealSR V3, DRealSR, crops, paired folders (LR_FOLDER,HR_FOLDER) or a
plain folder of LR pictures, which only gives outputs. Running the same command again goes on where it stopped; compare
evaluations with python -m train.compare.
"""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shared.config import option, parse
from shared.errors import RunError, UsageError, require_at_least, run_command
from shared.images import encode_png
from shared.metrics import psnr_rgb, psnr_y, ssim_rgb, ssim_y
from shared.metrics_lpips import Lpips
from shared.progress import progress_bar
from shared.records import canonical_json
from shared.storage.atomic import locked, write_bytes
from shared.storage.json_lines import JsonLines
from train.evaluation.measure import EQUAL_DB
from train.evaluation.summaries import COLUMNS, ImageResult, write_tables
from train.evaluation.systems import System, bicubic, open_system
from train.evaluation.testsets import TestSet, open_testsets
from train.settings import NetworkSettings

DEFAULT_SCALE = 4
CONFIG, RESULTS, PICTURES = "evaluation.json", "images.jsonl", "images"


@dataclass(frozen=True)
class EvaluateSettings:
    """What `train.evaluate` can be asked for."""

    checkpoint: str | None = option(None, "run folder, checkpoint folder, .pth or .safetensors file, or 'bicubic'")
    results: str | None = option(None, "folder of result pictures: DIR/SET/<image>.png or DIR/<image>.png")
    testset: list[str] | None = option(None, "test sets as NAME=PATH or PATH (then named like the folder)")
    out: str = option("evaluation", "folder for images.csv, summary.json, .md and .tex, and the outputs")
    network: NetworkSettings | None = option(None, "network of a file whose keys do not tell (x4)")
    border: int = option(4, "pixels cropped on every side before measuring; 0 is also common")
    rounded: bool = option(False, "round Y to whole levels and cut SSIM's contrast at 0, as other tables do")
    lpips: list[str] | None = option(None, "LPIPS networks to measure with: vgg, alex (files: docs/results.md)")
    tile: int | None = option(None, "side of a tile, LR pixels (default: what fits into --memory-gb)")
    overlap: int | None = option(None, "LR pixels computed around a tile (default: receptive radius, at most 32)")
    memory_gb: float = option(4.0, "memory that the network may take for one tile")
    keep_images: bool = option(True, "keep the outputs as PNG, for comparison sheets")
    overwrite: bool = option(False, "begin anew where --out holds another evaluation")


class MissingPicturesError(RunError):
    """A folder of results lacks pictures; those that it has are measured."""


def main(argv: list[str]) -> int:
    """The command; see `EvaluateSettings`. Returns the exit code."""
    settings = parse(EvaluateSettings, argv, "python -m train.evaluate", __doc__ or "")
    if not settings.testset:
        raise UsageError("give --testset NAME=PATH ... (see --help)")
    require_at_least(0, settings, "border")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    testsets = open_testsets(settings.testset)
    system = open_system(
        settings.checkpoint,
        settings.results,
        settings.network,
        device,
        settings.memory_gb,
        settings.tile,
        settings.overlap,
    )
    _check_scales(system, testsets)
    measures = Measures(settings, device)
    out = Path(settings.out)
    _announce(system, testsets, device)
    with locked(out, "train.evaluate", *_picture_folders(testsets)):
        _begin(out, identity(system, settings, testsets), settings.overwrite)
        missing = evaluate(system, testsets, measures, out, settings.keep_images)
        results = read_results(out)
        if results:
            write_tables(results, out, system.words, settings.border, settings.rounded)
            print((out / "summary.md").read_text())
    if missing:
        raise MissingPicturesError(
            f"{len(missing)} images have no result picture: {', '.join(missing[:5])}{' ...' * (len(missing) > 5)}"
        )
    return 0


def identity(system: System, settings: EvaluateSettings, testsets: Sequence[TestSet]) -> dict[str, Any]:
    """What must be equal for two evaluations to be one."""
    return {
        "system": system.words,
        "weights": system.identity,
        "border": settings.border,
        "rounded": settings.rounded,
        "lpips": settings.lpips or [],
        "testsets": [[testset.name, testset.identity] for testset in testsets],
    }


def _begin(out: Path, wanted: dict[str, Any], overwrite: bool) -> None:
    """Begin or go on; further test sets are added to those that the folder holds.

    Raises `UsageError` that names the difference when it holds another evaluation.
    """
    path = out / CONFIG
    begun = json.loads(path.read_bytes()) if path.is_file() else {}
    before, now = (dict(config.get("testsets", [])) for config in (begun, wanted))
    changed = [name for name, value in wanted.items() if begun.get(name) != value and name != "testsets"]
    changed += ["testsets"] * any(before[name] != now[name] for name in before.keys() & now.keys())
    if begun and changed and not overwrite:
        name = changed[0]
        raise UsageError(
            f"{out} holds an evaluation with {name} = {begun.get(name)!r}, now it is {wanted[name]!r}: "
            "choose another --out, or --overwrite it"
        )
    if changed:
        for old in (RESULTS, PICTURES):
            shutil.rmtree(out / old) if (out / old).is_dir() else (out / old).unlink(missing_ok=True)
        before = {}
    write_bytes(path, canonical_json({**wanted, "testsets": [[*pair] for pair in {**before, **now}.items()]}))


def _check_scales(system: System, testsets: Sequence[TestSet]) -> None:
    scales = {testset.name: testset.scale for testset in testsets if testset.scale}
    for name, scale in scales.items():
        if system.scale not in (None, scale):
            raise UsageError(f"{system.words} upscales by {system.scale}, test set {name} by {scale}")


def _announce(system: System, testsets: Sequence[TestSet], device: torch.device) -> None:
    for testset in testsets:
        for reason in testset.unmatched:
            print(f"{testset.name}: left out, {reason}")
    sets = ", ".join(f"{testset.name} ({len(testset.names)})" for testset in testsets)
    tiling = f", tiles of {system.tiling.tile} + {system.tiling.overlap}" if hasattr(system, "tiling") else ""
    print(f"{system.words} on {sets}, {device}{tiling}")


def _picture_folders(testsets: Sequence[TestSet]) -> list[str]:
    return [f"{PICTURES}/{testset.name}" for testset in testsets]


class Measures:
    """What is measured of an output against its HR picture; float64 on the CPU, LPIPS on the device."""

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


def evaluate(
    system: System, testsets: Sequence[TestSet], measures: Measures, out: Path, keep_images: bool
) -> list[str]:
    """Measure every image that has not been measured, and log it at once; the images without a result picture."""
    log, missing = JsonLines(out / RESULTS), []
    log.rewind("number", sys.maxsize)  # a line that a crash has cut is no line
    done = {(record["testset"], record["image"]) for record in log.read()}
    with progress_bar(sum(len(testset.names) for testset in testsets), "image") as bar:
        for testset in testsets:
            folder, photographs = out / PICTURES / testset.name, testset.photographs
            for number, name in enumerate(testset.names):
                picture = folder / f"{name}.png"
                if not (picture.is_file() if testset.scale is None else (testset.name, name) in done):
                    image, scale = testset[number], testset.scale or system.scale or DEFAULT_SCALE
                    output = system.output(testset.name, image, scale)
                    if output is None:
                        missing.append(f"{testset.name}/{name}")
                    elif keep_images or image.hr is None:
                        write_bytes(picture, encode_png(output))
                    if output is not None and image.hr is not None:
                        where = {"testset": testset.name, "image": name, "photograph": photographs[number]}
                        log.append({"number": number, **where, **measures(output, bicubic(image, scale), image.hr)})
                bar.update()
    return missing


def read_config(out: Path) -> dict[str, Any]:
    """How an evaluation was made, as of `identity`. Raises `RunError` when the folder holds none."""
    if not (out / CONFIG).is_file():
        raise RunError(f"{out} is no evaluation: make one with python -m train.evaluate --out {out}")
    return json.loads((out / CONFIG).read_bytes())


def read_results(out: Path) -> list[ImageResult]:
    """What an evaluation has measured, by test set and image. Raises `RunError` when the folder holds none."""
    order = [name for name, _ in read_config(out)["testsets"]]
    records = sorted(JsonLines(out / RESULTS).read(), key=lambda r: (order.index(r["testset"]), r["number"]))
    return [
        ImageResult(r["testset"], r["image"], r["photograph"], {key: r[key] for key in COLUMNS if key in r})
        for r in records
    ]


if __name__ == "__main__":
    sys.exit(run_command(main))
