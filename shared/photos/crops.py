"""Where the HR crop of a row lies."""

import bisect
import itertools
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

from ..seeds import Draws
from .find import HRImage


class Crop(NamedTuple):
    """Where a row is cut from: an HR image and the top left corner, pixels."""

    photograph: HRImage
    y: int
    x: int


class HRImages(tuple[HRImage, ...]):
    """HR images to draw from. ends: the running sums of their weights, counted once."""

    def __reduce__(self) -> tuple[type["HRImages"], tuple]:
        return HRImages, (tuple(self),)

    @cached_property
    def ends(self) -> list[int]:
        return list(itertools.accumulate(image.weight for image in self))


def draw_crops(
    photographs: Iterable[HRImage], rows: Iterable[int], *, seed: int, subspace: str, split: str, patch: int
) -> Iterator[Crop]:
    """The crop of each row: HR images in proportion to their weight, the corner uniform.

    Validation crops are keyed without the subspace, so that a row shows the same HR crop in every task.
    """
    task = () if split == "val" else (subspace,)
    images = photographs if isinstance(photographs, HRImages) else HRImages(photographs)
    for row in rows:
        yield draw_crop(images, patch, Draws(seed, "crop", split, *task, row))


def draw_crop(images: HRImages, patch: int, draws: Draws) -> Crop:
    """One crop of side `patch`, pixels."""
    photograph = images[bisect.bisect_right(images.ends, draws.integer(images.ends[-1]))]
    y, x = (draws.integer(side - patch + 1) for side in (photograph.height, photograph.width))
    return Crop(photograph, y, x)
