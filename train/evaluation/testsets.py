"""Test sets as sequences of images, whatever their layout.

NAME=PATH, where PATH is
* a dataset folder of gen.render, or a whole-image set of gen.testset (one set per task, NAME-<task>);
* RealSR V3: a folder with Canon/Test/4 and Nikon/Test/4 (one set per camera), or one of those with *_HR and *_LR4;
* DRealSR: Test_x4 with test_HR/*_x4 and test_LR/*_x1, or the folder above it;
* crops and paired folders: {test_HR,test_LR}, {HR,LR} or {gt,lq} with equal names; or LR_FOLDER,HR_FOLDER;
* a plain folder of LR images: it has outputs, but no measures.
"""

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shared.errors import RunError, UsageError
from shared.images import decode
from shared.photos.files import SUFFIXES
from shared.photos.split import PAIR_MARK
from shared.records import canonical_json
from shared.shards.manifest import MANIFEST
from shared.shards.reader import Dataset
from shared.shards.testset import TESTSET, hr_path, load_testset, lr_path

PAIRED = (("test_LR", "test_HR"), ("LR", "HR"), ("lq", "gt"))
"""Names of the folders of LR and HR images."""
CAMERAS = ("Canon", "Nikon")


class Image(NamedTuple):
    """One image of a set. lr: uint8 [h, w, 3]; hr: uint8 [scale h, scale w, 3] or None; RGB."""

    name: str
    lr: np.ndarray
    hr: np.ndarray | None


@dataclass(frozen=True)
class TestSet:
    """A named sequence of images.

    scale: HR side / LR side, None when there is no HR. names: of the images. photographs: the photograph that each
    image shows, so that images of one scene are one cluster. read: an image by its number; it raises `RunError` that
    names a file which cannot be decoded. identify: a hash that differs between sets of other images. unmatched: files
    that were left out, and why.
    """

    name: str
    scale: int | None
    names: Sequence[str]
    photographs: Sequence[str]
    read: Callable[[int], Image]
    identify: Callable[[], str]
    unmatched: Sequence[str] = ()


def _of_files(
    name: str,
    scale: int | None,
    names: Sequence[str],
    photographs: Sequence[str],
    pairs: Sequence[tuple[Path, Path | None]],
    unmatched: Sequence[str] = (),
) -> TestSet:
    """A set of image files. pairs: LR and HR path of each image; HR is cut to `scale` times the size of LR."""

    def read(number: int) -> Image:
        lr_file, hr_file = pairs[number]
        lr = decode_file(lr_file)
        if hr_file is None or scale is None:
            return Image(names[number], lr, None)
        height, width = (side * scale for side in lr.shape[:2])
        return Image(names[number], lr, decode_file(hr_file)[:height, :width])

    def identify() -> str:
        files = (file for pair in pairs for file in pair if file)
        return hashlib.sha256(canonical_json([[file.name, file_digest(file)] for file in files])).hexdigest()

    return TestSet(name, scale, names, photographs, read, identify, unmatched)


def _of_rows(name: str, rows: Dataset) -> TestSet:
    """The rows of a dataset that gen.render made, by their numbers."""
    names = [f"{number:06d}" for number in range(len(rows))]
    photographs = [rows.meta(number).hr_sha256 for number in range(len(rows))]

    def read(number: int) -> Image:
        pair = rows[number]
        return Image(names[number], pair.lr, pair.hr)

    return TestSet(name, rows.manifest.recipe["scale"], names, photographs, read, rows.manifest.identity)


def open_testsets(texts: Sequence[str]) -> list[TestSet]:
    """The sets that NAME=PATH or PATH (then named like its folder) stand for.

    Raises `UsageError` for a path that holds no test set and for two sets of one name.
    """
    sets = [found for text in texts for found in _open(text)]
    doubled = [name for name, count in Counter(found.name for found in sets).items() if count > 1]
    if doubled:
        raise UsageError(f"two test sets are called {doubled[0]!r}: give them names, NAME=PATH")
    return sets


def named_path(text: str) -> tuple[str, Path]:
    """Name and path of NAME=PATH, or of a PATH, which is then named like its folder; a PATH may hold = after a /."""
    name, separator, path = text.partition("=")
    return (name, Path(path)) if separator and "/" not in name else (Path(text).name, Path(text))


def _open(text: str) -> Iterator[TestSet]:
    name, path = named_path(text)
    if not name:
        raise UsageError(f"test set {text!r}: a name must not be empty")
    if "," in str(path) and not path.exists():
        lr, hr = (Path(part) for part in str(path).split(",", 1))
        yield _paired(name, _images(lr), _images(hr))
        return
    if not path.is_dir():
        raise UsageError(f"test set {text!r}: no folder {path}")
    if (path / MANIFEST).is_file():
        yield _of_rows(name, Dataset(path))
    elif (path / TESTSET).is_file() or (path / "plans").is_dir():
        yield from _built(name, path)
    elif cameras := [camera for camera in CAMERAS if (path / camera / "Test" / "4").is_dir()]:
        yield from (_marked(f"{name}-{camera}", path / camera / "Test" / "4") for camera in cameras)
    elif folders := _paired_folders(path):
        yield _paired(name, *map(_images, folders))
    elif any(file.stem.endswith("_HR") for file in _images(path)):
        yield _marked(name, path)
    else:
        sizes, unusable = _examine(_images(path))
        names = [file.stem for file in sizes]
        _refuse_doubles(names, path)
        yield _of_files(name, None, names, names, [(file, None) for file in sizes], unusable)


def _built(name: str, folder: Path) -> Iterator[TestSet]:
    """One set per task of a folder that gen.testset made."""
    record = load_testset(folder)
    names, photographs = [i.name for i in record.images], [i.photograph for i in record.images]
    for task in record.tasks:
        pairs: list[tuple[Path, Path | None]] = [(lr_path(folder, task, n), hr_path(folder, n)) for n in names]
        yield _of_files(f"{name}-{task}", record.scale, names, photographs, pairs)


def _paired_folders(path: Path) -> tuple[Path, Path] | None:
    for parent in (path, path / "Test_x4"):
        for lr, hr in PAIRED:
            if (parent / lr).is_dir() and (parent / hr).is_dir():
                return parent / lr, parent / hr
    return None


def _marked(name: str, folder: Path) -> TestSet:
    """RealSR V3: both images of a pair lie in one folder."""
    files = _images(folder)
    return _paired(name, [f for f in files if f.stem.endswith("_LR4")], [f for f in files if f.stem.endswith("_HR")])


def _images(folder: Path) -> list[Path]:
    """The image files of a folder. Raises `UsageError` when there are none."""
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}")
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
    if not files:
        raise UsageError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))})")
    return files


def _paired(name: str, lr_files: list[Path], hr_files: list[Path]) -> TestSet:
    """Pairs by equal names, or, when there are none, by names without the marks of LR and HR."""
    places = " and ".join(dict.fromkeys(str(files[0].parent) for files in (lr_files, hr_files) if files))
    by_name = [{f.stem: f for f in files} for files in (lr_files, hr_files)]
    if not by_name[0].keys() & by_name[1].keys():
        for files in (lr_files, hr_files):
            _refuse_doubles([PAIR_MARK.sub("", f.stem) for f in files], files[0].parent)
        by_name = [{PAIR_MARK.sub("", f.stem): f for f in files} for files in (lr_files, hr_files)]
    lr, hr = by_name
    unmatched = [f"{lr[key].name} has no HR image" for key in lr.keys() - hr.keys()]
    unmatched += [f"{hr[key].name} has no LR image" for key in hr.keys() - lr.keys()]
    both = lr.keys() & hr.keys()
    found, unusable = _examine([file for key in both for file in (lr[key], hr[key])])
    common = sorted(key for key in both if lr[key] in found and hr[key] in found)
    unmatched += unusable
    sizes = {key: (found[lr[key]], found[hr[key]]) for key in common}
    scales = Counter(large[0] // small[0] for small, large in sizes.values())
    if not scales:
        raise UsageError(f"no LR image has an HR image of its name in {places}: {'; '.join(sorted(unmatched)[:3])}")
    scale = scales.most_common(1)[0][0]
    for key in list(common):
        small, large = sizes[key]
        if any(not 0 <= b - scale * a < max(scale, 1) for a, b in zip(small, large, strict=True)):
            common.remove(key)
            unmatched.append(
                f"{hr[key].name}, {large[1]} x {large[0]} pixels, is not {scale} times its LR, {small[1]} x {small[0]}"
            )
    return _of_files(name, scale, common, common, [(lr[key], hr[key]) for key in common], sorted(unmatched))


def _refuse_doubles(names: list[str], folder: Path) -> None:
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise UsageError(f"two files in {folder} would be the image {doubled[0]!r}: keep one of them")


def _examine(files: Sequence[Path]) -> tuple[dict[Path, tuple[int, int]], list[str]]:
    """Height and width of the images that can serve, and what is wrong with the others: one odd file stops no set."""
    from shared.photos.examine import examine_file  # here: wrong usage is answered before OpenCV is loaded

    sizes, unusable = {}, []
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # Pillow speaks through them
        for file, found in zip(files, pool.map(examine_file, files), strict=True):
            if found.fault:
                unusable.append(f"{file.name} is {found.fault}")
            else:
                sizes[file] = (found.height, found.width)
    return sizes, unusable


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decode_file(path: Path) -> np.ndarray:
    """The image in a file, uint8 [H, W, 3] RGB. Raises `RunError` that names a file which cannot be decoded."""
    try:
        return decode(path.read_bytes(), str(path))
    except (OSError, ValueError) as error:
        raise RunError(str(error)) from error
