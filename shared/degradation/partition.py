"""Partitions: lists of named boxes that cover a space without overlap (paper Section 3, Tables 5-9).

Four axes can be cut: the standard deviation of the blur kernels, the noise levels, the resize factors and the JPEG
qualities. The paper's tasks cut the first two, because along them tasks differ most (Fig. 1 compares the four). A cut
splits the ranges of both stages, and of both kinds of noise, in the same proportion.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..errors import UsageError
from .space import Space


@dataclass(frozen=True)
class Subspace:
    """One box of a partition. ranges: the space with the cut axes narrowed to the box."""

    name: str
    partition: str
    ranges: Space

    @property
    def space(self) -> str:
        """Name of the space that the box is cut from."""
        return self.ranges.name


AXES = ("blur", "noise", "resize", "jpeg")


def _cut(space: Space, axis: str, index: int, parts: int) -> Space:
    """The space narrowed to part `index` of `parts` equal parts along an axis, in both stages."""
    one, two = (getattr(space, f"{axis}{stage}").cut(index, parts) for stage in (1, 2))
    return replace(space, **{f"{axis}1": one, f"{axis}2": two})


def full(space: Space) -> dict[str, Space]:
    """The whole space as one task."""
    return {"full": space}


def four(space: Space) -> dict[str, Space]:
    """The paper's four tasks (Tables 6-9): each axis cut at the middle of its ranges."""
    corners = {"mild": (0, 0), "blur": (1, 0), "noise": (0, 1), "severe": (1, 1)}
    return {name: _cut(_cut(space, "blur", b, 2), "noise", n, 2) for name, (b, n) in corners.items()}


def grid(space: Space, num_blur: int, num_noise: int) -> dict[str, Space]:
    """`num_blur` x `num_noise` boxes of equal size, named b<i>n<j> (paper Table 5 varies the number of tasks)."""
    cells = [(b, n) for b in range(num_blur) for n in range(num_noise)]
    return {f"b{b}n{n}": _cut(_cut(space, "blur", b, num_blur), "noise", n, num_noise) for b, n in cells}


def along(space: Space, axis: str, parts: int) -> dict[str, Space]:
    """`parts` equal parts along one axis, named <axis><i> (paper Figs. 1 and 8 go along single operators)."""
    return {f"{axis}{i}": _cut(space, axis, i, parts) for i in range(parts)}


PARTITIONS: dict[str, Callable[[Space], dict[str, Space]]] = {"2x2": four, "full": full}


def partition(space: Space, name: str | None = None) -> tuple[Subspace, ...]:
    """The boxes of the partition `name` of `space`; without a name, the space's own partition.

    Raises `UsageError` for a name that is neither registered nor of the form BxN or <axis>:N.
    """
    name = name or space.default_partition
    if name in PARTITIONS:
        boxes = PARTITIONS[name](space)
    elif cuts := re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", name):
        boxes = grid(space, int(cuts[1]), int(cuts[2]))
    elif cuts := re.fullmatch(rf"({'|'.join(AXES)}):([1-9]\d?)", name):
        boxes = along(space, cuts[1], int(cuts[2]))
    else:
        raise UsageError(
            f"unknown partition {name!r}: choose {', '.join(PARTITIONS)}, BxN such as 1x3, or one axis as "
            f"{', '.join(f'{axis}:N' for axis in AXES)}"
        )
    return tuple(Subspace(task, name, ranges) for task, ranges in boxes.items())


def get_subspace(space: Space, partition_name: str | None, name: str) -> Subspace:
    """The box `name` of a partition. Raises `UsageError` that lists the names there are."""
    boxes = {subspace.name: subspace for subspace in partition(space, partition_name)}
    if name not in boxes:
        raise UsageError(f"unknown subspace {name!r} of space {space.name!r}: choose one of {', '.join(boxes)} or all")
    return boxes[name]
