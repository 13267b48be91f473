"""Canvases: pictures of different sizes in one tensor, so that a step is a few kernels for a whole batch.

A picture lies in the upper left corner of its canvas, and sides can be cut or grown at will. Filters leave its last row
and column repeated to the canvas's end, where JPEG finds the padding that libjpeg would make; JPEG leaves more or less
anything there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

BLOCK = 16
"""Sides of a canvas are multiples of this: one unit of a 4:2:0 JPEG."""
WASTED_PIXELS = {"cpu": 1 << 13}
WASTED_PIXELS_ELSEWHERE = 1 << 20
"""Padding of a canvas that costs as much as the launches of another canvas, by kind of device."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """Some pictures of a batch.

    pixels: float32 [n, 3, H, W], RGB, nominally in [0, 1]; H and W are multiples of 16.
    samples, heights, widths: for each of the n pictures its position in the batch and its size, known on the host.
    edges: whether all that lies outside of a picture repeats its edge.
    """

    pixels: Tensor
    samples: tuple[int, ...]
    heights: tuple[int, ...]
    widths: tuple[int, ...]
    edges: bool = True

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each picture."""
        return list(zip(self.heights, self.widths, strict=True))

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        return self.pixels.device

    @property
    def is_full(self) -> bool:
        """True when no picture is smaller than the canvas."""
        return set(self.sizes) == {tuple(self.pixels.shape[2:])}

    @cached_property
    def size_n2(self) -> Tensor:
        """The sizes on the device, int64 [n, 2]."""
        return to_device(np.array(self.sizes, np.int64), self.device)

    def pick(self, rows: Sequence[int]) -> "Canvas":
        """The pictures at these positions of the canvas, in this order."""
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
        """The pixels with other sides, not smaller than any picture."""
        pixels = self.pixels[:, :, :height, :width]
        bottom, right = height - pixels.shape[2], width - pixels.shape[3]
        return nnf.pad(pixels, (0, right, 0, bottom), mode="replicate") if bottom or right else pixels

    def painted(self, pixels: Tensor, edges: bool = True) -> "Canvas":
        """Pictures of the same sizes with other pixels."""
        return replace(self, pixels=pixels, edges=edges)

    def with_edges(self) -> "Canvas":
        """The same pictures, their edges repeated."""
        return self if self.edges or self.is_full else self.painted(repeat_edges(self.pixels, self.size_n2))


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """A small table on the device. The host waits for nothing: the copy starts from pinned memory."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def canvas_side(side: int) -> int:
    """The side of the smallest canvas for a picture of this side."""
    return -(-side // BLOCK) * BLOCK


def repeat_edges(planes: Tensor, size_n2: Tensor) -> Tensor:
    """Planes [n, c, H, W] whose values outside the upper left `size` (rows, columns) are those of its nearest edge."""
    count, channels, height, width = planes.shape
    y = torch.arange(height, device=planes.device).minimum(size_n2[:, :1] - 1)
    x = torch.arange(width, device=planes.device).minimum(size_n2[:, 1:] - 1)
    index = (y[:, :, None] * width + x[:, None, :]).view(count, 1, height * width)
    return planes.flatten(2).gather(2, index.expand(-1, channels, -1)).view_as(planes)


def repeat_last_row(planes: Tensor, rows_n: Tensor) -> Tensor:
    """Planes [n, c, H, W] whose rows from `rows_n` on, int64 [n], are copies of the one before them."""
    row = torch.arange(planes.shape[2], device=planes.device).minimum(rows_n[:, None] - 1)
    return planes.gather(2, row[:, None, :, None].expand_as(planes))


def group(shapes: Sequence[Sequence[tuple[int, int]]], wasted_pixels: int) -> list[list[int]]:
    """Which pictures share a canvas.

    shapes: for each picture the sizes it has before and after the step (one entry when they are the same).
    Returns positions, largest pictures first; within a group less than `wasted_pixels` are padding.
    """
    pixels = [sum(height * width for height, width in shape) for shape in shapes]
    groups: list[list[int]] = []
    sides: list[tuple[int, int]] = []
    used = 0
    for index in sorted(range(len(shapes)), key=lambda i: pixels[i], reverse=True):
        grown = [
            (max(h, side_h), max(w, side_w))
            for (h, w), (side_h, side_w) in zip(shapes[index], sides or shapes[index], strict=True)
        ]
        area = sum(height * width for height, width in grown)
        if groups and area * (len(groups[-1]) + 1) - used - pixels[index] < wasted_pixels:
            groups[-1].append(index)
            sides, used = grown, used + pixels[index]
        else:
            groups.append([index])
            sides, used = list(shapes[index]), pixels[index]
    return groups


def merge(pieces: Sequence[Canvas]) -> Canvas:
    """One canvas with the pictures of several, as small as they allow."""
    height, width = (canvas_side(max(max(side) for side in sides)) for sides in zip(*map(_sides, pieces), strict=True))
    parts = [piece.fit(height, width) for piece in pieces]
    return Canvas(
        parts[0] if len(parts) == 1 else torch.cat(parts),
        tuple(sample for piece in pieces for sample in piece.samples),
        tuple(side for piece in pieces for side in piece.heights),
        tuple(side for piece in pieces for side in piece.widths),
        all(piece.edges or piece.is_full for piece in pieces),
    )


def _sides(canvas: Canvas) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return canvas.heights, canvas.widths
