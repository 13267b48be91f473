"""Canvases: images of different sizes in one tensor, so that a step is a few kernels for a whole batch.

An image lies in the upper left corner of its canvas, and sides can be cut or grown at will. Filters leave its last row
and column repeated to the canvas's end, where JPEG finds the padding that libjpeg would make; JPEG leaves
arbitrary values there.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

BLOCK = 16
"""Sides of a canvas are multiples of this: one unit of a 4:2:0 JPEG."""
WASTED_PIXELS = {"cpu": 1 << 13}
WASTED_PIXELS_ELSEWHERE = 1 << 20
"""Number of padding pixels that take as long as the launches of another canvas, by kind of device."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """Some images of a batch.

    pixels: float32 [n, 3, H, W], RGB, nominally in [0, 1], or uint8, levels; H and W are multiples of 16.
    samples, heights, widths: for each of the n images its position in the batch and its size, known on the host.
    edges: whether all that lies outside of an image repeats its edge.
    """

    pixels: Tensor
    samples: tuple[int, ...]
    heights: tuple[int, ...]
    widths: tuple[int, ...]
    edges: bool = True

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each image."""
        return list(zip(self.heights, self.widths, strict=True))

    @property
    def are_levels(self) -> bool:
        """Whether the pixels are whole levels."""
        return self.pixels.dtype == torch.uint8

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        return self.pixels.device

    @property
    def is_full(self) -> bool:
        """True when no image is smaller than the canvas."""
        return set(self.sizes) == {tuple(self.pixels.shape[2:])}

    def pick(self, rows: Sequence[int]) -> "Canvas":
        """The images at these positions of the canvas, in this order."""
        if list(rows) == list(range(len(self.samples))):
            return self
        if list(rows) == list(range(rows[0], rows[0] + len(rows))):
            pixels = self.pixels[rows[0] : rows[0] + len(rows)]
        else:
            pixels = self.pixels.index_select(0, to_device(np.array(rows, np.int64), self.device))
        numbers = (self.samples, self.heights, self.widths)
        samples, heights, widths = (tuple(values[row] for row in rows) for values in numbers)
        return Canvas(pixels, samples, heights, widths, self.edges)

    def fit(self, height: int, width: int) -> Tensor:
        """The pixels with other sides, not smaller than any image."""
        pixels = self.pixels[:, :, :height, :width]
        bottom, right = height - pixels.shape[2], width - pixels.shape[3]
        mode = "replicate" if pixels.is_floating_point() else "constant"  # there is no other for levels on a GPU
        return nnf.pad(pixels, (0, right, 0, bottom), mode=mode) if bottom or right else pixels

    def painted(self, pixels: Tensor, edges: bool = True) -> "Canvas":
        """Images of the same sizes with other pixels."""
        return replace(self, pixels=pixels, edges=edges)

    def with_edges(self) -> "Canvas":
        """The same images, their edges repeated."""
        return self if self.edges or self.is_full else self.painted(repeat_edges(self.pixels, self.sizes))


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """A small table on the device. The host waits for nothing: the copy starts from pinned memory."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def canvas_side(side: int) -> int:
    """The side of the smallest canvas for an image of this side."""
    return -(-side // BLOCK) * BLOCK


def to_levels(pixels: Tensor) -> Tensor:
    """float32 to levels 0 .. 255, uint8: floor(255 x + 1/2 + 1/1024), clipped. Levels stay as they are."""
    if pixels.dtype == torch.uint8:
        return pixels
    return scaled(pixels).byte()


def scaled(pixels: Tensor) -> Tensor:
    """float32 to 255 x + 1/2 + 1/1024, clipped to 0 .. 255: the level is the whole part."""
    return (pixels * 255).add_(0.5 + 1 / 1024).clamp_(0, 255)


def from_levels(levels: Tensor) -> Tensor:
    """Levels to float32 0 .. 1. What is float32 stays as it is."""
    return levels.float().mul_(1 / 255) if levels.dtype == torch.uint8 else levels


def repeat_edges(planes: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Planes [n, c, H, W] whose values outside the upper left `size` (rows, columns) are those of its nearest edge.

    The one index tensor, 8 bytes for each place of [n, H, W], serves all channels. (Indexing with a tensor for each
    dimension would make a GPU write all of them out, 32 bytes for each value.)
    """
    (count, channels, height, width), device = planes.shape, planes.device
    ends = np.array(sizes)[:, :, None] - 1
    lines = [np.minimum(np.arange(side), ends[:, axis]) for axis, side in enumerate((height, width))]
    rows, columns = to_device(np.concatenate(lines, axis=1), device).split((height, width), dim=1)
    places = torch.add(columns[:, None, :], rows[:, :, None], alpha=width).view(count, 1, height * width)
    return planes.flatten(2).gather(2, places.expand(-1, channels, -1)).view(planes.shape)


def group(shapes: Sequence[Sequence[tuple[int, int]]], wasted_pixels: int) -> list[list[int]]:
    """Which images share a canvas.

    shapes: for each image the sizes it has before and after the step (one entry when they are the same).
    Returns positions, largest images first; within a group less than `wasted_pixels` are padding.
    """
    pixels = [sum(height * width for height, width in shape) for shape in shapes]
    groups: list[list[int]] = []
    sides: list[int] = []
    used = 0
    for index in sorted(range(len(shapes)), key=pixels.__getitem__, reverse=True):
        own = [side for size in shapes[index] for side in size]
        grown = list(map(max, sides or own, own))
        area = sum(map(operator.mul, grown[::2], grown[1::2]))
        if groups and area * (len(groups[-1]) + 1) - used - pixels[index] < wasted_pixels:
            groups[-1].append(index)
            sides, used = grown, used + pixels[index]
        else:
            groups.append([index])
            sides, used = own, pixels[index]
    return groups


def merge(pieces: Sequence[Canvas]) -> Canvas:
    """One canvas with the images of several, as small as they allow."""
    height, width = (canvas_side(max(max(side) for side in sides)) for sides in zip(*map(_sides, pieces), strict=True))
    if not (are_levels := all(piece.are_levels for piece in pieces)):
        pieces = [piece.painted(from_levels(piece.pixels), piece.edges) for piece in pieces]
    parts = [piece.fit(height, width) for piece in pieces]
    return Canvas(
        parts[0] if len(parts) == 1 else torch.cat(parts),
        tuple(sample for piece in pieces for sample in piece.samples),
        tuple(side for piece in pieces for side in piece.heights),
        tuple(side for piece in pieces for side in piece.widths),
        not are_levels and all(piece.edges or piece.is_full for piece in pieces),
    )


def _sides(canvas: Canvas) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return canvas.heights, canvas.widths
