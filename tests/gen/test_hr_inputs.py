"""What people have in their picture folders: each file is used as its owner would expect, or counted with a reason."""

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import RunError, UsageError
from shared.images import decode
from shared.photos.find import HRImage, find_hr_images
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset
from tests.gen.pictures import texture

PICTURE = texture(1, 90, 110)


def pillow(format: str, *pictures: np.ndarray, mode: str = "RGB", **options) -> bytes:
    """The bytes of a picture as Pillow writes it; several make an animation."""
    first, *others = (Image.fromarray(picture).convert(mode) for picture in pictures)
    more = {"save_all": True, "append_images": others} if others else {}
    file = io.BytesIO()
    first.save(file, format, **more, **options)
    return file.getvalue()


def with_alpha(lowest: int) -> np.ndarray:
    alpha = np.full(PICTURE.shape[:2], 255, np.uint8)
    alpha[40, 50] = lowest
    return np.dstack([PICTURE, alpha])


def huge_png(side: int) -> bytes:
    """A PNG file of `side` x `side` black pixels, one bit each, cut after its first 13 000 rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    rows = zlib.compress(bytes((side // 8 + 2) * min(side, 13_000)))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def found(folder: Path, **wanted):
    """The photographs of both sides together, by id, and the counted reasons."""
    val, train = find_hr_images(str(folder), "val", 76, **wanted), ()
    with suppress(RunError):  # a single photograph is held out
        train = find_hr_images(str(folder), "train", 76, **wanted).photographs
    return {photograph.id: photograph for photograph in (*val.photographs, *train)}, val.skipped


ROTATED = Image.Exif()
ROTATED[0x112] = 6  # to be shown turned clockwise

USED = {
    "opaque alpha.png": (pillow("PNG", with_alpha(255), mode="RGBA"), PICTURE, 0),
    "rotated.png": (pillow("PNG", PICTURE, exif=ROTATED), np.rot90(PICTURE, -1), 0),
    "rotated.jpg": (pillow("JPEG", PICTURE, exif=ROTATED, quality=95), np.rot90(PICTURE, -1), 40),
    "cmyk.jpg": (pillow("JPEG", PICTURE, mode="CMYK", quality=95), PICTURE, 40),
    "cmyk.tiff": (pillow("TIFF", PICTURE, mode="CMYK"), PICTURE, 2),
    "progressive.jpg": (pillow("JPEG", PICTURE, progressive=True, quality=95), PICTURE, 40),
    "phone.jpg": (pillow("MPO", PICTURE, texture(2, 90, 110), quality=95), PICTURE, 40),
    "lzw.tif": (pillow("TIFF", PICTURE, compression="tiff_lzw"), PICTURE, 0),
    "lossless.webp": (pillow("WEBP", PICTURE, lossless=True), PICTURE, 0),
    "plain.bmp": (pillow("BMP", PICTURE), PICTURE, 0),
}


@pytest.mark.parametrize("name", USED)
def test_pictures_of_every_common_kind_are_used_as_they_look(name, tmp_path):
    data, expected, tolerance = USED[name]
    (tmp_path / name).write_bytes(data)
    photographs, skipped = found(tmp_path)
    assert skipped == {}
    assert (photographs[name].height, photographs[name].width) == expected.shape[:2]
    difference = np.abs(decode(data, name).astype(int) - expected)
    assert difference.max() <= tolerance  # of a JPEG with chroma at half size
    assert difference.mean() <= tolerance / 8


TRANSPARENT_ENTRY = int(np.asarray(Image.fromarray(PICTURE // 128 * 255).convert("P"))[0, 0])

SKIPPED = {
    "transparent.png": (pillow("PNG", with_alpha(0), mode="RGBA"), "transparent"),
    "barely transparent.png": (pillow("PNG", with_alpha(254), mode="RGBA"), "transparent"),
    "grey transparent.png": (pillow("PNG", with_alpha(100), mode="LA"), "transparent"),
    "transparent.webp": (pillow("WEBP", with_alpha(0), mode="RGBA", lossless=True), "transparent"),
    "palette.png": (pillow("PNG", PICTURE // 128 * 255, mode="P", transparency=TRANSPARENT_ENTRY), "transparent"),
    "animated.png": (pillow("PNG", PICTURE, 255 - PICTURE), "animated or of several pages"),
    "animated.webp": (pillow("WEBP", PICTURE, 255 - PICTURE), "animated or of several pages"),
    "pages.tif": (pillow("TIFF", PICTURE, 255 - PICTURE), "animated or of several pages"),
    "huge.png": (huge_png(60_000), "unreadable"),
    "large.png": (huge_png(12_800), "larger than 150 megapixels"),
    "empty.jpg": (b"", "empty"),
    "text.png": (b"not a picture", "unreadable"),
    "header only.png": (pillow("PNG", PICTURE)[:60], "unreadable"),
    "cut.png": (pillow("PNG", PICTURE)[:-200], "unreadable"),
    "cut.jpg": (pillow("JPEG", PICTURE)[:-200], "damaged"),
    "cut.tif": (pillow("TIFF", PICTURE, compression="tiff_lzw")[:-200], "unreadable"),
    "cut.webp": (pillow("WEBP", PICTURE)[:-200], "unreadable"),
    "cut.bmp": (pillow("BMP", PICTURE)[:-200], "damaged"),
    "floats.tif": (pillow("TIFF", PICTURE, mode="F"), "of an unusual TIFF layout"),
    "narrow.png": (pillow("PNG", PICTURE[:75]), "smaller than the patch"),
}


@pytest.mark.parametrize("name", SKIPPED)
def test_pictures_that_cannot_serve_are_counted_with_a_reason(name, picture, tmp_path):
    data, reason = SKIPPED[name]
    (tmp_path / name).write_bytes(data)
    picture(tmp_path / "good.png", 3)
    photographs, skipped = found(tmp_path)
    assert photographs.keys() == {"good.png"}
    assert skipped == {reason: 1}


def test_a_folder_of_everything_renders_and_tells_what_it_skipped(command, picture, tmp_path):
    """As a person does, with warnings as errors: no odd file may disturb the others."""
    (tmp_path / "hr").mkdir()
    for name, entry in (USED | SKIPPED).items():
        (tmp_path / "hr" / name).write_bytes(entry[0])
    options = ["--hr", str(tmp_path / "hr"), "--out", str(tmp_path / "out"), "--subspace", "mild", "--patch", "76"]
    done = command("gen.render", *options, "--count", "20", "--workers", "1")
    assert done.returncode == 0, done.stderr
    manifest = load_manifest(tmp_path / "out" / "mild")
    assert sum(manifest.skipped.values()) == len(SKIPPED)
    assert manifest.skipped["animated or of several pages"] == 3
    assert {photo["id"] for photo in manifest.photographs} < set(USED)
    assert "3 animated or of several pages" in done.stdout


def test_sixteen_bits_are_scaled_and_rounded(picture, tmp_path):
    """65535 is white: v becomes v / 257, rounded; dropping the low byte would darken half of all values by a level."""
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for content in (values, np.dstack([values, values.T, values[::-1]])):
        path = picture(tmp_path / "deep.png", content)
        expected = np.round(content / 257).astype(np.uint8)
        decoded = decode(path.read_bytes(), path.name)
        assert np.array_equal(decoded, np.dstack([expected] * 3) if expected.ndim == 2 else expected)


def test_equal_files_are_used_once(picture, tmp_path):
    for seed, name in enumerate(("b.png", "sub/a.png", "c.png")):
        picture(tmp_path / name, seed // 2)
    photographs, skipped = found(tmp_path)
    assert photographs.keys() == {"b.png", "c.png"}
    assert skipped == {"duplicate": 1}


def test_min_side_passes_over_smaller_pictures(picture, tmp_path):
    for side in (80, 90, 100):
        picture(tmp_path / f"{side}.png", side, side, 120)
    photographs, skipped = found(tmp_path, min_side=90)
    assert photographs.keys() == {"90.png", "100.png"}
    assert skipped == {"smaller than 90 pixels": 1}
    with pytest.raises(UsageError, match="min_side is 75: it must be at least the patch, 76"):
        found(tmp_path, min_side=75)


def test_multiscale_adds_the_copies_of_real_esrgan(picture, tmp_path):
    picture(tmp_path / "a.png", 1, 600, 900)
    picture(tmp_path / "small.png", 2, 120, 200)
    photographs, _ = found(tmp_path, multiscale=True)
    assert {name: (p.height, p.width) for name, p in photographs.items()} == {
        "a.png": (600, 900),
        "a.png@0.75": (450, 675),
        "a.png@0.5": (300, 450),
        "a.png@0.33": (200, 300),
        "a.png@400": (400, 600),
        "small.png": (120, 200),
        "small.png@0.75": (90, 150),  # the others are smaller than the patch or larger than the picture
    }
    copy = photographs["a.png@0.5"]
    assert copy.weight == 300 * 450
    assert copy.sha256 == photographs["a.png"].sha256
    image = decode((tmp_path / "a.png").read_bytes(), "a")
    expected = Image.fromarray(image).resize((450, 300), Image.Resampling.LANCZOS)
    assert np.array_equal(copy.fit(image), expected)


def test_rows_of_copies_are_cut_from_the_reduced_picture(render, picture, tmp_path):
    picture(tmp_path / "hr" / "a.png", 1, 160, 240)
    options = ("--hr", str(tmp_path / "hr"), "--split", "val")
    dataset = Dataset(render(tmp_path / "out", *options, "--multiscale"))
    photographs = {p["id"]: p for p in dataset.manifest.photographs}
    assert photographs.keys() == {"a.png", "a.png@0.75", "a.png@0.5"}
    image = decode((tmp_path / "hr" / "a.png").read_bytes(), "a")
    rows = [dataset[number] for number in range(10)]
    assert {row.row.hr_id for row in rows} >= {"a.png", "a.png@0.75"}
    for hr, _, row in rows:
        size = photographs[row.hr_id]["height"], photographs[row.hr_id]["width"]
        copy = HRImage("", "", "", *size, 1, "", reduced=row.hr_id != "a.png").fit(image)
        assert np.array_equal(hr, copy[row.crop_y : row.crop_y + 76, row.crop_x : row.crop_x + 76])
    with pytest.raises(UsageError, match="photographs: other images, or"):
        render(tmp_path / "out", *options)
