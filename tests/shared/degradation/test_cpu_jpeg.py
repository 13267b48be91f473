"""JPEG of the CPU backend: tables, sampling and rounding of the standard codec."""

import io

import numpy as np
import pytest
from PIL import Image

from shared.degradation import cpu
from shared.degradation.cpu import from_8bit, jpeg, to_8bit
from tests.shared.degradation.pictures import picture, smooth_picture

# ITU-T T.81, Tables K.1 and K.2, row by row.
LUMINANCE = """
16 11 10 16  24  40  51  61   12 12 14 19  26  58  60  55   14 13 16 24  40  57  69  56   14 17 22 29  51  87  80  62
18 22 37 56  68 109 103  77   24 35 55 64  81 104 113  92   49 64 78 87 103 121 120 101   72 92 95 98 112 100 103  99
"""
CHROMINANCE = """
17 18 24 47 99 99 99 99   18 21 26 66 99 99 99 99   24 26 56 99 99 99 99 99   47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99
"""


def ijg_table(text, quality):
    """The Independent JPEG Group's scaling of a standard table."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [min(max((int(entry) * percent + 50) // 100, 1), 255) for entry in text.split()]


@pytest.fixture
def files(monkeypatch):
    """The JPEG files that `jpeg` makes on its way, as a list that fills."""
    made, compress = [], cpu.turbojpeg.compress

    def spy(*args, **kwargs):
        made.append(bytes(compress(*args, **kwargs)))
        return made[-1]

    monkeypatch.setattr(cpu.turbojpeg, "compress", spy)
    return made


@pytest.mark.parametrize("quality", [30, 49, 50, 75, 95])
def test_jpeg_is_4_2_0_with_the_standard_tables_at_the_quality(files, quality):
    jpeg(from_8bit(smooth_picture(40, 56)), quality)
    with Image.open(io.BytesIO(files[0])) as file:
        assert file.size == (56, 40)
        assert [(h, v) for _, h, v, _ in file.layer] == [(2, 2), (1, 1), (1, 1)]
        assert list(file.quantization[0]) == ijg_table(LUMINANCE, quality)
        assert list(file.quantization[1]) == ijg_table(CHROMINANCE, quality)


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize(("height", "width"), [(40, 56), (37, 53), (18, 18), (11, 11), (8, 64)])
def test_jpeg_gives_the_pixels_that_pillow_decodes(files, quality, height, width):
    # Both are libjpeg-turbo today and agree exactly; 1 level is left to another build of either.
    ours = to_8bit(jpeg(from_8bit(smooth_picture(height, width)), quality))
    with Image.open(io.BytesIO(files[0])) as file:
        theirs = np.asarray(file.convert("RGB"))
    assert ours.shape == (height, width, 3)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_jpeg_rounds_to_8_bits_and_clips_before_it():
    image = 1.5 * picture(24, 24) - 0.25
    assert np.array_equal(jpeg(image, 60), jpeg(from_8bit(to_8bit(image)), 60))


def test_jpeg_gives_8_bit_levels():
    image = jpeg(picture(24, 24), 60)
    assert image.dtype == np.float32
    assert np.array_equal(from_8bit(to_8bit(image)), image)


def test_jpeg_loses_more_at_a_lower_quality():
    image = from_8bit(smooth_picture(64, 64))
    errors = [np.square(jpeg(image, quality) - image).mean() for quality in (30, 60, 95)]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_jpeg_keeps_the_order_of_the_channels(channel):
    pure = np.zeros((32, 32, 3), np.float32)
    pure[..., channel] = 0.8
    assert np.abs(jpeg(pure, 95) - pure).max() < 3 / 255  # of a flat picture only rounding of colours is lost
