"""Every way to store the HR crop: what comes back, equal bytes, and what is refused before it is decoded."""

import io

import numpy as np
import pytest
from PIL import Image

from shared.shards.codecs import CODECS, codec_of
from shared.shards.format import decode_member, extensions

every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def picture(height: int = 76, width: int = 80) -> np.ndarray:
    """A smooth picture, as photographs are at the scale of pixels."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(127 + 120 * np.sin(x / (9 + c) + y / 13)).astype(np.uint8) for c in range(3)], axis=-1)


@every_codec
def test_what_comes_back(codec):
    image = picture()
    data = codec.encode(image)
    decoded = codec.decode(data, "x")
    assert codec_of(data, "x") is codec
    assert codec.size(data) == (76, 80)
    assert (decoded.dtype, decoded.shape) == (np.uint8, image.shape)
    assert decoded.flags.writeable
    if codec.lossless:
        assert np.array_equal(decoded, image)
    else:
        psnr_db = 10 * np.log10(255**2 / np.mean((decoded - image.astype(float)) ** 2))
        assert 40 < psnr_db < 70


@every_codec
def test_equal_pictures_give_equal_bytes_and_pillow_reads_them(codec):
    data = codec.encode(picture())
    assert codec.encode(picture()[:, ::-1][:, ::-1].copy()) == data
    read = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(read - codec.decode(data, "x")).max() <= 2  # JPEG decoders may round differently


@every_codec
def test_what_is_cut_short_or_of_another_size_is_refused(codec):
    data = codec.encode(picture(76, 76))
    assert decode_member(memoryview(data), 76, "key.hr").shape == (76, 76, 3)
    with pytest.raises(ValueError, match=rf"key\.hr\.{codec.extension} is \(76, 76\) pixels: the row says 80 x 80"):
        decode_member(data, 80, "key.hr")
    for length in (0, 2, 5, 12, 20):
        with pytest.raises(ValueError, match=r".+"):
            decode_member(data[:length], 76, "key.hr")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        b"P6\n",
        b"P6\n76 76\n65535\n",
        b"P6\n-76 76\n255\n",
        b"P6\n076 76\n255\n" + bytes(76 * 76 * 3),
        b"P6\n76 76\n255\n" + bytes(76 * 76 * 3 + 1),
        b"P6\n76\n255\n",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\x00\x00" * 9,
        b"\xff\xd8\xff\xc0\x00\x05\x08\x00\x4c",
    ],
)
def test_hostile_headers_are_value_errors(data):
    with pytest.raises(ValueError, match=r".+"):
        decode_member(data, 76, "key.hr")


def test_members_are_named_by_their_codec():
    assert [extensions(codec)[0] for codec in ("png", "ppm", "jpeg")] == ["hr.png", "hr.ppm", "hr.jpg"]
