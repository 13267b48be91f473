"""The HR images that an existing dataset lists, found again: a dataset that grows keeps its list."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..text import counted, some_of
from .archives import ImageFile, list_hr_files
from .files import SUFFIXES
from .find import HRImage, HRImageSet, Selection, is_skimage, listed_image, reduced_copies
from .photo_cache import read_file
from .split import VAL_SHARE, scenes


def find_listed(
    hr: str, entries: Sequence[Mapping[str, Any]], skipped: Mapping[str, int], selection: Selection, digest: str
) -> HRImageSet | None:
    """The HR images of a manifest, where they were found before; None when they are not all there as listed.

    No file is examined and no rule of the split applies: the hash of each file vouches for it.
    entries, skipped: `photographs` and `skipped` of the manifest. digest: of its list, which this selection must give.
    Raises `UsageError` for sources that do not fit the files.
    """
    files = {file.id: file for file in list_hr_files(hr, "hr").files}
    selection.sources.check(files)
    images = []
    for entry in (entry for entry in entries if Path(entry["id"]).suffix.lower() in SUFFIXES):  # no reduced copies
        name, height, width = entry["id"], entry["height"], entry["width"]
        if name not in files or min(height, width) < selection.least:
            return None
        file = files[name]
        if file.sha256 not in ("", entry["sha256"]):
            return None
        image = listed_image(file, entry["sha256"], height, width, selection.sources.terms(name, file.terms))
        images += [image, *(reduced_copies(image, selection.least) if selection.multiscale else ())]
    others = sorted(files.keys() - {image.id for image in images})
    notes = (f"the dataset keeps its list of HR images, without {counted(len(others), 'file')}: {some_of(others)}",)
    found = HRImageSet(tuple(images), dict(skipped), notes if others else ())
    return found if found.digest() == digest and _are_unchanged(images) else None


def shows_validation(photos: HRImageSet, val_hr: str | None) -> bool:
    """Whether a list for train holds what would be held out now: images of the validation folder, or scenes by hash."""
    ids = {image.id: image.sha256 for image in photos.photographs if not image.reduced}
    if val_hr is None or is_skimage(val_hr):
        by_name = scenes(ids, {sha256: sha256 for sha256 in ids.values()})
        return any(int(scene, 16) % VAL_SHARE == 0 for scene in by_name.values())
    files = list_hr_files(val_hr, "val_hr").files
    return not {file.sha256 for file in files}.union(_hashes([f for f in files if not f.sha256])).isdisjoint(
        ids.values()
    )


def _are_unchanged(images: Sequence[HRImage]) -> bool:
    """Whether the files have the hashes that are listed; those in tars were compared with the lists of the tars."""
    files = [image for image in images if not image.reduced and not image.size]
    return _hashes(files) == [image.sha256 for image in files]


def _hashes(files: Sequence[HRImage | ImageFile]) -> list[str]:
    """The sha256 of each file, empty for one that cannot be read."""

    def hashed(file: HRImage | ImageFile) -> str:
        with suppress(OSError):
            return hashlib.sha256(read_file(file.path, file.offset, file.size)).hexdigest()
        return ""

    with ThreadPoolExecutor() as pool:
        return list(pool.map(hashed, files))
