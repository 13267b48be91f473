"""How the HR crop of a row is stored. A codec is one entry of `CODECS`; what each costs: docs/benchmarks.md.

The LR image is always PNG, and always made from the HR crop *as stored*: with a lossy codec, from what the crop decodes
to, so that any LR image can be rendered again from its shard alone.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..images import PNG_SIGNATURE, decode, decode_png, encode_png, png_size

JPEG_QUALITY = 98
"""Without chroma subsampling: 47.7 dB on photographs, 43 dB on the worst crop of 24."""
PPM_HEADER = re.compile(rb"P6\n([1-9]\d{0,9}) ([1-9]\d{0,9})\n255\n")
"""Width and height of a PPM file, as `_encode_ppm` writes them."""


@dataclass(frozen=True)
class Codec:
    """extension: of the member's name. magic: what its bytes begin with. size: (height, width) from the header alone.

    encode: uint8 [H, W, 3] RGB to bytes, equal bytes for equal images. decode: back, `name` stands in the error.
    size and decode raise ValueError for bytes that are no such image.
    """

    extension: str
    magic: bytes
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes | memoryview, str], np.ndarray]
    size: Callable[[bytes | memoryview], tuple[int, int]]
    lossless: bool = True


def codec_of(data: bytes | memoryview, name: str) -> Codec:
    """The codec that wrote an image, by its first bytes. Raises ValueError for an unknown one."""
    for codec in CODECS.values():
        if data[: len(codec.magic)] == codec.magic:
            return codec
    raise ValueError(f"{name} is not an image of a known codec ({', '.join(CODECS)})")


def _encode_ppm(image: np.ndarray) -> bytes:
    height, width, _ = image.shape
    return b"P6\n%d %d\n255\n" % (width, height) + image.tobytes()


def _decode_ppm(data: bytes | memoryview, name: str) -> np.ndarray:
    height, width, start = _ppm_header(data)
    if len(data) != (expected := start + height * width * 3):
        raise ValueError(f"{name} cannot be decoded: {len(data)} bytes, its header says {expected}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(height, width, 3).copy()


def _ppm_size(data: bytes | memoryview) -> tuple[int, int]:
    return _ppm_header(data)[:2]


def _ppm_header(data: bytes | memoryview) -> tuple[int, int, int]:
    """Height, width and the place of the first pixel."""
    if not (header := PPM_HEADER.match(data)):
        raise ValueError("not a PPM file of this format")
    return int(header[2]), int(header[1]), header.end()


def _encode_jpeg(image: np.ndarray) -> bytes:
    import cv2

    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)[1].tobytes()


def _jpeg_size(data: bytes | memoryview) -> tuple[int, int]:
    import turbojpeg

    try:
        header = turbojpeg.decompress_header(data)
    except RuntimeError as error:
        raise ValueError(f"not a JPEG file: {error}") from error
    return header["height"], header["width"]


CODECS = {
    "png": Codec("png", PNG_SIGNATURE, encode_png, decode_png, png_size),
    "ppm": Codec("ppm", b"P6\n", _encode_ppm, _decode_ppm, _ppm_size),
    "jpeg": Codec("jpg", b"\xff\xd8\xff", _encode_jpeg, decode, _jpeg_size, lossless=False),
}
