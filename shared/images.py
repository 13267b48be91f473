"""Pictures in and out: uint8 [H, W, 3], RGB, everywhere in this project."""

import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from isal import isal_zlib
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_FILTER_UP = 2
"""Every row is stored as its difference to the row above: on photographs as small as any fixed filter."""
PNG_RGB = bytes([8, 2, 0, 0, 0])
"""End of a header: 8 bits, RGB, deflate, the five standard filters, not interlaced."""
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
DAMAGED: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub says an instance
"""What ISA-L raises for bytes that it cannot inflate."""
DEFLATE_LEVEL = 1
"""ISA-L's level 1: the size of OpenCV's best strategy in a quarter of its time (docs/benchmarks.md)."""


def decode(data: bytes | memoryview | np.ndarray, name: str) -> np.ndarray:
    """Decode the bytes of a picture to uint8 [H, W, 3], RGB; `name` stands in the error.

    16 bits become 8 (scaled and rounded), grey and CMYK become RGB, alpha is dropped, EXIF rotation is applied, of
    several frames the first is taken; colour profiles are not.
    Raises ValueError when the bytes are not a picture OpenCV can decode, or one of floating point numbers.
    """
    import cv2  # here, so that commands answer before it is loaded

    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise ValueError(f"{name} cannot be decoded: {error.err}") from error
    if image is None:
        raise ValueError(f"{name} cannot be decoded: not a picture, or damaged")
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)
    if image.dtype != np.uint8:
        raise ValueError(f"{name} cannot be decoded: it holds {image.dtype} values, not 8 or 16 bits")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


class Header(NamedTuple):
    """What a picture file says about itself. frames: of an animation, or pages. alpha: pixels may be transparent."""

    height: int
    width: int
    frames: int
    alpha: bool


def read_header(path: Path) -> Header:
    """The header of a picture file, without its pixels; of a phone's multi-picture JPEG the main one alone.

    Size is as stored, before any EXIF rotation. Raises ValueError when Pillow does not know the file.
    """
    try:
        with Image.open(path) as picture:
            frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
            alpha = "A" in picture.mode.upper() or "transparency" in picture.info
            return Header(picture.height, picture.width, frames, alpha)
    except Image.DecompressionBombError:
        return Header(1 << 20, 1 << 20, 1, False)  # Pillow tells no more than that it is huge
    except (OSError, SyntaxError, EOFError, struct.error) as error:
        raise ValueError(f"{path.name} cannot be decoded: {error}") from error


def is_transparent(data: bytes) -> bool:
    """Whether any pixel of a picture shows what lies behind it."""
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim < 3 or image.shape[2] < 4:
        return False
    opaque = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(image.dtype, 1.0)
    return bool(image[..., 3].min() < opaque)


def encode_png(image: np.ndarray) -> bytes:
    """PNG bytes of uint8 [H, W, 3] RGB."""
    height, width, channels = image.shape
    pixels = image.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = PNG_FILTER_UP
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    header = struct.pack(">II", width, height) + PNG_RGB
    data = isal_zlib.compress(rows, DEFLATE_LEVEL)
    return PNG_SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + PNG_END


def decode_png(data: bytes | memoryview, name: str, out: np.ndarray | None = None) -> np.ndarray:
    """Decode the bytes of a PNG to uint8 [H, W, 3], RGB; `name` stands in the error. out: contiguous memory for it.

    The layout that `encode_png` writes is read with ISA-L, in a third of OpenCV's time; any other by OpenCV. Checksums
    are held against the bytes. Raises ValueError when they are damaged or no picture.
    """
    from .png_rows import add_rows

    height, width = png_size(data)
    end = len(data) - len(PNG_END)
    is_ours = data[24:29] == PNG_RGB and data[37:41] == b"IDAT" and data[end:] == PNG_END
    if not is_ours or struct.unpack(">I", data[33:37])[0] != end - 45:
        return _into(out, decode(data, name))
    stored, pixels = 1 + 3 * width, np.empty(0, np.uint8)
    crcs = struct.unpack(">I", data[29:33]) + struct.unpack(">I", data[end - 4 : end])
    if crcs == (isal_zlib.crc32(data[12:29]), isal_zlib.crc32(data[37 : end - 4])):
        inflater = isal_zlib.decompressobj()
        with suppress(DAMAGED):
            pixels = np.frombuffer(inflater.decompress(data[41 : end - 4], height * stored + 1), np.uint8)
    if len(pixels) != height * stored or not inflater.eof:
        raise ValueError(f"{name} cannot be decoded: damaged")
    rows = pixels.reshape(height, stored)
    if (rows[:, 0] != PNG_FILTER_UP).any():
        return _into(out, decode(data, name))
    image = np.empty((height, width, 3), np.uint8) if out is None else out
    assert image.flags.c_contiguous
    add_rows(rows, image.reshape(height, 3 * width))
    return image


def _into(out: np.ndarray | None, image: np.ndarray) -> np.ndarray:
    if out is None:
        return image
    out[...] = image
    return out


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", isal_zlib.crc32(data, isal_zlib.crc32(kind)))


def png_size(data: bytes | memoryview) -> tuple[int, int]:
    """(height, width) from the header alone, so that a hostile size is refused before it is allocated.

    Raises ValueError when the bytes do not begin as a PNG.
    """
    if len(data) < 24 or data[:8] != PNG_SIGNATURE or data[12:16] != b"IHDR":
        raise ValueError("not a PNG file")
    width, height = struct.unpack(">II", data[16:24])
    return height, width
