"""What `train.upscale` does once its settings are known to be sound: pictures of every kind through a network."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from shared.errors import RunError
from shared.images import MAX_PIXELS, read_header
from shared.progress import progress_bar
from shared.storage.atomic import write_bytes
from train.evaluation.settings import UpscaleSettings
from train.evaluation.systems import load_network
from train.evaluation.tiles import Tiling, choose_tiling, footprint, tiles, upscale


class Job(NamedTuple):
    """One picture to upscale; height and width of the input, pixels."""

    source: Path
    target: Path
    height: int
    width: int
    alpha: bool


def upscale_images(settings: UpscaleSettings, pairs: Sequence[tuple[Path, Path]]) -> int:
    """Upscale every input to its output. Returns the exit code. Raises `RunError` when some could not be upscaled."""
    missing = [pair for pair in pairs if settings.overwrite or not pair[1].exists()]
    loaded = load_network(Path(str(settings.checkpoint)), settings.network)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = loaded.network.to(device)
    tiling = choose_tiling(footprint(network, device), settings.memory_gb, settings.tile, settings.overlap)
    there = f", {len(pairs) - len(missing)} there already" if len(missing) < len(pairs) else ""
    print(f"{len(missing)} pictures x{loaded.scale} with {loaded.words} on {device}{there}")
    jobs, failures = _examine(missing)
    with progress_bar(sum(_num_tiles(job, tiling) for job in jobs), "tile", disable=not jobs) as bar:

        def through_network(rgb: np.ndarray) -> np.ndarray:
            return upscale(network, rgb, loaded.scale, tiling, device, bar.update)

        for job in jobs:
            try:
                large = upscale_image(read_picture(job), through_network, loaded.scale)
                write_bytes(job.target, cv2.imencode(".png", large)[1].tobytes())
            except (OSError, ValueError, cv2.error) as error:
                failures.append(f"{job.source}: {error}")
    for failure in failures:
        print(f"failed: {' '.join(failure.split())}", file=sys.stderr)
    if failures:
        raise RunError(f"{len(failures)} of {len(missing)} pictures could not be upscaled: mend or remove those above")
    print(f"upscaled: {settings.output}")
    return 0


def _examine(pairs: Sequence[tuple[Path, Path]]) -> tuple[list[Job], list[str]]:
    """What the headers say, and why some pictures cannot be upscaled."""
    jobs, failures = [], []
    for source, target in pairs:
        try:
            header = read_header(source)
        except (ValueError, OSError) as error:
            failures.append(f"{source}: {error}")
            continue
        if header.frames > 1 or header.height * header.width > MAX_PIXELS:
            why = "has several frames" if header.frames > 1 else f"has more than {MAX_PIXELS // 1_000_000} megapixels"
            failures.append(f"{source} {why}")
        else:
            jobs.append(Job(source, target, header.height, header.width, header.alpha))
    return jobs, failures


def _num_tiles(job: Job, tiling: Tiling) -> int:
    return sum(1 for _ in tiles(job.height, job.width, tiling))


def read_picture(job: Job) -> np.ndarray:
    """uint8 or uint16, [h, w] grey, [h, w, 3] BGR or [h, w, 4] BGRA, upright. Raises ValueError if it is none."""
    flags = cv2.IMREAD_UNCHANGED if job.alpha else cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    picture = cv2.imdecode(np.frombuffer(job.source.read_bytes(), np.uint8), flags)
    if picture is None or picture.dtype not in (np.uint8, np.uint16):
        raise ValueError("not a picture of 8 or 16 bits, or damaged")
    return picture


def upscale_image(picture: np.ndarray, enlarge_rgb: Callable[[np.ndarray], np.ndarray], scale: int) -> np.ndarray:
    """A picture of any number of channels, as of `read_picture`, through what upscales RGB [h, w, 3].

    Grey goes through as three equal channels and comes back as their luma. Transparency is upscaled bicubically.
    """
    if picture.ndim == 2:
        return cv2.cvtColor(enlarge_rgb(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)), cv2.COLOR_RGB2GRAY)
    large = cv2.cvtColor(enlarge_rgb(cv2.cvtColor(picture[..., :3], cv2.COLOR_BGR2RGB)), cv2.COLOR_RGB2BGR)
    if picture.shape[2] == 3:
        return large
    alpha = cv2.resize(picture[..., 3], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return np.dstack([large, alpha])
