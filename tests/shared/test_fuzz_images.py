"""Mutated image files, shard rows and indexes: readers give a result or raise the project's own errors, within memory.

A seeded round of some seconds runs always, a long one behind `--slow` (docs/benchmarks.md has its figures).
"""

import hashlib
import io
import resource
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from isal import isal_zlib
from PIL import Image

from shared.errors import RunError
from shared.images import decode, encode_png
from shared.photos.examine import examine
from shared.shards.codecs import CODECS
from shared.shards.format import Member, Row, decode_pair, group_rows, read_index, row_key, row_members, write_index
from shared.shards.reader import ShardFile, tar_members

ROUNDS, SLOW_ROUNDS = 4, 600
"""Mutations of each seed file."""
MEMORY_KB = 600_000
"""What the reading of files of some kB may add to the memory of the process."""
SIDE = 76
Read = Callable[[bytes], object]


def smooth(seed: int, side: int = SIDE) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def saved(image: np.ndarray | Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, format, **options)
    return file.getvalue()


def image_files() -> dict[str, bytes]:
    """One file of each kind that readers have code of their own for."""
    image, exif = smooth(0), Image.Exif()
    exif[0x112] = 6
    deep = cv2.imencode(".png", smooth(1).astype(np.uint16) * 257)[1].tobytes()
    return {
        "ours.png": encode_png(image),
        "exif.png": saved(image, "PNG", exif=exif),
        "palette.png": saved(Image.fromarray(image).quantize(64), "PNG", transparency=3),
        "deep.png": deep,
        "animated.png": saved(image, "PNG", save_all=True, append_images=[Image.fromarray(255 - image)]),
        "plain.jpg": saved(image, "JPEG", quality=95, exif=exif),
        "progressive.jpg": saved(image, "JPEG", progressive=True),
        "restarts.jpg": saved(image, "JPEG", restart_marker_blocks=3),
        "cmyk.jpg": saved(Image.fromarray(image).convert("CMYK"), "JPEG"),
        "phone.jpg": saved(image, "MPO", save_all=True, append_images=[Image.fromarray(image[:40])]),
        "plain.bmp": saved(image, "BMP"),
        "plain.webp": saved(image, "WEBP", exif=exif),
        "lossless.webp": saved(image, "WEBP", lossless=True),
        **{
            f"{compression}.tif": saved(image, "TIFF", compression=compression, tiffinfo={278: 16})
            for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
        },
    }


def mutated(data: bytes, draws: np.random.Generator) -> bytes:
    """The bytes with one to four of the usual damages."""
    result = bytearray(data)
    for _ in range(draws.integers(1, 5)):
        at, size = int(draws.integers(len(result) + 1)), int(draws.integers(1, 64))
        kind = draws.integers(7)
        if kind == 0:
            result[at : at + size] = draws.bytes(size)
        elif kind == 1:
            result[at : at + size] = bytes([int(draws.choice([0, 255]))]) * size
        elif kind == 2:
            del result[at:]
        elif kind == 3:
            del result[at : at + size]
        elif kind == 4:
            result[at:at] = result[: int(draws.integers(len(result) + 1))][-200:]
        elif kind == 5 and len(result) > 8:  # a number that claims too much
            at = int(draws.integers(len(result) - 4))
            result[at : at + 4] = int(draws.choice([0x7FFFFFFF, 0xFFFFFFF0, 0x00FFFFFF, 0x10000])).to_bytes(4, "big")
        elif result:
            result[at % len(result)] ^= 1 << int(draws.integers(8))
    return bytes(result)


def fuzz(seeds: dict[str, bytes], read: Read, rounds: int, errors: tuple[type[Exception], ...]) -> Counter[str]:
    """How the reading of mutated seeds ended. Whatever else is raised is the failure of the test."""
    ends, before = Counter[str](), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(rounds):
        for name, data in seeds.items():
            key = int.from_bytes(hashlib.sha256(f"{name} {number}".encode()).digest()[:8], "big")
            hostile = mutated(data, np.random.default_rng(key))
            try:
                read(hostile)
                ends["read"] += 1
            except errors:
                ends["refused"] += 1
            except BaseException as error:
                raise AssertionError(f"{name}, round {number}: {type(error).__name__}: {error}") from error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_KB
    return ends


@pytest.fixture(params=[ROUNDS, pytest.param(SLOW_ROUNDS, marks=pytest.mark.slow)], ids=["short", "long"])
def rounds(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Decoders speak of damaged bytes through warnings, and through OpenCV's log."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    cv2.utils.logging.setLogLevel(level)


def test_image_files(rounds: int) -> None:
    files = image_files()
    assert all(not examine(data, "", name).fault for name, data in files.items() if name[:4] not in ("anim", "phon"))

    def read(data: bytes) -> None:
        finding = examine(data, "", "file")  # raises nothing
        if not finding.fault:
            assert decode(data, "file").shape == (finding.height, finding.width, 3)
        decode(data, "file")

    ends = fuzz(files, read, rounds, (ValueError,))
    assert min(ends["read"], ends["refused"]) > rounds


def test_members_of_a_row(rounds: int) -> None:
    """Members are mutated one at a time, with the checksum of what they have become: it must not be what saves."""
    row = Row("noise", "train", 0, 7, "a.png", "00", 3, 4, SIDE, 4, "{}", "paper", "CC0")
    hr, lr = encode_png(smooth(3)), encode_png(smooth(2, SIDE // 4))

    def read(hr: bytes, lr: bytes) -> None:
        meta = replace(row, hr_crc32=isal_zlib.crc32(hr), lr_crc32=isal_zlib.crc32(lr))
        decode_pair(hr, meta.to_json(), lr, "key")

    images = {name: codec.encode(smooth(3)) for name, codec in CODECS.items()}
    images["another writer's png"] = saved(smooth(3), "PNG", optimize=True)
    ends = fuzz(images, lambda data: read(data, lr), rounds * 4, (RunError,))
    ends += fuzz({"lr": lr}, lambda data: read(hr, data), rounds * 4, (RunError,))
    ends += fuzz({"json": row.to_json()}, lambda data: decode_pair(hr, data, lr, "key"), rounds * 20, (RunError,))
    assert ends["refused"] > rounds
    ends = fuzz({"json": row.to_json()}, Row.from_json, rounds * 20, (ValueError,))
    assert min(ends["read"], ends["refused"]) > 0


def test_indexes_and_tars(rounds: int, tmp_path: Path) -> None:
    import tarfile

    tar, members = tmp_path / "noise-x4-a1b2c3-000000.tar", []
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number in range(3):
            row = Row("noise", "train", 0, number, "a", "0", 0, 0, 16, 4, "{}", "paper", "CC0")
            for extension, data in row_members("png", encode_png(smooth(number, 16)), smooth(number, 4), row).items():
                header = tarfile.TarInfo(f"{row_key('noise', 0, number)}.{extension}")
                header.size = len(data)
                members.append(Member(extension, archive.offset + 512, len(data), header.name))
                archive.addfile(header, io.BytesIO(data))
    whole, index = tar.read_bytes(), write_index(members)

    def read_as_index(data: bytes) -> None:
        tar.with_suffix(".idx").write_bytes(data)
        shard = ShardFile(tar, 3)
        for number in range(3):
            shard.read(number)

    def read_as_tar(data: bytes) -> None:
        (tmp_path / "other.tar").write_bytes(data)
        (tmp_path / "other.idx").write_bytes(index)
        list(tar_members(tmp_path / "other.tar"))
        shard = ShardFile(tmp_path / "other.tar", 3)
        for number in range(3):
            shard.read(number)

    ends = fuzz({"index": index}, lambda data: group_rows(read_index(data)), rounds * 20, (ValueError,))
    ends += fuzz({"index": index}, read_as_index, rounds * 20, (RunError,))
    ends += fuzz({"tar": whole}, read_as_tar, rounds * 20, (RunError, ValueError))
    assert min(ends["read"], ends["refused"]) > rounds
