"""Large images through a network in tiles without seams.

A tile is computed with `overlap` pixels around it that are then thrown away. With an overlap of the network's receptive
radius the result is that of the whole image; networks with attention or very deep ones get as much as is sensible.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared.errors import RunError, UsageError

ALIGN = 16
"""Tiles begin at multiples of it, so that windows of attention fall on the same pixels as in the whole image."""
MAX_OVERLAP = 32
"""LR pixels, for networks that see farther: thrice what Real-ESRGAN's own program takes (tile_pad 10)."""
LIVE_TENSORS = 4
"""How many times the largest input and output of one layer are alive at once: skips, dense blocks, work space."""
PROBE_SIDE = 32


@dataclass(frozen=True)
class Tiling:
    """tile: side of the part that is kept; overlap: what is computed around it; both LR pixels, multiples of 16."""

    tile: int
    overlap: int


@dataclass(frozen=True)
class Footprint:
    """What a network needs. radius: how far an output pixel sees, LR pixels, None if everywhere.

    bytes_per_pixel: of memory at the peak, for each LR pixel.
    """

    radius: int | None
    bytes_per_pixel: float


@torch.no_grad()
def footprint(network: nn.Module, device: torch.device) -> Footprint:
    """Run a small image through the network and add up what its layers do.

    The radius is the sum over all convolutions, a bound for any way they are connected.
    """
    radius, largest, everywhere = 0.0, 0, False

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal radius, largest, everywhere
        tensors = [t for t in (*inputs, output) if isinstance(t, torch.Tensor)]
        largest = max(largest, sum(t.numel() * t.element_size() for t in tensors))
        if isinstance(module, nn.Conv2d):
            reach = max(d * (k - 1) / 2 for d, k in zip(module.dilation, module.kernel_size, strict=True))
            radius += reach * PROBE_SIDE / inputs[0].shape[-1]
        everywhere |= isinstance(module, (nn.Linear, nn.Softmax, nn.AdaptiveAvgPool2d, nn.GroupNorm))

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(note) for leaf in leaves]
    try:
        network(torch.zeros(1, 3, PROBE_SIDE, PROBE_SIDE, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return Footprint(None if everywhere else int(radius) + 2, LIVE_TENSORS * largest / PROBE_SIDE**2)


def choose_tiling(needs: Footprint, memory_gb: float, tile: int | None = None, overlap: int | None = None) -> Tiling:
    """Tiles that fit into the memory; `tile` and `overlap` are used as they are, up to the alignment.

    Raises `UsageError` when not even one tile of 16 pixels fits.
    """
    if overlap is None:
        overlap = min(MAX_OVERLAP, needs.radius if needs.radius is not None else MAX_OVERLAP)
    overlap = -(-overlap // ALIGN) * ALIGN
    fits = isqrt(int(memory_gb * 1e9 / max(needs.bytes_per_pixel, 1e-9)))
    if tile is None:
        tile = fits - 2 * overlap
        if tile < ALIGN:
            least = (ALIGN + 2 * overlap) ** 2 * needs.bytes_per_pixel / 1e9
            raise UsageError(f"memory_gb is {memory_gb}: a tile of this network needs {least:.2g}")
    return Tiling(max(ALIGN, tile // ALIGN * ALIGN), overlap)


class NotFiniteOutputError(ValueError):
    """A network gave NaN or infinity."""


@torch.no_grad()
def upscale(
    network: nn.Module,
    lr: np.ndarray,
    scale: int,
    tiling: Tiling,
    device: torch.device,
    on_tile: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """uint8 or uint16 [h, w, 3] RGB through the network: [scale h, scale w, 3] of the same type, rounded.

    Raises `RunError` when the device has no memory for a tile, `NotFiniteOutputError` for an output with NaN.
    """
    height, width, _ = lr.shape
    levels = np.iinfo(lr.dtype).max
    output = np.empty((height * scale, width * scale, 3), lr.dtype)
    for rows, columns in tiles(height, width, tiling):
        top, bottom = _widen(rows, tiling.overlap, height)
        left, right = _widen(columns, tiling.overlap, width)
        image = torch.from_numpy(lr[top:bottom, left:right].astype(np.float32)).div_(levels).permute(2, 0, 1)[None]
        large = _upscale_tile(network, image.to(device)).mul(levels).round().permute(1, 2, 0).cpu().numpy()
        y, x = (rows.start - top) * scale, (columns.start - left) * scale
        kept = large[y : y + len(rows) * scale, x : x + len(columns) * scale]
        output[rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale] = kept
        on_tile()
    return output


def _upscale_tile(network: nn.Module, image: Tensor) -> Tensor:
    """float [1, 3, h, w] in [0, 1] to [3, scale h, scale w]."""
    try:
        output = network(image)[0]
    except torch.OutOfMemoryError as error:
        height, width = image.shape[2:]
        raise RunError(
            f"{image.device} has no memory for a tile of {width} x {height} pixels: "
            "give a smaller --memory-gb or --tile"
        ) from error
    if not output.isfinite().all():
        raise NotFiniteOutputError("the network's output is not finite")
    return output.clamp(0, 1)


def tiles(height: int, width: int, tiling: Tiling) -> Iterator[tuple[range, range]]:
    """Rows and columns of each tile; the whole image at once if it is no larger than a tile with its overlap."""
    side = tiling.tile + 2 * tiling.overlap
    if height * width <= side**2:
        yield range(height), range(width)
        return
    for top in range(0, height, tiling.tile):
        for left in range(0, width, tiling.tile):
            yield range(top, min(top + tiling.tile, height)), range(left, min(left + tiling.tile, width))


def _widen(part: range, overlap: int, limit: int) -> tuple[int, int]:
    return max(0, part.start - overlap), min(limit, part.stop + overlap)
