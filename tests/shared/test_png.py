"""Our own PNG: every picture comes back, other layouts are read too, and no flipped bit goes unnoticed."""

import struct
import tracemalloc
from contextlib import suppress

import cv2
import numpy as np
import pytest
from isal import isal_zlib

from shared.images import PNG_END, PNG_RGB, PNG_SIGNATURE, decode, decode_png, encode_png, png_chunk


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (19, 19), (64, 64), (76, 76), (33, 128), (255, 5)])
def test_every_picture_comes_back(size: tuple[int, int]) -> None:
    for image in (picture(*size), np.zeros((*size, 3), np.uint8), np.full((*size, 3), 255, np.uint8)):
        data = encode_png(image)
        assert np.array_equal(decode_png(data, "x"), image)
        assert np.array_equal(decode_png(memoryview(data), "x"), image)
        assert np.array_equal(decode(data, "x"), image)
        assert decode_png(data, "x").flags.writeable


@pytest.mark.parametrize("strategy", [cv2.IMWRITE_PNG_STRATEGY_DEFAULT, cv2.IMWRITE_PNG_STRATEGY_RLE])
@pytest.mark.parametrize(
    "filter", [cv2.IMWRITE_PNG_FILTER_NONE, cv2.IMWRITE_PNG_FILTER_UP, cv2.IMWRITE_PNG_ALL_FILTERS]
)
def test_pngs_of_others_are_read(strategy: int, filter: int) -> None:
    for image in (picture(40, 30), cv2.GaussianBlur(picture(300, 200), (9, 9), 3)):
        flags = [cv2.IMWRITE_PNG_STRATEGY, strategy, cv2.IMWRITE_PNG_FILTER, filter]
        data = cv2.imencode(".png", image[:, :, ::-1], flags)[1].tobytes()
        assert np.array_equal(decode_png(data, "x"), image)
    grey = cv2.imencode(".png", picture(40, 30)[:, :, 0])[1].tobytes()
    assert np.array_equal(decode_png(grey, "x"), np.repeat(picture(40, 30)[:, :, :1], 3, axis=2))


def test_no_flipped_bit_changes_a_picture_unnoticed() -> None:
    data, image, unnoticed = encode_png(picture(6, 5)), picture(6, 5), 0
    for position in range(24, len(data)):  # before: signature, name and size, which the row's record is held against
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with suppress(ValueError):
                assert np.array_equal(decode_png(bytes(damaged), "x"), image)
                unnoticed += 1
    assert unnoticed < 96  # bits of the twelve bytes after the pixels


@pytest.mark.parametrize("length", [0, 7, 24, 40, 60, -20, -12, -1])
def test_a_picture_cut_short_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"not a PNG file|cannot be decoded"):
        decode_png(encode_png(picture(20, 20))[:length], "x")


def test_a_bomb_is_not_inflated() -> None:
    """Bytes that hold a thousand times what the header says."""
    packed = isal_zlib.compress(bytes(64 << 20), 1)
    header = struct.pack(">II", 8, 8) + PNG_RGB
    data = PNG_SIGNATURE + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", packed) + PNG_END
    tracemalloc.start()
    with pytest.raises(ValueError, match="x cannot be decoded: damaged"):
        decode_png(data, "x")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
