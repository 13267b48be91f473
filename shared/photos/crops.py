"""Where the HR crop of a row lies."""

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..seeds import Draws
from .find import HRImage


class Crop(NamedTuple):
    """Where a row is cut from: an HR image and the top left corner, pixels."""

    photograph: HRImage
    y: int
    x: int


def running_weights(photographs: Iterable[HRImage]) -> list[int]:
    """Running sums of the weights of HR images, for `draw_crop`."""
    return list(itertools.accumulate(p.weight for p in photographs))


def draw_crops(
    photographs: Sequence[HRImage],
    rows: Iterable[int],
    *,
    seed: int,
    subspace: str,
    split: str,
    patch: int,
    ends: Sequence[int] | None = None,
) -> Iterator[Crop]:
    """The crop of each row: HR images in proportion to their weight, the corner uniform.

    Validation crops are keyed without the subspace, so that a row shows the same HR crop in every task.
    ends: the `running_weights` of the images, if they are known.
    """
    task = () if split == "val" else (subspace,)
    ends = running_weights(photographs) if ends is None else ends
    for row in rows:
        yield draw_crop(photographs, ends, patch, Draws(seed, "crop", split, *task, row))


def draw_crop(photographs: Sequence[HRImage], ends: Sequence[int], patch: int, draws: Draws) -> Crop:
    """One crop; `ends` are the `running_weights` of the images."""
    photograph = photographs[bisect.bisect_right(ends, draws.integer(ends[-1]))]
    y, x = (draws.integer(side - patch + 1) for side in (photograph.height, photograph.width))
    return Crop(photograph, y, x)
