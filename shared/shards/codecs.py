"""How the HR crop of a row is stored. A codec is one entry of `CODECS`; what each costs: docs/benchmarks.md.

The LR image is always PNG, and always made from the HR crop *as stored*: with a lossy codec, from what the crop decodes
to, so that any LR image can be rendered again from its shard alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..images import PNG_SIGNATURE, decode, decode_png, encode_png, png_size

JPEG_QUALITY = 98
"""Without chroma subsampling: 47.7 dB on photographs, 43 dB on the worst crop of 24."""
START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""JPEG markers that begin with the size; the three others in that range are tables."""


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
    height, width = _ppm_size(data)
    header, size = len(_encode_ppm(np.empty((height, width, 0), np.uint8))), height * width * 3
    if len(data) != header + size:
        raise ValueError(f"{name} cannot be decoded: {len(data)} bytes, its header says {header + size}")
    return np.frombuffer(data, np.uint8, size, header).reshape(height, width, 3).copy()


def _ppm_size(data: bytes | memoryview) -> tuple[int, int]:
    words = bytes(data[:64]).split(b"\n", 3)
    size = words[1].split(b" ") if len(words) == 4 and words[2] == b"255" else []
    if (
        len(size) != 2
        or not all(word.isdigit() for word in size)
        or b"%d %d" % (int(size[0]), int(size[1])) != words[1]
    ):
        raise ValueError("not a PPM file of this format")
    return int(size[1]), int(size[0])


def _encode_jpeg(image: np.ndarray) -> bytes:
    import cv2

    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)[1].tobytes()


def _jpeg_size(data: bytes | memoryview) -> tuple[int, int]:
    for marker, segment in _jpeg_segments(data):
        if marker in START_OF_FRAME and len(segment) >= 5:
            return int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    raise ValueError("not a JPEG file, or one without a size")


def _jpeg_segments(data: bytes | memoryview) -> Iterator[tuple[int, bytes | memoryview]]:
    """Marker and content of each segment before the pixels."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], data[at + 4 : at + 2 + length]
        at += 2 + length


CODECS = {
    "png": Codec("png", PNG_SIGNATURE, encode_png, decode_png, png_size),
    "ppm": Codec("ppm", b"P6\n", _encode_ppm, _decode_ppm, _ppm_size),
    "jpeg": Codec("jpg", b"\xff\xd8\xff", _encode_jpeg, decode, _jpeg_size, lossless=False),
}
