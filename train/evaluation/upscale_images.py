"""What `train.upscale` does once its settings are known to be sound: images of every kind through a network."""

import io
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps

from shared.errors import RunError
from shared.images import checked_png, open_image, png_chunk, png_profile
from shared.photos.examine import examine_file
from shared.progress import progress_bar
from shared.storage.atomic import write_bytes
from shared.text import counted
from train.evaluation.settings import UpscaleSettings
from train.evaluation.systems import load_network
from train.evaluation.tiles import choose_tiling, footprint, tiles, upscale
from train.networks.build import forbid_tf32

QUALITY = 95
EXIF_ORIENTATION = 0x112
FLIPS = {2: (1,), 3: (0, 1), 4: (0,), 6: (0,), 7: (0, 1), 8: (1,)}
"""The axes to flip of an image of that EXIF orientation; from 5 on, height and width are exchanged afterwards."""


class Job(NamedTuple):
    """One image to upscale; height and width of the input, pixels."""

    source: Path
    target: Path
    height: int
    width: int
    transparent: bool


def upscale_images(settings: UpscaleSettings, pairs: Sequence[tuple[Path, Path]]) -> int:
    """Upscale every input to its output. Returns the exit code. Raises `RunError` when some could not be upscaled."""
    forbid_tf32()
    missing = [pair for pair in pairs if settings.overwrite or not pair[1].exists()]
    loaded = load_network(Path(str(settings.checkpoint)), settings.network)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = loaded.network.to(device)
    tiling = choose_tiling(footprint(network, device), settings.memory_gb, settings.tile, settings.overlap)
    there = f", {len(pairs) - len(missing)} there already" if len(missing) < len(pairs) else ""
    print(f"{counted(len(missing), 'image')} x{loaded.scale} with {loaded.words} on {device}{there}")
    jobs, failures, written = *_examine(missing), 0
    num_tiles = sum(len(list(tiles(job.height, job.width, tiling))) for job in jobs)
    with progress_bar(num_tiles, "tile", disable=not jobs) as bar:

        def through_network(rgb: np.ndarray) -> np.ndarray:
            return upscale(network, rgb, loaded.scale, tiling, device, bar.update)

        for job in jobs:
            try:
                image, profile = read_image(job)
                large = upscale_image(image, through_network, loaded.scale)
                if settings.outscale:
                    large = resize_to(
                        large, round(job.height * settings.outscale), round(job.width * settings.outscale)
                    )
                write_bytes(job.target, encode(large, profile, job.target.suffix.lower()))
                written += 1
            except (OSError, ValueError, cv2.error) as error:
                failures.append(f"{job.source}: {error}")
    for failure in failures:
        print(f"failed: {' '.join(failure.split())}", file=sys.stderr)
    where = pairs[0][1] if len(pairs) == 1 else settings.output
    print(f"wrote {counted(written, 'image')} to {where}")
    if failures:
        raise RunError(
            f"{len(failures)} of {counted(len(missing), 'image')} could not be upscaled: see the lines above"
        )
    return 0


def _examine(pairs: Sequence[tuple[Path, Path]]) -> tuple[list[Job], list[str]]:
    """What is found in the files, and why some images cannot be upscaled."""
    jobs, failures = [], []
    for source, target in pairs:
        found = examine_file(source)
        if found.fault:
            failures.append(f"{source}: it is {found.fault}")
        else:
            jobs.append(Job(source, target, found.height, found.width, found.transparent))
    return jobs, failures


def read_image(job: Job) -> tuple[np.ndarray, bytes]:
    """An image as it looks, and its colour profile, empty if there is none.

    The image is uint8 or uint16, [h, w] grey, [h, w, 3] BGR or [h, w, 4] BGRA, upright. Raises ValueError for a file
    that has changed since it was examined.
    """
    data = job.source.read_bytes()
    pixels = np.frombuffer(checked_png(data, job.source.name), np.uint8)
    upright = cv2.imdecode(pixels, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if upright is None or upright.shape[:2] != (job.height, job.width) or upright.dtype not in (np.uint8, np.uint16):
        raise ValueError("the file has changed meanwhile")
    with open_image(data, job.source.name) as header:
        profile = png_profile(data) or header.info.get("icc_profile") or b""
        if not job.transparent:
            return upright, profile
        whole = cv2.imdecode(pixels, cv2.IMREAD_UNCHANGED)  # not turned, unlike the colours
        if whole is not None and whole.ndim == 3 and whole.shape[2] == 4:
            colours = upright if upright.ndim == 3 else cv2.cvtColor(upright, cv2.COLOR_GRAY2BGR)
            orientation = header.getexif().get(EXIF_ORIENTATION, 1)
            turned = np.flip(whole, FLIPS.get(orientation, ()))
            turned = turned.swapaxes(0, 1) if orientation in range(5, 9) else turned
            for candidate in (turned, whole):
                if np.array_equal(candidate[..., :3], colours):
                    return np.ascontiguousarray(candidate), profile
        rgba = np.asarray(ImageOps.exif_transpose(header).convert("RGBA"))  # a transparent colour, which OpenCV drops
        return cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA), profile


def upscale_image(image: np.ndarray, upscale_rgb: Callable[[np.ndarray], np.ndarray], scale: int) -> np.ndarray:
    """An image of any number of channels, as of `read_image`, through what upscales RGB [h, w, 3].

    Grey goes through as three equal channels and comes back as their luma. Transparency is upscaled bicubically.
    """
    if image.ndim == 2:
        return cv2.cvtColor(upscale_rgb(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)), cv2.COLOR_RGB2GRAY)
    large = cv2.cvtColor(upscale_rgb(cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2RGB)), cv2.COLOR_RGB2BGR)
    if image.shape[2] == 3:
        return large
    alpha = cv2.resize(image[..., 3], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return np.dstack([large, alpha])


def resize_to(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image at another size: means of areas if it is smaller, Lanczos if it is larger."""
    smaller = height * width < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LANCZOS4
    return cv2.resize(image, (max(1, width), max(1, height)), interpolation=how)


def encode(image: np.ndarray, profile: bytes, ending: str = ".png") -> bytes:
    """The bytes of a file of an image, with a colour profile if that is one for as many channels.

    Raises ValueError for transparency in a JPEG.
    """
    if profile[16:20] != (b"GRAY" if image.ndim == 2 else b"RGB "):  # of a CMYK image, say
        profile = b""
    if ending != ".png":
        return _encode_lossy(image, profile, "WEBP" if ending == ".webp" else "JPEG")
    data = cv2.imencode(".png", image)[1].tobytes()
    if not profile:
        return data
    after_header = data.index(b"IHDR") + 21
    chunk = png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    return data[:after_header] + chunk + data[after_header:]


def _encode_lossy(image: np.ndarray, profile: bytes, kind: str) -> bytes:
    if image.ndim == 3 and image.shape[2] == 4 and kind == "JPEG":
        raise ValueError("JPEG holds no transparency: take --format png or webp")
    if image.dtype == np.uint16:
        image = (image / 257).round().astype(np.uint8)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, quality=QUALITY, icc_profile=profile or None)
    return buffer.getvalue()
