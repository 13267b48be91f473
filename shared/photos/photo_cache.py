"""The photo cache: decoded HR images, kept once a machine as raw pixels. A crop is then a few pages of a file.

Decoding an image of 3 megapixels takes as long as rendering a dozen pairs. Its pixels are kept under the hash of its
file, so a changed file is another image, and with a checksum that is compared when a process first uses them: what a
crash or a disk has damaged is decoded again. No byte of a shard depends on what is kept.

REALSR_CACHE names the folder (default: realsr-rebalance/photographs in the user's cache folder; empty: nothing is
kept), REALSR_CACHE_GB the space it may take (default 16). The last tenth of a disk is left alone.
"""

import hashlib
import json
import mmap
import os
import shutil
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from isal import isal_zlib
from PIL import __version__ as pillow_version

from ..errors import RunError, UsageError
from ..images import decode
from ..records import canonical_json
from ..storage.atomic import TEMPORARY_PREFIX, temporary_beside
from ..storage.places import place
from ..storage.remote import Remote
from ..user_folders import cache_folder, expand_home

if TYPE_CHECKING:
    from .find import HRImage

DEFAULT_GB = 16.0
DECODER = "1"
"""Raise it when `images.decode` gives other pixels; versions of its libraries stand beside it in the name of a file."""
MAX_IMAGE_BYTES = 1 << 30
"""Limit for an HR image behind a url."""
TRAILER = struct.Struct("<III")
"""After the pixels: height, width, CRC-32 of the pixels."""
ABANDONED_SECONDS = 3600.0
"""A temporary of that age belongs to a writer that was killed."""
_started = time.time()
_verified: set[str] = set()


def photo_cache_folder() -> Path | None:
    """The folder of the photo cache, or None."""
    named = os.environ.get("REALSR_CACHE")
    if named is None:
        return cache_folder("photographs")
    return expand_home(named) if named else None


def cache_bytes() -> int:
    """How many bytes may be kept. Raises `UsageError` for what is not a number of gigabytes."""
    text = os.environ.get("REALSR_CACHE_GB", str(DEFAULT_GB))
    try:
        gigabytes = float(text)
        if gigabytes < 0:
            raise ValueError
        return int(gigabytes * 1e9)
    except (ValueError, OverflowError):
        raise UsageError(f"REALSR_CACHE_GB is {text!r}: it must be a number of gigabytes, 0 for none") from None


def recorded(kind: str, name: str) -> Any:
    """What was recorded of a file under that name; None when nothing was, or it cannot be read."""
    with suppress(OSError, ValueError):
        if path := _record_path(kind, name):
            return json.loads(path.read_bytes())
    return None


def record(kind: str, name: str, found: Any) -> None:
    """Keep what was found in a file, plain data, where the disk takes it; a power cut may lose it."""
    with suppress(OSError):
        if path := _record_path(kind, name):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = temporary_beside(path)
            temporary.write_bytes(canonical_json(found))
            temporary.replace(path)


def _record_path(kind: str, name: str) -> Path | None:
    folder = photo_cache_folder()
    return folder / kind / name[:2] / f"{name}.json" if folder and cache_bytes() else None


def kept(key: str) -> np.ndarray | None:
    """The kept pixels of an HR image, uint8 [h, w, 3] RGB, read-only, mapped from the disk; None when there are none.

    key: names the pixels (`HRImage.key`). A map is part of a process's memory while it is held: copy what you need.
    """
    path = _path(key)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            os.utime(file.fileno())
    except (OSError, ValueError):  # not there, or empty
        return None
    return _image(key, pages)


def keep(key: str, image: np.ndarray) -> bool:
    """Keep the pixels of an HR image if there is room. Returns whether they are kept; a full disk is no error."""
    path = _path(key)
    if path is None:
        return False
    temporary = temporary_beside(path)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _make_room(path.parent, image.nbytes + TRAILER.size):
            return False
        try:
            pixels = np.ascontiguousarray(image).reshape(-1).data
            with temporary.open("wb") as file:
                file.write(pixels)
                file.write(TRAILER.pack(*image.shape[:2], isal_zlib.crc32(pixels)))
            temporary.replace(path)
            return True
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return False


def _path(key: str) -> Path | None:
    import cv2  # here, so that commands answer before it is loaded

    folder = photo_cache_folder()
    return folder / f"{key}-{DECODER}-{cv2.__version__}-{pillow_version}.rgb" if folder else None


def _image(key: str, pages: mmap.mmap) -> np.ndarray | None:
    """The image in a file, or None for a damaged one."""
    if len(pages) < TRAILER.size:
        return None
    height, width, checksum = TRAILER.unpack_from(pages, len(pages) - TRAILER.size)
    if len(pages) != height * width * 3 + TRAILER.size:
        return None
    pixels = np.frombuffer(pages, np.uint8, height * width * 3)
    if key not in _verified:
        if isal_zlib.crc32(pixels) != checksum:
            return None
        _verified.add(key)
    return pixels.reshape(height, width, 3)


def _make_room(folder: Path, size: int) -> bool:
    """Whether `size` more bytes may be kept, if need be in the place of what was last used before this process."""
    found = []
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            status = entry.stat()
            if entry.name.startswith(TEMPORARY_PREFIX) and status.st_mtime < time.time() - ABANDONED_SECONDS:
                Path(entry.path).unlink()
            else:
                found.append((status.st_mtime, status.st_size, entry.path))
    disk = shutil.disk_usage(folder)
    surplus = max(sum(bytes for _, bytes, _ in found) + size - cache_bytes(), size + disk.total // 10 - disk.free)
    for used, bytes, path in sorted(found):
        if surplus <= 0 or used >= _started:
            break
        Path(path).unlink(missing_ok=True)
        surplus -= bytes
    return surplus <= 0


def fetch(photograph: "HRImage") -> tuple[np.ndarray, bool]:
    """An HR image, uint8 [h, w, 3] RGB, and whether its pixels are kept, so that reading it again costs nothing.

    Kept pixels are mapped and read-only; the image file is not read. Raises `RunError` as `read` does.
    """
    image = kept(photograph.key)
    if image is not None:
        return image, True
    image = read(photograph)
    mapped = kept(photograph.key) if keep(photograph.key, image) else None
    return (image, False) if mapped is None else (mapped, True)


def read(photograph: "HRImage") -> np.ndarray:
    """An HR image from its file, uint8 [h, w, 3] RGB. Raises `RunError` when that is not the one that was listed."""
    data = read_listed(photograph)
    try:
        return photograph.fit(decode(data, _where(photograph)))
    except ValueError as error:
        raise RunError(f"HR image {error}, although it could be when it was listed: is memory short?") from error


def _where(photograph: "HRImage") -> str:
    return photograph.path if not photograph.size else f"{photograph.id} in {photograph.path}"


def read_listed(photograph: "HRImage") -> bytes:
    """The bytes of an image's file. Raises `RunError` when that is not the one that was listed."""
    path = _where(photograph)
    try:
        data = read_file(photograph.path, photograph.offset, photograph.size)
    except OSError as error:
        raise RunError(
            f"HR image {path} was listed but cannot be read now ({error.strerror or error}): "
            "put it back and run the same command again"
        ) from error
    if hashlib.sha256(data).hexdigest() != photograph.sha256:
        raise RunError(
            f"HR image {path} has changed since it was listed: images must stay as they are while a command "
            "works; run it again"
        )
    return data


def read_file(path: str, offset: int = 0, size: int = 0) -> bytes:
    """The bytes of a file, or `size` bytes of it from `offset` on. path: may be a url. Raises OSError."""
    where = place(path)
    if not size:
        return where.read_bytes(MAX_IMAGE_BYTES) if isinstance(where, Remote) else where.read_bytes()
    if isinstance(where, Remote):
        return where.read_range(offset, offset + size)
    with where.open("rb") as file:
        return os.pread(file.fileno(), size, offset)
