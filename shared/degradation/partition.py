"""Partitions: lists of named boxes that cover a space without overlap (paper Section 3, Tables 5-9).

Two axes are cut, because along them tasks differ most (paper Fig. 1): the standard deviation of the blur kernels and
the noise levels. A cut splits the ranges of both stages, and of both kinds of noise, in the same proportion.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from shared.degradation.space import Space
from shared.errors import UsageError


@dataclass(frozen=True)
class Subspace:
    """One box of a partition: a task. `ranges` is the space with the cut axes narrowed to the box."""

    name: str
    partition: str
    ranges: Space

    @property
    def space(self) -> str:
        """Name of the space that the box is cut from."""
        return self.ranges.name


def box(space: Space, blur: tuple[int, int], noise: tuple[int, int]) -> Space:
    """`space` narrowed to part i of n along each axis, given as (i, n)."""
    return replace(
        space,
        **{stage: replace(ranges, sigma=ranges.sigma.cut(*blur)) for stage, ranges in _blurs(space)},
        **{
            stage: replace(
                ranges,
                gaussian_sigma_255=ranges.gaussian_sigma_255.cut(*noise),
                poisson_scale=ranges.poisson_scale.cut(*noise),
            )
            for stage, ranges in _noises(space)
        },
    )


def _blurs(space: Space):
    return (("blur1", space.blur1), ("blur2", space.blur2))


def _noises(space: Space):
    return (("noise1", space.noise1), ("noise2", space.noise2))


def full(space: Space) -> dict[str, Space]:
    """The whole space as one task."""
    return {"full": space}


def four(space: Space) -> dict[str, Space]:
    """The paper's four tasks (Tables 6-9): each axis cut at the middle of its ranges."""
    corners = {"mild": (0, 0), "blur": (1, 0), "noise": (0, 1), "severe": (1, 1)}
    return {name: box(space, (b, 2), (n, 2)) for name, (b, n) in corners.items()}


def grid(space: Space, num_blur: int, num_noise: int) -> dict[str, Space]:
    """`num_blur` x `num_noise` boxes of equal size, named b<i>n<j> (paper Table 5 varies the number of tasks)."""
    cells = [(b, n) for b in range(num_blur) for n in range(num_noise)]
    return {f"b{b}n{n}": box(space, (b, num_blur), (n, num_noise)) for b, n in cells}


PARTITIONS: dict[str, Callable[[Space], dict[str, Space]]] = {"2x2": four, "full": full}


def partition(space: Space, name: str | None = None) -> tuple[Subspace, ...]:
    """The boxes of the partition `name` of `space`; without a name, the space's own partition.

    Raises `UsageError` for a name that is neither registered nor of the form BxN.
    """
    name = name or space.default_partition
    if name in PARTITIONS:
        boxes = PARTITIONS[name](space)
    elif cuts := re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", name):
        boxes = grid(space, int(cuts[1]), int(cuts[2]))
    else:
        raise UsageError(f"unknown partition {name!r}: choose {', '.join(PARTITIONS)} or BxN such as 1x3")
    return tuple(Subspace(task, name, ranges) for task, ranges in boxes.items())


def get_subspace(space: Space, partition_name: str | None, name: str) -> Subspace:
    """The box `name` of a partition. Raises `UsageError` that lists the names there are."""
    boxes = {subspace.name: subspace for subspace in partition(space, partition_name)}
    if name not in boxes:
        raise UsageError(f"unknown subspace {name!r} of space {space.name!r}: choose one of {', '.join(boxes)} or all")
    return boxes[name]
