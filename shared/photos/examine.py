"""Whether an image file can serve: it is whole, and two decoders read the same pixels.

A decoder that "succeeds with a warning" gives a half grey image, and OpenCV reads some layouts wrongly without a word.
So every file is examined once, when the list of HR images is made, and what was found is kept beside the photo cache
under the hash of the file: the list enters the digest of a dataset, and no row is refused later.
"""

import hashlib
import threading
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps
from PIL import __version__ as pillow_version

from ..images import MAX_PIXELS, decode, has_alpha, open_image
from ..records import from_plain
from .damage import FaultError, check_jpeg, check_tiff
from .photo_cache import record, recorded

MAX_FILE_BYTES = 12 * MAX_PIXELS
"""Larger files are passed over unread: no image of `MAX_PIXELS` needs more than 8 bytes a pixel."""
LARGE_PIXELS = 25_000_000
"""Larger images are examined one at a time, which bounds the memory to 14 bytes a pixel of one of them."""
BLOCK = 16
"""Side of the blocks whose mean difference between the two decoders is limited, pixels."""
MAX_DIFFERENCE = {"PNG": 1.0, "BMP": 1.0, "TIFF": 1.0, "JPEG": 8.0, "MPO": 8.0, "WEBP": 8.0}
"""Levels of 255, by format: 16-bit images are rounded differently, and CMYK is converted by different formulas."""
EXAMINER = f"3-{cv2.__version__}-{pillow_version}"
"""Raise the first number when `examine` finds something else in the same bytes."""
FINDINGS = "examined"
"""Folder of what was found, below that of the photo cache."""
_one_large = threading.Lock()


@dataclass(frozen=True)
class Finding:
    """What the examination of a file gives.

    height, width: of the decoded image, pixels. pixels: sha256 of them. transparent: whether any pixel shows what lies
    behind it. fault: the reason why the file cannot serve, or "".
    """

    height: int = 0
    width: int = 0
    pixels: str = ""
    transparent: bool = False
    fault: str = ""


def examine(data: bytes, digest: str, name: str) -> Finding:
    """What is found in the bytes of a file, from the photo cache when they were examined before.

    digest: sha256 of the bytes. name: of the file, for messages. Raises nothing: a fault is part of what is found.
    """
    if known := examined(digest):
        return known
    try:
        finding = _examine(data, name)
    except FaultError as fault:
        finding = Finding(fault=str(fault))
    except MemoryError:
        return Finding(fault="too large for the memory")  # not kept: another machine may have more
    except Exception:  # readers of damaged bytes raise whatever they like
        finding = Finding(fault="unreadable")
    record(FINDINGS, f"{digest}-{EXAMINER}", asdict(finding))
    return finding


def examined(digest: str) -> Finding | None:
    """What was found before in a file of this hash, if it was kept."""
    with suppress(ValueError):
        return from_plain(Finding, recorded(FINDINGS, f"{digest}-{EXAMINER}"), complete=True)
    return None


def examine_file(path: Path) -> Finding:
    """`examine` for a file; one that cannot be read has a fault too."""
    try:
        data = path.read_bytes()
    except (OSError, MemoryError):
        return Finding(fault="unreadable")
    return examine(data, hashlib.sha256(data).hexdigest(), path.name)


def _examine(data: bytes, name: str) -> Finding:
    try:
        image = open_image(data, name)
    except Image.DecompressionBombError:
        raise FaultError(_too_large()) from None
    with image:
        if image.height * image.width > MAX_PIXELS:
            raise FaultError(_too_large())
        format = str(image.format)
        if format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise FaultError("animated or of several pages")
        if format == "TIFF":
            check_tiff(data, image)
        elif data[:2] == b"\xff\xd8":
            check_jpeg(data)
        with _one_large if image.height * image.width > LARGE_PIXELS else nullcontext():
            return _decode_twice(data, image, format, name)


def _too_large() -> str:
    return f"larger than {MAX_PIXELS // 1_000_000} megapixels"


def _decode_twice(data: bytes, image: Image.Image, format: str, name: str) -> Finding:
    """What OpenCV reads, if Pillow reads the same."""
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        raise FaultError("damaged") from error
    try:
        pixels = decode(data, name)
    except ValueError as error:
        raise FaultError("unreadable") from error
    if not agree(pixels, as_rgb(image), MAX_DIFFERENCE[format]):
        raise FaultError("read differently by two decoders")
    height, width, _ = pixels.shape
    transparent = has_alpha(image) and is_transparent(image)
    return Finding(height, width, hashlib.sha256(pixels.data).hexdigest(), transparent)


def is_transparent(image: Image.Image) -> bool:
    """Whether any pixel of an image with alpha shows what lies behind it."""
    if image.mode.startswith("I;16"):  # Pillow converts no such image to RGBA
        return bool((np.asarray(image) == image.info["transparency"]).any())
    return bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255)


def as_rgb(image: Image.Image) -> np.ndarray:
    """A loaded image of Pillow as `decode` would give it: uint8 [H, W, 3], upright, 16 bits divided by 257."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        grey = cv2.convertScaleAbs(np.asarray(image).astype(np.uint16), alpha=1 / 257)
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    return np.asarray(image.convert("RGB"))


def agree(first: np.ndarray, second: np.ndarray, limit: float) -> bool:
    """Whether two images, uint8 [H, W, 3], have one size and differ by at most `limit` levels in a block's mean."""
    if first.shape != second.shape:
        return False
    if np.array_equal(first, second):  # the rest takes as long as decoding
        return True
    difference = cv2.absdiff(first, second)
    height, width = (-(-side // BLOCK) for side in difference.shape[:2])
    return bool(cv2.resize(difference, (width, height), interpolation=cv2.INTER_AREA).max() <= limit)
