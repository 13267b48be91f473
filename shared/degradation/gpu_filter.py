"""Blur and resize on a torch device: both are matrices along rows and columns, made for each picture's own size.

The products are exact. Pixels and weights are whole multiples of 2**-24 and 2**-26 held in float64, whose 53 bits hold
every partial sum, so the result depends neither on the order of summation nor on the canvas, the batch or the device.
What lies outside a picture is not used, and repeats the picture's edge afterwards.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from shared.degradation.gpu_canvas import Canvas, canvas_side, to_device
from shared.degradation.kernels import Terms
from shared.degradation.plan import Resize

PIXEL_STEPS = 2.0**24
WEIGHT_STEPS = 2.0**26
UNITS = np.array([1 / WEIGHT_STEPS / PIXEL_STEPS, 1 / WEIGHT_STEPS])
"""What a step of weight counts for along columns, whose product comes last, and along rows."""
MODES = ("area", "bilinear", "bicubic")
# Weights of the inputs floor - 1 .. floor + 2 at the fraction t as polynomials of t, highest power first.
BILINEAR = ((0, 0, 0, 0), (0, 0, -1, 1), (0, 0, 1, 0), (0, 0, 0, 0))
BICUBIC = ((-0.75, 1.5, -0.75, 0), (1.25, -2.25, 0, 1), (-1.25, 1.5, 0.75, 0), (0.75, -0.75, 0, 0))  # a = -.75
TAPS = np.array([np.zeros((4, 4)), BILINEAR, BICUBIC])
"""[mode, tap, power]; an area has no such taps."""


def blur(canvas: Canvas, parameters: Sequence[Terms]) -> Canvas:
    """Correlation with the sum of each picture's terms, reflect-101 border, no clipping; pictures in another order.

    Raises ValueError when a picture is too small for a reflect border.
    """
    for (height, width), (columns, _) in zip(canvas.sizes, parameters, strict=True):
        if min(height, width) <= columns.shape[1] // 2:
            raise ValueError(f"a picture is {height} x {width} pixels at a blur of size {columns.shape[1]}: too small")
    most_first = sorted(range(len(parameters)), key=lambda row: -len(parameters[row][0]))
    canvas, terms = canvas.pick(most_first), [parameters[row] for row in most_first]
    weights = to_device(_packed(terms), canvas.device)
    sources = _mirrored(canvas, weights.shape[3])
    height, width = canvas.pixels.shape[2:]
    steps, total = _to_steps(canvas.pixels), None
    for n, first, last in _blocks([len(columns) for columns, _ in terms]):
        shape = (2, n, last - first, *sources.shape[2:])
        matrices = torch.zeros(*shape[:4], shape[3], dtype=torch.float64, device=canvas.device)
        index, taps = sources[:, :n, None], weights[:, :n, first:last, None]
        matrices.scatter_add_(4, index.expand(shape), taps.expand(shape))
        total = _product(steps[:n], matrices[0, :, :, :height, :height], matrices[1, :, :, :width, :width], total)
    assert total is not None
    return canvas.painted(_to_pixels(total, width))


def _packed(terms: Sequence[Terms]) -> np.ndarray:
    """Columns and rows of all kernels, centred, in whole steps: float64 [2, n, terms, largest size]."""
    size = max(columns.shape[1] for columns, _ in terms)
    packed = np.zeros((2, len(terms), max(len(columns) for columns, _ in terms), size))
    for sample, pair in enumerate(terms):
        count, length = pair[0].shape
        start = (size - length) // 2
        packed[:, sample, :count, start : start + length] = pair
    return np.rint(packed * WEIGHT_STEPS) * UNITS[:, None, None, None]


def _mirrored(canvas: Canvas, taps: int) -> Tensor:
    """The input of each tap with a reflect-101 border, int64 [2, n, side, taps]; past an edge, those of the edge."""
    last = canvas.size_n2.T[:, :, None, None] - 1
    line = torch.arange(max(canvas.pixels.shape[2:]), device=canvas.device)[:, None].minimum(last)
    source = (line + torch.arange(-(taps // 2), taps // 2 + 1, device=canvas.device)).abs_()
    return last - source.sub_(last).abs_()


def _blocks(num_terms: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(n, first, last): terms first .. last - 1 of the first n kernels, which have the most.

    A block does no more than the first terms of all kernels, so that it needs no more memory.
    """
    first = 0
    while first < num_terms[0]:
        n = sum(count > first for count in num_terms)
        last = min(first + len(num_terms) // n, num_terms[0])
        yield n, first, last
        first = last


def _to_steps(pixels: Tensor) -> Tensor:
    """float32 to whole steps, float64."""
    return (pixels * PIXEL_STEPS).round_().double()


def _product(steps: Tensor, rows: Tensor, columns: Tensor, total: Tensor | None = None) -> Tensor:
    """The sum over t of rows[t] @ (steps @ columns[t].T, in whole steps), added to the first of `total`, if given.

    steps: float64 [n, 3, H, W]. rows: [n, t, H', H] that undo the steps, columns: [n, t, W', W]. Gives [n, H', 3 W'].
    """
    n, channels, height, width = steps.shape
    terms, side = columns.shape[1:3]
    across = torch.bmm(steps.view(n, channels * height, width), columns.reshape(n, terms * side, width).mT)
    lines = torch.empty(n, terms, height, channels, side, dtype=torch.float64, device=steps.device)
    torch.round(across.view(n, channels, height, terms, side).permute(0, 3, 2, 1, 4), out=lines)
    factors = rows.transpose(1, 2).reshape(n, -1, terms * height), lines.view(n, terms * height, channels * side)
    if total is None:
        return torch.bmm(*factors)
    total[:n].baddbmm_(*factors)
    return total


def _to_pixels(total: Tensor, width: int) -> Tensor:
    """float64 [n, H, 3 W] to float32 [n, 3, H, W]."""
    planes = total.view(*total.shape[:2], 3, width).permute(0, 2, 1, 3)
    return planes.to(torch.float32, memory_format=torch.contiguous_format)


def resize(canvas: Canvas, parameters: Sequence[Resize]) -> Canvas:
    """Resize each picture to its plan's size, sampling on the grid in/out; a picture of that size stays as it is."""
    heights, widths = tuple(p.height for p in parameters), tuple(p.width for p in parameters)
    if (heights, widths) == (canvas.heights, canvas.widths):
        return canvas
    sizes_in, sizes_out = np.array([canvas.heights, canvas.widths]), np.array([heights, widths])
    side_in, modes = max(canvas.pixels.shape[2:]), [MODES.index(p.mode) for p in parameters]
    matrices = _resize_matrices(sizes_in, sizes_out, side_in, modes, canvas.device)
    (height_in, width_in), (height, width) = canvas.pixels.shape[2:], (canvas_side(max(line)) for line in sizes_out)
    rows, columns = matrices[0, :, None, :height, :height_in], matrices[1, :, None, :width, :width_in]
    pixels = _to_pixels(_product(_to_steps(canvas.pixels), rows, columns), width)
    return Canvas(pixels, canvas.samples, heights, widths)


def _resize_matrices(
    num_in: np.ndarray, num_out: np.ndarray, side_in: int, modes: Sequence[int], device: torch.device
) -> Tensor:
    """Weights, float64 [2, n, side_out, side_in], of resizes along columns and rows; past an end they repeat the last.

    num_in, num_out: int [2, n]. Sums that are not exact are taken in float64 and one operation at a time, hence the
    same everywhere.
    """
    units = np.broadcast_to(UNITS[:, None], num_in.shape)
    whole = np.where(np.equal(modes, 0), WEIGHT_STEPS, 0) + 0 * num_in
    lines = np.stack([num_in, num_out, num_in - 1, num_out - 1, num_in / num_out, whole, units], axis=-1)
    powers = np.broadcast_to(TAPS[list(modes)].reshape(-1, 16) * WEIGHT_STEPS, (*num_in.shape, 16))
    table = to_device(np.concatenate([lines, powers], axis=-1), device)[:, :, None]  # [2, n, 1, 23]
    count_in, count_out, last_in, last_out, scale, area, unit = table[..., :7].split(1, dim=-1)
    i = torch.arange(canvas_side(num_out.max()), dtype=torch.float64, device=device)[:, None].minimum(last_out)
    if 0 in modes:
        start, end = (i * count_in).div_(count_out).floor_(), (i + 1).mul_(count_in).div_(count_out).ceil_()
        j = torch.arange(side_in, dtype=torch.float64, device=device)
        matrices = ((j >= start) & (j < end)) * (area / (end - start)).round_().mul_(unit)
    else:
        matrices = torch.zeros(*num_in.shape, i.shape[2], side_in, dtype=torch.float64, device=device)
    if set(modes) != {0}:
        position = (i + 0.5).mul_(scale).sub_(0.5)
        floor = position.floor()
        t, (cubic, square, linear, constant) = position.sub_(floor), table[..., 7:].unflatten(-1, (4, 4)).unbind(-1)
        weights = (cubic * t).add_(square).mul_(t).add_(linear).mul_(t).add_(constant).round_().mul_(unit)
        taps = floor + torch.arange(-1, 3, dtype=torch.float64, device=device)
        matrices.scatter_add_(3, taps.clamp_min_(0).minimum(last_in).long(), weights)
    return matrices
