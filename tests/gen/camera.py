"""Pairs that were made elsewhere, in folders and tars, and the command that makes a dataset of them."""

import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

import gen.adopt
from tests.gen.pictures import texture

SIDE, SCALE = 32, 4
SMALL = ("--patch", str(SIDE), "--rows-per-shard", "4", "--workers", "1", "--licence", "CC0-1.0")
SIZES = {"a": (32, 32), "b": (64, 96), "c": (80, 68), "d": (32, 32)}
"""Height and width of HR: 1, 6, 4 and 1 cells of 32 pixels."""
NUM_CELLS = 12


def png(image: np.ndarray, level: int = 9) -> bytes:
    """A PNG that is not written as we would write it."""
    return cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes()


def pairs() -> dict[str, tuple[bytes, bytes]]:
    """HR and LR by name; LR is a camera's, not what any plan would make of HR."""
    found = {}
    for seed, (name, (height, width)) in enumerate(SIZES.items()):
        hr = texture(seed, height, width)
        small = cv2.resize(hr, (width // SCALE, height // SCALE), interpolation=cv2.INTER_AREA)
        found[name] = png(hr), png(255 - small)
    return found


def members(names: tuple[str, str] = ("gt.png", "lq.png")) -> Iterator[tuple[str, bytes]]:
    for name, images in pairs().items():
        yield from ((f"{name}.{extension}", data) for extension, data in zip(names, images, strict=True))


def tar_of(files: Iterator[tuple[str, bytes]], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def folders(folder: Path, hr: str = "gt/{}.png", lr: str = "lq/{}.png") -> Path:
    files = {hr.format(name): high for name, (high, _) in pairs().items()}
    return write(folder, files | {lr.format(name): low for name, (_, low) in pairs().items()})


def adopt(out: Path, *words: str | Path) -> Path:
    """The whole source becomes the dataset `camera`, unless words say otherwise."""
    assert gen.adopt.main([*map(str, words), "--out", str(out), *SMALL]) == 0
    return out / ("camera-val" if "val" in words else "camera")


@pytest.fixture(scope="session")
def camera_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four pairs, HR in `gt` and LR in `lq`; look, do not touch."""
    return folders(tmp_path_factory.mktemp("camera-pairs"))


@pytest.fixture(scope="session")
def adopted(camera_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of all cells of all pairs; look, do not touch."""
    return adopt(tmp_path_factory.mktemp("adopted"), camera_pairs, "--whole")
