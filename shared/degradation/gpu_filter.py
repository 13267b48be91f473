"""Blur and resize on a torch device: both are matrices along rows and columns, made for each picture's own size.

The products are exact. Pixels and weights are whole multiples of 2**-24 and 2**-26 held in float64, whose 53 bits hold
every partial sum, so the result depends neither on the order of summation nor on the canvas, the batch or the device.
Between a row's and a column's product pixels lie as [n, H, 3, W], "rows of planes", so that both read them in place.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from shared.degradation.gpu_canvas import Canvas, canvas_side, repeat_edges, to_device
from shared.degradation.kernels import separable_terms
from shared.degradation.plan import Blur, Resize

PIXEL_STEPS = 2.0**24
WEIGHT_STEPS = 2.0**26
BICUBIC_A = -0.75
MODES = ("area", "bilinear", "bicubic")


def blur(canvas: Canvas, parameters: Sequence[Blur]) -> Canvas:
    """Correlation with each plan's kernel, reflect-101 border, no clipping. Returns the pictures in another order.

    Raises ValueError when a picture is too small for a reflect border.
    """
    terms = [separable_terms(blur) for blur in parameters]
    for size, blur in zip(canvas.sizes, parameters, strict=True):
        if min(size) <= blur.size // 2:
            raise ValueError(f"a picture is {size[0]} x {size[1]} pixels at a blur of size {blur.size}: too small")
    most_first = sorted(range(len(terms)), key=lambda row: -len(terms[row][0]))
    num_terms = [len(terms[row][0]) for row in most_first]
    canvas = canvas.pick(most_first)
    count, _, height, width = canvas.pixels.shape
    weights = to_device(_packed([terms[row] for row in most_first]), canvas.device)
    steps = _mirrored(canvas, weights.shape[3] // 2)
    total = torch.zeros(count, height, 3, width, dtype=torch.float64, device=canvas.device)
    for term in range(num_terms[0]):
        n = sum(count > term for count in num_terms)
        rows, columns = (_band(weights[axis, term, :n], side) for axis, side in enumerate((height, width)))
        total[:n] += _product(steps[:n], rows, columns)
    pixels = _from_steps(total)
    return canvas.painted(pixels if canvas.is_full else repeat_edges(pixels, canvas.size_n2))


def _packed(terms: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Columns and rows of all kernels in whole steps, float64 [2, terms, n, largest size], centred and reversed."""
    size = max(columns.shape[1] for columns, _ in terms)
    packed = np.zeros((2, max(len(columns) for columns, _ in terms), len(terms), size))
    for sample, (columns, rows) in enumerate(terms):
        count, length = columns.shape
        start = (size - length) // 2
        packed[0, :count, sample, start : start + length] = columns[:, ::-1]
        packed[1, :count, sample, start : start + length] = rows[:, ::-1]
    return np.rint(packed * WEIGHT_STEPS) / WEIGHT_STEPS


def _mirrored(canvas: Canvas, margin: int) -> Tensor:
    """Pixels in steps with a reflect-101 border, turned by 180 degrees, float64 [n, H + 2 margin, 3, W + 2 margin]."""
    count, channels, height, width = canvas.pixels.shape
    index = []
    for axis, side in enumerate((height, width)):
        last = canvas.size_n2[:, axis, None] - 1
        place = torch.arange(side + margin - 1, -margin - 1, -1, device=canvas.device)
        index.append((last - (last - place.abs()).abs()).clamp_min_(0))
    flat = (index[0][:, :, None] * width + index[1][:, None, :]).view(count, 1, -1)
    pixels = canvas.pixels.flatten(2).gather(2, flat.expand(-1, channels, -1))
    return _to_steps(pixels.view(count, channels, height + 2 * margin, width + 2 * margin))


def _band(weights: Tensor, side: int) -> Tensor:
    """Reversed weights [n, taps] as matrices [n, side, side + taps - 1] on pixels in reverse order.

    With both reversed, every row is the one above moved to the left: a window that slides over the padded weights.
    """
    return nnf.pad(weights, (side - 1, side - 1)).unfold(1, side + weights.shape[1] - 1, 1)


def _to_steps(pixels: Tensor) -> Tensor:
    """float32 [n, 3, H, W] to whole steps, float64 [n, H, 3, W]."""
    rounded = (pixels * PIXEL_STEPS).round_().permute(0, 2, 1, 3)
    return rounded.to(torch.float64, memory_format=torch.contiguous_format)


def _from_steps(steps: Tensor) -> Tensor:
    """Steps, float64 [n, H, 3, W], to float32 [n, 3, H, W]."""
    return steps.permute(0, 2, 1, 3).to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / PIXEL_STEPS)


def _product(steps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Matrices along the rows of pictures, rounding to whole steps, then matrices along their columns.

    steps: float64 [n, H, 3, W]. rows: [n, H', H], columns: [n, W', W]. Returns [n, H', 3, W'], steps not rounded.
    """
    count, height, channels, width = steps.shape
    across = torch.bmm(steps.view(count, height * channels, width), columns.mT).round_()
    return torch.bmm(rows, across.view(count, height, -1)).view(count, rows.shape[1], channels, columns.shape[1])


def resize(canvas: Canvas, parameters: Sequence[Resize]) -> Canvas:
    """Resize each picture to its plan's size, sampling on the grid in/out; a picture of that size stays as it is."""
    heights, widths = tuple(p.height for p in parameters), tuple(p.width for p in parameters)
    if (heights, widths) == (canvas.heights, canvas.widths):
        return canvas
    modes = [p.mode for p in parameters]
    axes = {
        (sides_in, side_in, sides_out): _resize_matrix(sides_in, sides_out, side_in, modes, canvas.device)
        for sides_in, side_in, sides_out in {
            (canvas.heights, canvas.pixels.shape[2], heights),
            (canvas.widths, canvas.pixels.shape[3], widths),
        }
    }
    rows = axes[canvas.heights, canvas.pixels.shape[2], heights]
    columns = axes[canvas.widths, canvas.pixels.shape[3], widths]
    pixels = _from_steps(_product(_to_steps(canvas.pixels), rows, columns))
    return Canvas(pixels, canvas.samples, heights, widths)


def _resize_matrix(
    sides_in: Sequence[int], sides_out: Sequence[int], canvas_in: int, modes: Sequence[str], device: torch.device
) -> Tensor:
    """Weights, float64 [n, canvas_out, canvas_in], of a resize along one axis; outputs past the end repeat the last.

    Positions are those of OpenCV: computed in float64, rounded to float32.
    """
    count, canvas_out = len(modes), canvas_side(max(sides_out))
    table = np.array([sides_in, sides_out, [MODES.index(mode) for mode in modes]], np.int64)
    num_in, num_out, mode = to_device(table, device).view(3, count, 1, 1)
    i = torch.arange(canvas_out, device=device).view(1, canvas_out, 1).minimum(num_out - 1)
    matrix = torch.zeros(count, canvas_out, canvas_in, dtype=torch.float64, device=device)
    if set(modes) != {"area"}:
        position = ((i + 0.5) * (1 / (num_out.double() / num_in)) - 0.5).float().double()
        floor = position.floor()
        taps = (floor.long() + torch.arange(-1, 3, device=device)).clamp_min_(0).minimum(num_in - 1)
        matrix.scatter_add_(2, taps, _tap_weights(position - floor, mode))
    if "area" in modes:
        start, end = i * num_in // num_out, -(-(i + 1) * num_in // num_out)
        j = torch.arange(canvas_in, device=device)
        matrix += ((j >= start) & (j < end)) * _whole((mode == 0) / (end - start).double())
    return matrix


def _whole(weights: Tensor) -> Tensor:
    """Weights rounded to whole steps."""
    return (weights * WEIGHT_STEPS).round_().mul_(1 / WEIGHT_STEPS)


def _tap_weights(t: Tensor, mode: Tensor) -> Tensor:
    """Weights [n, i, 4] of the inputs floor - 1 .. floor + 2 at the fraction t, [n, i, 1]; all 0 for area."""
    a = BICUBIC_A
    near = [((a + 2) * x - (a + 3)) * x * x + 1 for x in (t, 1 - t)]
    far = [((a * x - 5 * a) * x + 8 * a) * x - 4 * a for x in (t + 1, 2 - t)]
    bilinear = torch.cat((torch.zeros_like(t), 1 - t, t, torch.zeros_like(t)), 2)
    bicubic = torch.cat((far[0], near[0], near[1], far[1]), 2)
    return _whole((mode == 1) * bilinear + (mode == 2) * bicubic)
