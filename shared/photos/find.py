"""HR photographs: where they are found, which split they belong to, where a row's crop lies."""

import bisect
import fnmatch
import hashlib
import itertools
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..errors import RunError, UsageError
from ..images import Header, decode, is_transparent, read_header
from ..records import canonical_json
from ..seeds import Draws
from .licences import NO_SOURCES, Sources, Terms
from .photo_cache import kept

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
VAL_SHARE = 20
"""One photograph in this many is held out for validation, chosen by its hash."""
MAX_PIXELS = 150_000_000
"""Larger pictures are passed over by their header: decoded by every thread at once they would fill the memory."""
NAMED = 3
"""Pictures that are named of those passed over for one reason."""
COPY_FACTORS = {"0.75": 0.75, "0.5": 0.5, "0.33": 1 / 3}
COPY_SIDE = 400
"""Sizes of multi-scale copies: these factors, and this shortest side (Real-ESRGAN, generate_multiscale_DF2K.py)."""

# Natural colour photographs that scikit-image carries, and their terms. Of each scene all pictures are on one side.
SKIMAGE_PHOTOGRAPHS = {
    "train": {
        "astronaut.png": "public domain (NASA)",
        "motorcycle_left.png": "Middlebury Stereo 2014, cite Scharstein et al. 2014",
        "motorcycle_right.png": "Middlebury Stereo 2014, cite Scharstein et al. 2014",
        "rocket.jpg": "public domain (SpaceX)",
    },
    "val": {"chelsea.png": "CC0-1.0", "coffee.png": "CC0-1.0"},
}


@dataclass(frozen=True)
class HRImage:
    """One HR picture, or a reduced copy of one.

    id: its path below the HR folder, with `@<scale>` for a copy. weight: how often it is visited, relative to the
    others. licence, attribution, url: as given with it. reduced: the file is larger and is resized on reading.
    """

    id: str
    path: str
    sha256: str
    height: int
    width: int
    weight: int
    licence: str
    attribution: str = ""
    url: str = ""
    reduced: bool = False

    @property
    def key(self) -> str:
        """Names the pixels: the file's hash, and the size of a reduced copy."""
        return f"{self.sha256}-{self.height}x{self.width}" if self.reduced else self.sha256

    def fit(self, image: np.ndarray) -> np.ndarray:
        """The decoded file at this photograph's size, uint8 [height, width, 3]: Lanczos for a reduced copy."""
        if not self.reduced:
            return image
        return np.array(Image.fromarray(image).resize((self.width, self.height), Image.Resampling.LANCZOS))


@dataclass(frozen=True)
class HRImageSet:
    """The photographs of one split. skipped: how many pictures were passed over, by reason. notes: what to tell."""

    photographs: tuple[HRImage, ...]
    skipped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def digest(self) -> str:
        """Hash of all that enters rows: ids, hashes, sizes, weights, licences; not of where the files lie."""
        elsewhere = ("path", "attribution", "url")
        listing = [{k: v for k, v in asdict(p).items() if k not in elsewhere} for p in self.photographs]
        return hashlib.sha256(canonical_json(listing)).hexdigest()

    def attributions(self) -> list[dict[str, Any]]:
        """Whom to name: attribution, url, licence and photographs (ids), wherever one of the first two was given."""
        named: dict[tuple[str, str, str], list[str]] = {}
        for p in self.photographs:
            if p.attribution or p.url:
                named.setdefault((p.attribution, p.url, p.licence), []).append(p.id)
        return [{"attribution": a, "url": u, "licence": t, "photographs": ids} for (a, u, t), ids in named.items()]


@dataclass(frozen=True)
class Selection:
    """Which pictures are used. min_side: least side, pixels (None: the patch). multiscale: add reduced copies."""

    patch: int
    min_side: int | None = None
    multiscale: bool = False
    sources: Sources = NO_SOURCES

    def __post_init__(self) -> None:
        """Raises `UsageError` for a least side that holds no patch."""
        if self.min_side is not None and self.min_side < self.patch:
            raise UsageError(f"min_side is {self.min_side}: it must be at least the patch, {self.patch}")

    @property
    def least(self) -> int:
        """The least side, pixels."""
        return self.min_side or self.patch

    @property
    def too_small(self) -> str:
        """The reason why a smaller picture is passed over."""
        return f"smaller than {self.min_side} pixels" if self.min_side else "smaller than the patch"


def find_hr_images(
    hr: str,
    split: str,
    patch: int,
    val_hr: str | None = None,
    *,
    min_side: int | None = None,
    multiscale: bool = False,
    sources: Sources = NO_SOURCES,
) -> HRImageSet:
    """The usable photographs of a split.

    hr: a folder, searched recursively, or `photos` for those that scikit-image carries. Folders named *LR* are ignored;
    *valid* and *test* never enter train. Without `val_hr`, val = photographs whose sha256 is 0 mod 20 (at least one).
    Raises `UsageError` for a folder that is not there and for sources that do not fit the pictures, `RunError` when no
    picture is usable.
    """
    selection = Selection(patch, min_side, multiscale, sources)
    if hr == "photos" and (split == "train" or val_hr is None):
        return _skimage_photographs(split, selection)
    folder, val_folder = _folder(hr, "hr"), _folder(val_hr, "val_hr")
    sources.check(_name(file, root) for root in (folder, val_folder) if root for file in _files(root))
    if split == "val" and val_folder:
        return _require(_scan(val_folder, selection, held_out=True), str(val_folder))
    assert folder
    candidates = _scan(folder, selection, held_out=False)
    if val_folder is None:
        held_out = _held_out(candidates.photographs)
    else:
        held_out = {p.sha256 for p in _scan(val_folder, selection, held_out=True).photographs}
    chosen = tuple(p for p in candidates.photographs if (p.sha256 in held_out) == (split == "val"))
    return _require(HRImageSet(chosen, candidates.skipped, candidates.notes), hr)


def _folder(name: str | None, key: str) -> Path | None:
    if name is None or name == "photos":
        return None
    if not Path(name).is_dir():
        raise UsageError(f"{key} is {name!r}: no such folder")
    return Path(name)


def _require(photos: HRImageSet, source: str) -> HRImageSet:
    if not photos.photographs:
        reasons = ", ".join(f"{count} {reason}" for reason, count in photos.skipped.items()) or "no picture files"
        raise RunError(
            f"no usable photograph in {source} for this split ({reasons}): give a folder with more or larger pictures, "
            "a smaller --patch, or --val-hr"
        )
    return photos


def _held_out(photographs: Sequence[HRImage]) -> set[str]:
    """Hashes of the validation photographs of a folder without a validation part of its own."""
    hashes = {p.sha256 for p in photographs}
    return {h for h in hashes if int(h, 16) % VAL_SHARE == 0} or ({min(hashes)} if hashes else set())


def _skimage_photographs(split: str, selection: Selection) -> HRImageSet:
    import skimage.data

    if selection.sources:
        raise UsageError("--licence and --sources are for a folder of pictures: those of scikit-image have their own")
    folder, licences = Path(skimage.data.__file__).parent, SKIMAGE_PHOTOGRAPHS[split]
    own = Sources(tuple((name, Terms(licence)) for name, licence in licences.items()))
    found, skipped = _load([folder / name for name in licences], folder, replace(selection, sources=own))
    found = tuple(replace(p, weight=1) for p in found)
    return _require(HRImageSet(found, *_passed_over(skipped)), "scikit-image's photographs")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _name(path: Path, folder: Path) -> str:
    """A picture's id; bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")


def _scan(folder: Path, selection: Selection, held_out: bool) -> HRImageSet:
    files, ignored = [], Counter[str]()
    for path in _files(folder):
        parents = path.relative_to(folder).parts[:-1]
        if pattern := _excluded(parents, held_out):
            ignored[f"in folders named {pattern}"] += 1
        elif not path.name.startswith("."):
            files.append(path)
    photographs, skipped = _load(files, folder, selection)
    counts, names = _passed_over(skipped)
    notes = (*(f"ignored {count} pictures {where}" for where, count in sorted(ignored.items())), *names)
    return HRImageSet(photographs, counts, notes)


def _passed_over(skipped: dict[str, list[str]]) -> tuple[dict[str, int], tuple[str, ...]]:
    """How many pictures were passed over by reason, and a line a reason that names the first of them."""
    counts = {reason: len(names) for reason, names in skipped.items()}
    rest = {reason: f" and {count - NAMED} more" if count > NAMED else "" for reason, count in counts.items()}
    notes = (f"skipped as {reason}: {', '.join(names[:NAMED])}{rest[reason]}" for reason, names in skipped.items())
    return counts, tuple(notes)


def _excluded(parents: Sequence[str], held_out: bool) -> str | None:
    """The pattern of folder names that keeps a picture out; `valid` and `test` in any case."""
    for name in parents:
        patterns = (("*LR*", name), (".*", name), ("*valid*", name.lower()), ("*test*", name.lower()))
        for pattern, written in patterns[:2] if held_out else patterns:
            if fnmatch.fnmatchcase(written, pattern):
                return pattern
    return None


def _load(
    files: Sequence[Path], folder: Path, selection: Selection
) -> tuple[tuple[HRImage, ...], dict[str, list[str]]]:
    """Examine every file once, so that a bad picture is known before any row is drawn from it.

    Returns the photographs, and the names of those passed over by reason.

    Headers are read first, in this thread, since Pillow speaks through warnings, whose filter all threads share.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        headers = [_header(path) for path in files]
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda path, header: _examine(path, header, folder, selection), files, headers))
    found, skipped, seen = [], defaultdict[str, list[str]](list), set[str]()
    for path, result in zip(files, results, strict=True):
        if isinstance(result, str):
            skipped[result].append(_name(path, folder))
        elif result.sha256 in seen:
            skipped["duplicate"].append(_name(path, folder))
        else:
            seen.add(result.sha256)
            found += [result, *(_copies(result, selection.least) if selection.multiscale else ())]
    return tuple(found), dict(sorted(skipped.items()))


def _header(path: Path) -> Header | str:
    """What a file says about itself, or the reason why it is not worth decoding."""
    try:
        if not path.stat().st_size:
            return "empty"
        header = read_header(path)
    except (ValueError, OSError):
        return "unreadable"
    if header.height * header.width > MAX_PIXELS:
        return f"larger than {MAX_PIXELS // 1_000_000} megapixels"
    return "animated or of several pages" if header.frames > 1 else header


def _examine(path: Path, header: Header | str, folder: Path, selection: Selection) -> HRImage | str:
    """The photograph in a file, or the reason why it is passed over."""
    if isinstance(header, str):
        return header
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        image = kept(digest)
        height, width = (decode(data, path.name) if image is None else image).shape[:2]
    except (ValueError, OSError):
        return "unreadable"
    if min(height, width) < selection.least:
        return selection.too_small
    if header.alpha and is_transparent(data):
        return "transparent"
    name = _name(path, folder)
    terms = selection.sources.terms(name)
    return HRImage(name, str(path), digest, height, width, height * width, **asdict(terms))


def _copies(photograph: HRImage, min_side: int) -> Iterator[HRImage]:
    """The smaller copies that Real-ESRGAN's data preparation adds to a picture, as far as they are not too small."""
    height, width = photograph.height, photograph.width
    sizes = {name: (int(height * factor), int(width * factor)) for name, factor in COPY_FACTORS.items()}
    short = min(height, width)
    sizes[str(COPY_SIDE)] = (int(COPY_SIDE * (height / short)), int(COPY_SIDE * (width / short)))
    for name, (h, w) in sizes.items():
        if min_side <= min(h, w) < short:
            yield replace(photograph, id=f"{photograph.id}@{name}", height=h, width=w, weight=h * w, reduced=True)


class Crop(NamedTuple):
    """Where a row is cut from: a photograph and the top left corner."""

    photograph: HRImage
    y: int
    x: int


def draw_crops(
    photographs: Sequence[HRImage], rows: Iterable[int], *, seed: int, subspace: str, split: str, patch: int
) -> Iterator[Crop]:
    """The crop of each row: photographs in proportion to their weight, the corner uniform.

    Validation crops are keyed without the subspace, so that a row shows the same HR crop in every task.
    """
    task = () if split == "val" else (subspace,)
    ends = list(itertools.accumulate(p.weight for p in photographs))
    for row in rows:
        yield draw_crop(photographs, ends, patch, Draws(seed, "crop", split, *task, row))


def draw_crop(photographs: Sequence[HRImage], ends: Sequence[int], patch: int, draws: Draws) -> Crop:
    """One crop; `ends` are the running sums of the photographs' weights."""
    photograph = photographs[bisect.bisect_right(ends, draws.integer(ends[-1]))]
    y, x = (draws.integer(side - patch + 1) for side in (photograph.height, photograph.width))
    return Crop(photograph, y, x)
