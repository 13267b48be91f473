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
    photographs: Iterable[HRImage],
    rows: Iterable[int],
    *,
    seed: int,
    subspace: str,
    split: str,
    patch: int,
    step: int = 1,
) -> Iterator[Crop]:
    """The crop of each row: HR images in proportion to their weight, the corner uniform on multiples of `step`.

    Validation crops are keyed without the subspace, so that a row shows the same HR crop in every task.
    """
    task = () if split == "val" else (subspace,)
    images = photographs if isinstance(photographs, HRImages) else HRImages(photographs)
    for row in rows:
        yield draw_crop(images, patch, Draws(seed, "crop", split, *task, row), step)


def grid_crops(images: HRImages, rows: Iterable[int], patch: int) -> Iterator[Crop]:
    """The crop of each row where rows number the cells of side `patch` of all images, whose weights are their cells.

    Cells are numbered from the top left corner of each image, line by line; what is left at the edges is in none.
    """
    for row in rows:
        number = bisect.bisect_right(images.ends, row)
        image, cell = images[number], row - (images.ends[number - 1] if number else 0)
        y, x = divmod(cell, image.width // patch)
        yield Crop(image, y * patch, x * patch)


def draw_crop(images: HRImages, patch: int, draws: Draws, step: int = 1) -> Crop:
    """One crop of side `patch`, pixels."""
    photograph = images[bisect.bisect_right(images.ends, draws.integer(images.ends[-1]))]
    y, x = (step * draws.integer((side - patch) // step + 1) for side in (photograph.height, photograph.width))
    return Crop(photograph, y, x)
