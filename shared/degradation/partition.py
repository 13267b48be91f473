"""Partitions: lists of named boxes that cover a space without overlap (paper Section 3, Tables 5-9).

Four axes can be cut: the standard deviation of the blur kernels, the noise levels, the resize factors and the JPEG
qualities. The paper's tasks cut the first two, because along them tasks differ most (Fig. 1 compares the four). A cut
splits the ranges of both stages, and of both kinds of noise, in the same proportion.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..errors import UsageError
from .space import NoiseSpace, Space


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


def _cut_blur(space: Space, index: int, parts: int) -> Space:
    one, two = (replace(blur, sigma=blur.sigma.cut(index, parts)) for blur in (space.blur1, space.blur2))
    return replace(space, blur1=one, blur2=two)


def _cut_noise(space: Space, index: int, parts: int) -> Space:
    def narrow(noise: NoiseSpace) -> NoiseSpace:
        gaussian, poisson = (bounds.cut(index, parts) for bounds in (noise.gaussian_sigma_255, noise.poisson_scale))
        return replace(noise, gaussian_sigma_255=gaussian, poisson_scale=poisson)

    return replace(space, noise1=narrow(space.noise1), noise2=narrow(space.noise2))


def _cut_resize(space: Space, index: int, parts: int) -> Space:
    one, two = (resize.cut(index, parts) for resize in (space.resize1, space.resize2))
    return replace(space, resize1=one, resize2=two)


def _cut_jpeg(space: Space, index: int, parts: int) -> Space:
    one, two = (jpeg.cut(index, parts) for jpeg in (space.jpeg1, space.jpeg2))
    return replace(space, jpeg1=one, jpeg2=two)


AXES: Mapping[str, Callable[[Space, int, int], Space]] = {
    "blur": _cut_blur,
    "noise": _cut_noise,
    "resize": _cut_resize,
    "jpeg": _cut_jpeg,
}
"""(space, i, n) -> the space narrowed to part i of n along the axis."""


def full(space: Space) -> dict[str, Space]:
    """The whole space as one task."""
    return {"full": space}


def four(space: Space) -> dict[str, Space]:
    """The paper's four tasks (Tables 6-9): each axis cut at the middle of its ranges."""
    corners = {"mild": (0, 0), "blur": (1, 0), "noise": (0, 1), "severe": (1, 1)}
    return {name: _cut_noise(_cut_blur(space, b, 2), n, 2) for name, (b, n) in corners.items()}


def grid(space: Space, num_blur: int, num_noise: int) -> dict[str, Space]:
    """`num_blur` x `num_noise` boxes of equal size, named b<i>n<j> (paper Table 5 varies the number of tasks)."""
    cells = [(b, n) for b in range(num_blur) for n in range(num_noise)]
    return {f"b{b}n{n}": _cut_noise(_cut_blur(space, b, num_blur), n, num_noise) for b, n in cells}


def along(space: Space, axis: str, parts: int) -> dict[str, Space]:
    """`parts` equal parts along one axis, named <axis><i> (paper Figs. 1 and 8 go along single operators)."""
    return {f"{axis}{i}": AXES[axis](space, i, parts) for i in range(parts)}


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
