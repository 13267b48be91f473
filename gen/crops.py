"""The HR crops of a shard: each HR image is decoded at most once."""

from collections.abc import Iterator, Sequence

import numpy as np

from shared.photos.crops import Crop
from shared.photos.find import HRImage
from shared.photos.photo_cache import fetch


def cut(crops: Sequence[Crop], patch: int) -> Iterator[np.ndarray]:
    """The crops in order, uint8 [patch, patch, 3].

    An HR image whose pixels are not in the photo cache is decoded once, and its crops wait in memory for their turn.
    Raises `RunError` as `fetch` does.
    """
    waiting: dict[int, np.ndarray] = {}
    mapped: dict[HRImage, np.ndarray] = {}  # until the shard ends: a page is looked up once
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
