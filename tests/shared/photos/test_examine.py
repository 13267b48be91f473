"""A file serves when it is whole, opaque, and read alike by two decoders; whatever else it is, it ends no command."""

import hashlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from shared.images import decode
from shared.photos.examine import Finding, examine

SIDE = 96


def smooth(seed: int = 0) -> np.ndarray:
    """A smooth image with some noise, uint8 [96, 96, 3], as a photograph is to a codec."""
    draws = np.random.default_rng(seed)
    coarse = cv2.resize(draws.uniform(40, 210, (12, 12, 3)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + draws.normal(0, 6, coarse.shape), 0, 255).astype(np.uint8)


IMAGE = smooth()
GREY = IMAGE[..., 1]
DEEP = IMAGE.astype(np.uint16) * 257
HOLE = np.full_like(GREY, 255)
HOLE[3] = 0
BITS = Image.fromarray(GREY).convert("1")


def pillow(image: np.ndarray | Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, format, **options)
    return file.getvalue()


def tiff(image: np.ndarray, photometric: str = "rgb", **options: object) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tifffile.imwrite(file, image, photometric=photometric, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes, size: int | None = None, crc: int | None = None) -> bytes:
    size, crc = len(data) if size is None else size, zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", size) + kind + data + struct.pack(">I", crc)


def png(image: np.ndarray, *chunks: bytes) -> bytes:
    data = pillow(image, "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def overwrite(data: bytes, at: int, size: int, fill: int | None = 0) -> bytes:
    new = bytes([fill]) * size if fill is not None else np.random.default_rng(1).bytes(size)
    return data[:at] + new + data[at + size :]


def in_strip(data: bytes, fill: int | None) -> bytes:
    """A TIFF with a part of its middle strip overwritten."""
    tags = Image.open(io.BytesIO(data)).tag_v2
    middle = len(tags[273]) // 2
    size = tags[279][middle] // 2
    return overwrite(data, tags[273][middle] + size // 2, size, fill)


def found(data: bytes) -> Finding:
    return examine(data, hashlib.sha256(data).hexdigest(), "file")


JPEG = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 4},
    "whole chroma": {"subsampling": 0},
    "rgb": {"keep_rgb": True},
}


@pytest.mark.parametrize("kind", JPEG)
def test_what_libjpeg_warns_of_is_damaged(kind: str) -> None:
    data = pillow(IMAGE, "JPEG", quality=95, **JPEG[kind])
    whole = found(data)
    assert whole.fault == ""
    assert whole.pixels == hashlib.sha256(decode(data, "file").data).hexdigest()
    assert found(data + b"\0\0\0\x18ftypmp42" + bytes(range(256))).fault == ""  # a phone's video behind the image
    half = len(data) // 2
    for damage in (data[:half], data[:half] + b"\xff\xd9", overwrite(data, half, 400)):
        assert found(damage).fault == "damaged"


@pytest.mark.parametrize("colours", ["RGB", "L", "CMYK"])
def test_a_progressive_image_without_its_last_scans_is_damaged(colours: str) -> None:
    data = pillow(Image.fromarray(IMAGE).convert(colours), "JPEG", quality=90, progressive=True)
    assert found(data).fault == ""
    scans = [match.start() for match in re.finditer(rb"\xff(\xda|\xc4)", data)]
    for start in scans[2:]:
        assert found(data[:start] + b"\xff\xd9").fault == "damaged"


def test_a_lost_restart_interval_is_damage() -> None:
    data = pillow(IMAGE, "JPEG", quality=95, restart_marker_blocks=4)
    start = data.index(b"\xff\xd3")
    assert found(data[:start] + data[data.index(b"\xff\xd4", start) :]).fault == "damaged"


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg"])
@pytest.mark.parametrize("rows", [8, 40, SIDE])
def test_a_damaged_strip_of_a_tiff_is_damage(compression: str, rows: int) -> None:
    data = pillow(IMAGE, "TIFF", compression=compression, tiffinfo={278: rows})
    assert found(data).fault == ""
    assert found(in_strip(data, None)).fault == "damaged"
    assert found(data[:-300]).fault in ("damaged", "unreadable")


def test_a_few_lost_bytes_of_lzw_are_damage_though_the_length_is_right() -> None:
    data = pillow(smooth(5), "TIFF", compression="tiff_lzw", tiffinfo={278: 7})
    tags = Image.open(io.BytesIO(data)).tag_v2
    strips = zip(tags[273], tags[279], strict=True)
    missed = [not found(overwrite(data, start + size // 2, 12)).fault for start, size in strips]
    assert len(missed) == 14
    assert sum(missed) <= 1


WHOLE_TIFF: dict[str, tuple[bytes, np.ndarray]] = {
    "uncompressed": (tiff(IMAGE, rowsperstrip=10), IMAGE),
    "packbits": (pillow(IMAGE, "TIFF", compression="packbits"), IMAGE),
    "tiles": (tiff(IMAGE, tile=(32, 32)), IMAGE),
    "tiles beyond the border": (tiff(IMAGE[:70, :81], tile=(32, 32), compression="zlib"), IMAGE[:70, :81]),
    "planes": (tiff(IMAGE.transpose(2, 0, 1).copy(), planarconfig="separate", rowsperstrip=7), IMAGE),
    "big endian": (tiff(IMAGE, byteorder=">"), IMAGE),
    "BigTIFF": (tiff(IMAGE, bigtiff=True), IMAGE),
    "16 bits": (tiff(DEEP), IMAGE),
    "16 bits predicted": (tiff(DEEP, compression="zlib", predictor=True), IMAGE),
    "grey 16 bits": (tiff(DEEP[..., 1], "minisblack"), np.dstack([GREY] * 3)),
    "white is zero": (tiff(255 - GREY, "miniswhite"), np.dstack([GREY] * 3)),
    "opaque": (tiff(np.dstack([IMAGE, np.full_like(GREY, 255)]), extrasamples=["unassalpha"]), IMAGE),
    "one bit": (pillow(BITS, "TIFF"), np.asarray(BITS.convert("RGB"))),
}


@pytest.mark.parametrize("name", WHOLE_TIFF)
def test_whole_tiffs_of_common_layouts_serve(name: str) -> None:
    data, expected = WHOLE_TIFF[name]
    assert found(data).fault == ""
    assert np.array_equal(decode(data, name), expected)


PLANES = DEEP.transpose(2, 0, 1).copy()
UNUSUAL = {
    "16-bit planes": tiff(PLANES, planarconfig="separate"),
    "16-bit planes in tiles": tiff(PLANES, planarconfig="separate", tile=(32, 32)),
    "16 bits, white is zero": tiff(65535 - DEEP[..., 1], "miniswhite"),
    "CIELAB": tiff(IMAGE, "cielab"),
    "floats": tiff(GREY.astype(np.float32), "minisblack"),
    "signed": tiff(GREY.view(np.int8), "minisblack"),
    "a GIF": pillow(IMAGE, "GIF"),
    "an AVIF": pillow(IMAGE, "AVIF"),
    "a JPEG 2000": pillow(IMAGE, "JPEG2000"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_decoders_read_differently_or_not_at_all_never_serves(name: str) -> None:
    assert found(UNUSUAL[name]).fault


TRANSPARENT = {
    "grey colour key": png(GREY, chunk(b"tRNS", struct.pack(">H", int(GREY[5, 5])))),
    "deep grey colour key": png(DEEP[..., 1], chunk(b"tRNS", struct.pack(">H", int(DEEP[5, 5, 1])))),
    "colour key": png(IMAGE, chunk(b"tRNS", struct.pack(">HHH", *(int(v) for v in IMAGE[4, 4])))),
    "grey and alpha": tiff(np.dstack([GREY, HOLE]), "minisblack", extrasamples=["unassalpha"], planarconfig="contig"),
    "associated alpha": tiff(np.dstack([IMAGE, HOLE]), extrasamples=["assocalpha"]),
    "16 bits and alpha": tiff(np.dstack([IMAGE, HOLE]).astype(np.uint16) * 257, extrasamples=["unassalpha"]),
    "WebP": pillow(np.dstack([IMAGE, HOLE]), "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_alpha_is_what_the_header_says(name: str) -> None:
    finding = found(TRANSPARENT[name])
    assert finding.transparent or finding.fault


def test_a_colour_key_that_no_pixel_has_is_opaque() -> None:
    level = next(level for level in range(256) if not (level == GREY).any())
    finding = found(png(GREY, chunk(b"tRNS", struct.pack(">H", level))))
    assert (finding.fault, finding.transparent) == ("", False)


SOUND_PNG = {
    "long text": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(3_000_000))),
    "long international text": chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(bytes(9_000_000))),
    "long profile": chunk(b"iCCP", b"profile\0\0" + zlib.compress(np.random.default_rng(0).bytes(9_000_000), 0)),
    "text with another checksum": chunk(b"tEXt", b"Comment\0hello", crc=1),
    "time with another checksum": chunk(b"tIME", bytes(7), crc=1),
    "damaged text": chunk(b"zTXt", b"Comment\0\0no deflate stream"),
    "large private chunk": chunk(b"prVt", bytes(9_000_000)),
}


@pytest.mark.parametrize("name", SOUND_PNG)
def test_what_does_not_show_never_refuses_a_png(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = png(IMAGE, SOUND_PNG[name])
    assert found(data).fault == ""
    assert np.array_equal(decode(data, name), IMAGE)
    assert capfd.readouterr().err == ""


def test_a_damaged_png_is_refused_before_a_library_speaks_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    whole = png(np.dstack([IMAGE, HOLE]), chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0\0\0\0\0"))
    for at in range(8, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        assert found(bytes(damaged)).fault
        with pytest.raises(ValueError, match="x cannot be decoded: "):
            decode(bytes(damaged), "x")
    assert capfd.readouterr().err == ""


HEADER = struct.pack(">II", SIDE, SIDE) + bytes([8, 2, 0, 0, 0])
SIGNATURE = b"\x89PNG\r\n\x1a\n"
CLAIMS = {
    "pixels of 4 GB": SIGNATURE + chunk(b"IHDR", HEADER) + chunk(b"IDAT", bytes(30), 0xFFFFFFF0) + chunk(b"IEND", b""),
    "text of 2 GB": SIGNATURE + chunk(b"IHDR", HEADER) + chunk(b"tEXt", b"a\0b", 0x7FFFFFF0) + chunk(b"IEND", b""),
    "100 megapixels": png(IMAGE).replace(
        chunk(b"IHDR", HEADER), chunk(b"IHDR", struct.pack(">II", 10_000, 10_000) + HEADER[8:])
    ),
    "no end": png(IMAGE)[:-12],
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_png_that_claims_more_than_it_holds_reaches_no_decoder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(*_: object) -> None:
        raise AssertionError("a decoder was called")

    monkeypatch.setattr(cv2, "imdecode", reached)
    monkeypatch.setattr(Image, "open", reached)
    assert found(CLAIMS[name]).fault == "unreadable"
    with pytest.raises(ValueError, match="cannot be decoded: "):
        decode(CLAIMS[name], name)


@pytest.mark.parametrize(
    ("reader", "fault"),
    [
        ("PIL.Image.open", "unreadable"),
        ("PIL.PngImagePlugin.PngImageFile.load", "damaged"),
        ("PIL.ImageOps.exif_transpose", "unreadable"),
        ("cv2.imdecode", "unreadable"),
    ],
)
@pytest.mark.parametrize("error", [TypeError, RuntimeError, SystemError, RecursionError, AttributeError])
def test_whatever_a_reader_raises_is_a_fault_of_the_file(
    reader: str, fault: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error("out of the depth of a decoder")

    monkeypatch.setattr(reader, broken)
    assert found(png(IMAGE)).fault == fault


def test_a_second_directory_without_a_size_is_a_fault() -> None:
    data = bytearray(tiff(IMAGE))
    directory = struct.unpack("<I", data[4:8])[0]
    after = directory + 2 + 12 * struct.unpack("<H", data[directory : directory + 2])[0]
    data += bytes(len(data) % 2)
    data[after : after + 4] = struct.pack("<I", len(data))
    data += struct.pack("<HHHIII", 1, 259, 3, 1, 1, 0)
    assert found(bytes(data)).fault == "unreadable"


def test_what_was_found_is_kept_under_the_hash_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALSR_CACHE", str(tmp_path))
    cut = pillow(IMAGE, "JPEG")[:-200]
    first = [found(data) for data in (png(IMAGE), cut)]
    calls: list[bytes] = []
    examined: Callable[..., Finding] = lambda data, name: calls.append(data) or Finding()  # noqa: E731
    monkeypatch.setattr("shared.photos.examine._examine", examined)
    assert [found(data) for data in (png(IMAGE), cut)] == first
    assert calls == []
    for path in tmp_path.rglob("*.json"):
        path.write_text("[]")  # a record that is none is written again
    found(cut)
    assert calls == [cut]
