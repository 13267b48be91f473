"""HR photographs: where they are found, which split they belong to, where a row's crop lies."""

import bisect
import fnmatch
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from shared.errors import RunError, UsageError
from shared.format import canonical_json
from shared.images import decode
from shared.seeds import Draws

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
VAL_SHARE = 20
"""One photograph in this many is held out for validation, chosen by its hash."""
NOT_GIVEN = "not given"

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
class Photograph:
    """One HR picture. id: its path below the HR folder. weight: how often it is visited, relative to the others."""

    id: str
    path: str
    sha256: str
    height: int
    width: int
    weight: int
    licence: str


@dataclass(frozen=True)
class PhotoSet:
    """The photographs of one split. skipped: how many pictures were passed over, by reason. notes: what to tell."""

    photographs: tuple[Photograph, ...]
    skipped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def digest(self) -> str:
        """Hash of what decides crops and pixels: ids, hashes, sizes, weights; not of where the files lie."""
        listing = [{k: v for k, v in asdict(p).items() if k not in ("path", "licence")} for p in self.photographs]
        return hashlib.sha256(canonical_json(listing)).hexdigest()


def find_photographs(hr: str, split: str, patch: int, val_hr: str | None = None) -> PhotoSet:
    """The usable photographs of a split.

    hr: a folder, searched recursively, or `photos` for those that scikit-image carries. Folders named *LR* are ignored;
    *valid* and *test* never enter train. Without `val_hr`, val = photographs whose sha256 is 0 mod 20 (at least one).
    Raises `UsageError` for a folder that is not there, `RunError` when no picture is usable.
    """
    if hr == "photos" and val_hr is None:
        return _skimage_photographs(split, patch)
    if split == "val" and val_hr is not None:
        return _require(_scan(_folder(val_hr, "val_hr"), patch, held_out=True), val_hr)
    if hr == "photos":
        return _skimage_photographs(split, patch)
    candidates = _scan(_folder(hr, "hr"), patch, held_out=False)
    if val_hr is None:
        held_out = _held_out(candidates.photographs)
    else:
        held_out = {p.sha256 for p in _scan(_folder(val_hr, "val_hr"), patch, held_out=True).photographs}
    chosen = tuple(p for p in candidates.photographs if (p.sha256 in held_out) == (split == "val"))
    return _require(PhotoSet(chosen, candidates.skipped, candidates.notes), hr)


def _folder(name: str, key: str) -> Path:
    if not Path(name).is_dir():
        raise UsageError(f"{key} is {name!r}: no such folder")
    return Path(name)


def _require(photos: PhotoSet, source: str) -> PhotoSet:
    if not photos.photographs:
        reasons = ", ".join(f"{count} {reason}" for reason, count in photos.skipped.items()) or "no picture files"
        raise RunError(
            f"no usable photograph in {source} for this split ({reasons}): give a folder with more or larger pictures, "
            "a smaller --patch, or --val-hr"
        )
    return photos


def _held_out(photographs: Sequence[Photograph]) -> set[str]:
    """Hashes of the validation photographs of a folder without a validation part of its own."""
    hashes = {p.sha256 for p in photographs}
    return {h for h in hashes if int(h, 16) % VAL_SHARE == 0} or ({min(hashes)} if hashes else set())


def _skimage_photographs(split: str, patch: int) -> PhotoSet:
    import skimage.data

    folder = Path(skimage.data.__file__).parent
    found, skipped = _load([folder / name for name in SKIMAGE_PHOTOGRAPHS[split]], folder, patch)
    licences = SKIMAGE_PHOTOGRAPHS[split]
    equal = (Photograph(**{**asdict(p), "weight": 1, "licence": licences[p.id]}) for p in found)
    return _require(PhotoSet(tuple(equal), skipped), "scikit-image's photographs")


def _scan(folder: Path, patch: int, held_out: bool) -> PhotoSet:
    files, ignored = [], Counter[str]()
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
        parents = path.relative_to(folder).parts[:-1]
        if pattern := _excluded(parents, held_out):
            ignored[f"in folders named {pattern}"] += 1
        elif not path.name.startswith("."):
            files.append(path)
    photographs, skipped = _load(files, folder, patch)
    notes = tuple(f"ignored {count} pictures {where}" for where, count in sorted(ignored.items()))
    return PhotoSet(photographs, skipped, notes)


def _excluded(parents: Sequence[str], held_out: bool) -> str | None:
    """The pattern of folder names that keeps a picture out; `valid` and `test` in any case."""
    for name in parents:
        patterns = (("*LR*", name), (".*", name), ("*valid*", name.lower()), ("*test*", name.lower()))
        for pattern, written in patterns[:2] if held_out else patterns:
            if fnmatch.fnmatchcase(written, pattern):
                return pattern
    return None


def _load(files: Sequence[Path], folder: Path, patch: int) -> tuple[tuple[Photograph, ...], dict[str, int]]:
    """Hash and decode every file once, in threads, so that a bad picture is known before any row is drawn from it."""

    def examine(path: Path) -> Photograph | str:
        try:
            data = path.read_bytes()
            height, width = decode(data, path.name).shape[:2]
        except (ValueError, OSError):
            return "unreadable"
        if min(height, width) < patch:
            return "smaller than the patch"
        name = os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")
        digest = hashlib.sha256(data).hexdigest()
        return Photograph(name, str(path), digest, height, width, height * width, NOT_GIVEN)

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(examine, files))
    skipped = Counter(result for result in results if isinstance(result, str))
    return tuple(p for p in results if isinstance(p, Photograph)), dict(sorted(skipped.items()))


class Crop(NamedTuple):
    """Where a row is cut from: a photograph and the top left corner."""

    photograph: Photograph
    y: int
    x: int


def draw_crops(
    photographs: Sequence[Photograph], rows: range, *, seed: int, subspace: str, split: str, patch: int
) -> Iterator[Crop]:
    """The crop of each row: photographs in proportion to their weight, the corner uniform.

    Validation crops are keyed without the subspace, so that a row shows the same HR crop in every task.
    """
    task = (subspace,) if split == "train" else ()
    cumulative = list(itertools.accumulate(p.weight for p in photographs))
    for row in rows:
        draws = Draws(seed, "crop", split, *task, row)
        photograph = photographs[bisect.bisect_right(cumulative, draws.integer(cumulative[-1]))]
        y, x = (draws.integer(side - patch + 1) for side in (photograph.height, photograph.width))
        yield Crop(photograph, y, x)
