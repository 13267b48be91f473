"""HR crops of a shard, cut from photographs that are decoded as seldom as can be."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from shared.decoded import keep, kept
from shared.errors import RunError
from shared.images import decode
from shared.photos import Crop, Photograph


def cut(crops: Sequence[Crop], patch: int) -> Iterator[np.ndarray]:
    """The crops in order, uint8 [patch, patch, 3].

    A photograph whose pixels are not kept on this machine is decoded once, and its crops wait in memory for their turn.
    Raises `RunError` as `read` does.
    """
    waiting: dict[int, np.ndarray] = {}
    mapped: dict[Photograph, np.ndarray] = {}  # until the shard ends: a page is looked up once
    for position, crop in enumerate(crops):
        if position not in waiting:
            image, places = mapped.get(crop.photograph), [position]
            if image is None:
                image, is_kept = fetch(crop.photograph)
                if is_kept:
                    mapped[crop.photograph] = image
                else:
                    places = [p for p in range(position, len(crops)) if crops[p].photograph == crop.photograph]
            for place in places:
                y, x = crops[place].y, crops[place].x
                waiting[place] = image[y : y + patch, x : x + patch].copy()
        yield waiting.pop(position)


def fetch(photograph: Photograph) -> tuple[np.ndarray, bool]:
    """A photograph, uint8 [h, w, 3], and whether its pixels are kept, so that it can be had again for nothing."""
    image = kept(photograph.key)
    if image is not None:
        return image, True
    image = read(photograph)
    if keep(photograph.key, image):
        mapped = kept(photograph.key)
        return (image, False) if mapped is None else (mapped, True)
    return image, False


def read(photograph: Photograph) -> np.ndarray:
    """A photograph from its file, uint8 [h, w, 3]. Raises `RunError` when the file is not the one that was listed."""
    try:
        data = Path(photograph.path).read_bytes()
    except OSError as error:
        raise RunError(f"HR file {photograph.path} was listed but cannot be read now: {error}") from error
    if hashlib.sha256(data).hexdigest() != photograph.sha256:
        raise RunError(f"HR file {photograph.path} has changed since it was listed: run the same command again")
    try:
        return photograph.fit(decode(data, photograph.path))
    except ValueError as error:
        raise RunError(f"HR file {error}, although it could be when it was listed: is memory short?") from error
