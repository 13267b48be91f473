"""The HR images that an existing dataset lists, found again: a dataset that grows keeps its list."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..text import counted, some_of
from .files import SUFFIXES, image_id, list_images
from .find import HRImage, HRImageSet, Selection, reduced_copies


def find_listed(
    folder: Path, entries: Sequence[Mapping[str, Any]], skipped: Mapping[str, int], selection: Selection, digest: str
) -> HRImageSet | None:
    """The HR images of a manifest, from the folder they were found in; None when they are not all there as listed.

    No file is examined and no rule of the split applies: the hash of each file vouches for it.
    entries, skipped: `photographs` and `skipped` of the manifest. digest: of its list, which this selection must give.
    Raises `UsageError` for sources that do not fit the files.
    """
    paths = {image_id(path, folder): path for path in list_images(folder).files}
    selection.sources.check(paths)
    images = []
    for entry in (entry for entry in entries if Path(entry["id"]).suffix.lower() in SUFFIXES):  # no reduced copies
        name, height, width = entry["id"], entry["height"], entry["width"]
        if name not in paths or min(height, width) < selection.least:
            return None
        terms = asdict(selection.sources.terms(name))
        image = HRImage(name, str(paths[name]), entry["sha256"], height, width, height * width, **terms)
        images += [image, *(reduced_copies(image, selection.least) if selection.multiscale else ())]
    others = sorted(paths.keys() - {image.id for image in images})
    notes = (f"the dataset keeps its list of HR images, without {counted(len(others), 'file')}: {some_of(others)}",)
    found = HRImageSet(tuple(images), dict(skipped), notes if others else ())
    return found if found.digest() == digest and _are_unchanged(images) else None


def _are_unchanged(images: Sequence[HRImage]) -> bool:
    """Whether the files have the hashes that are listed."""

    def is_unchanged(image: HRImage) -> bool:
        with suppress(OSError):
            return hashlib.sha256(Path(image.path).read_bytes()).hexdigest() == image.sha256
        return False

    with ThreadPoolExecutor() as pool:
        return all(pool.map(is_unchanged, [image for image in images if not image.reduced]))
