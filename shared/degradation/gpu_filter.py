"""Blur and resize on a torch device: matrices along rows and columns, made for each image's own size.

A blur and the resize behind it are one matrix a term of the kernel, with no image in between. Products are exact:
pixels are whole multiples of 2**-15 of a level (a level that was divided by 255 is itself again), weights of 2**-26, in
float64, whose 53 bits hold every partial sum. So the result depends neither on the order of summation nor on canvas,
batch or device. What lies outside an image is not used, and repeats the image's edge afterwards.
"""

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .gpu_canvas import Canvas, canvas_side, to_device
from .gpu_steps import Filter
from .kernels import Terms

PIXEL_STEPS, LINE_STEPS, WEIGHT_STEPS = 2.0**15, 2.0**16, 2.0**26
"""Fixed-point steps per level before the first product, per level before the second, and per weight of 1."""
MODES = ("area", "bilinear", "bicubic")
# Weights of the inputs floor - 1 .. floor + 2 at the fraction t as polynomials of t, highest power first.
BILINEAR = ((0, 0, 0, 0), (0, 0, -1, 1), (0, 0, 1, 0), (0, 0, 0, 0))
BICUBIC = ((-0.75, 1.5, -0.75, 0), (1.25, -2.25, 0, 1), (-1.25, 1.5, 0.75, 0), (0.75, -0.75, 0, 0))  # a = -.75
POLYNOMIALS = np.array([np.zeros((4, 4)), BILINEAR, BICUBIC]) * WEIGHT_STEPS
"""[mode, tap, power], in steps; the mode area has other taps."""


class Taps(NamedTuple):
    """Resizes of lines: output i is the sum over a of weights[i, taps - 1 - a] times input first[i] + a.

    first: int64 [2, n, side + 1], along columns and along rows, past the last output repeated; then the last input.
    weights: float64 [2, n, side, taps], in whole steps.
    """

    first: Tensor
    weights: Tensor


class Tables(NamedTuple):
    """Tables that the filters of a batch need on the device.

    taps: of all resizes. blurs: the terms of all kernels, float64 [2, terms, margin + size + margin], along columns and
    along rows, whole multiples of 2**-26 between margins of zeros for as many taps as a resize has beyond the first.
    """

    taps: Taps
    blurs: Tensor


class Step(NamedTuple):
    """A filter of one image: its size afterwards, the row of its resize in `tables`, the first row of its terms."""

    height: int
    width: int
    row: int
    first_term: int
    num_terms: int
    tables: Tables


def prepare(filters: Sequence[Filter], sizes: Sequence[tuple[int, int]], device: torch.device) -> list[Step]:
    """Filters ready to run on images of these sizes: the tables of all are made at once.

    Raises ValueError when an image is too small for a reflect border.
    """
    for (height, width), (blur, _) in zip(sizes, filters, strict=True):
        if blur and min(height, width) <= blur[0].shape[1] // 2:
            raise ValueError(f"an image is {height} x {width} pixels at a blur of size {blur[0].shape[1]}: too small")
    if not filters:
        return []
    after = [one.size_after(size) for one, size in zip(filters, sizes, strict=True)]
    modes = [MODES.index(resize.mode if resize else "bilinear") for _, resize in filters]
    taps = _taps(np.array(sizes).T, np.array(after).T, modes, device)
    num_terms = [len(blur[0]) if blur else 1 for blur, _ in filters]
    first_terms = [0, *itertools.accumulate(num_terms)]
    packed = _packed([blur for blur, _ in filters], first_terms, taps.weights.shape[3] - 1)
    tables = Tables(taps, to_device(packed, device))
    numbers = zip(after, itertools.count(), first_terms[:-1], num_terms, strict=False)
    return [Step(*size, row, first_term, count, tables) for size, row, first_term, count in numbers]


def _packed(blurs: Sequence[Terms | None], first_terms: Sequence[int], margin: int) -> np.ndarray:
    """`Tables.blurs`. A filter without a blur has a single weight of 1."""
    size = max([1, *(blur[0].shape[1] for blur in blurs if blur)])
    packed = np.zeros((2, first_terms[-1], size + 2 * margin))
    unit = np.ones((1, 1), np.float32)
    for blur, start, end in zip(blurs, first_terms, first_terms[1:], strict=False):
        for axis, vectors in enumerate(blur or (unit, unit)):
            edge = margin + (size - vectors.shape[1]) // 2
            packed[axis, start:end, edge : edge + vectors.shape[1]] = vectors
    return np.rint(packed * WEIGHT_STEPS) / WEIGHT_STEPS


def filtered(canvas: Canvas, steps: Sequence[Step]) -> Canvas:
    """Each image's blur (correlation, reflect-101 border, no clipping), then its resize on the grid in/out.

    Each term of a kernel is computed like an image of its own; their sum is the image.
    """
    count, device, pixels, tables = len(steps), canvas.device, canvas.pixels, steps[0].tables
    heights, widths = tuple(step.height for step in steps), tuple(step.width for step in steps)
    height, width = canvas_side(max(heights)), canvas_side(max(widths))
    owner, row, term = to_device(_rows(steps), device).unbind(0)
    taps = Taps(tables.taps.first.index_select(1, row[:count]), tables.taps.weights.index_select(1, row))
    steps_in = 1 if canvas.are_levels else PIXEL_STEPS
    sides = max(height, width), max(pixels.shape[2:])
    rows, columns = _matrices(taps, tables.blurs.index_select(1, term), owner, sides, LINE_STEPS / steps_in)
    pixels = pixels if canvas.are_levels else (pixels * (255 * steps_in)).round_()
    factors = rows[:, :height, : pixels.shape[2]], columns[:, :width, : pixels.shape[3]]
    planes = _product(pixels.index_select(0, owner), *factors)
    if len(owner) > count:
        planes[:count].index_add_(0, owner[count:], planes[count:])
    out = torch.empty(count, 3, height, width, device=device)
    torch.mul(planes[:count].transpose(1, 2), 1 / (255 * LINE_STEPS), out=out)
    return Canvas(out, canvas.samples, heights, widths)


def _rows(steps: Sequence[Step]) -> np.ndarray:
    """For each term, its image and its rows of taps and blurs, int64 [3, n]; the first terms of all images lead."""
    num_terms = [step.num_terms for step in steps]
    numbers = np.array([[place, step.row, step.first_term] for place, step in enumerate(steps)])
    rows = np.repeat(numbers.T, num_terms, axis=1)
    place = np.arange(rows.shape[1]) - np.repeat(np.cumsum(num_terms) - num_terms, num_terms)
    rows[2] += place
    return rows[:, np.argsort(place, kind="stable")]


def _matrices(taps: Taps, blurs: Tensor, owner: Tensor, sides: tuple[int, int], steps: float) -> Tensor:
    """Blur and resize along columns and rows: float64 [2, terms, outputs, inputs].

    taps: first inputs of each image, weights of each term. blurs: as in `Tables`. owner: whose a term is, int64 [n].
    sides: numbers of outputs and inputs. steps: what one is along rows.
    """
    margin, num_out = taps.weights.shape[3] - 1, sides[0]
    span, size = blurs.shape[2] - margin, blurs.shape[2] - 2 * margin
    first, last = taps.first[:, :, :num_out, None], taps.first[:, :, -1:, None]
    source = first + _offsets(size // 2, span, blurs.device)
    source = torch.sub(last, source.abs_()).abs_()
    source = torch.sub(last, source).clamp_min_(0).index_select(1, owner)  # mirrored; taps further out have no weight
    shifted = blurs.unfold(2, span, 1).flatten(0, 1)  # [2 terms, taps, span]
    weights = torch.bmm(taps.weights[:, :, :num_out].flatten(0, 1), shifted).view(source.shape).round_()
    matrices = torch.zeros(*source.shape[:3], sides[1], dtype=torch.float64, device=blurs.device)
    return matrices.scatter_add_(3, source, weights.mul_(_units(steps, blurs.device)))


@lru_cache(maxsize=8)
def _units(steps: float, device: torch.device) -> Tensor:
    """Value of a step of weight along columns, whose product comes last, and along rows."""
    return to_device(np.array([1, steps]).reshape(2, 1, 1, 1) / WEIGHT_STEPS, device)


@lru_cache(maxsize=256)
def _offsets(start: int, count: int, device: torch.device) -> Tensor:
    """The integers from -start on, int64 [count]."""
    return to_device(np.arange(count) - start, device)


def _product(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """rows @ (pixels @ columns.T, rounded), a channel: [n, 3, H, W], [n, H', H] and [n, W', W] give [n, H', 3, W']."""
    n, channels, height, width = pixels.shape
    lines = pixels.transpose(1, 2).to(torch.float64, memory_format=torch.contiguous_format)
    across = torch.bmm(lines.view(n, -1, width), columns.mT).round_()
    return torch.bmm(rows, across.view(n, height, -1)).view(n, rows.shape[1], channels, -1)


def _taps(num_in: np.ndarray, num_out: np.ndarray, modes: Sequence[int], device: torch.device) -> Taps:
    """Taps of resizes from num_in to num_out pixels, int [2, n]. Positions and weights round each operation."""
    is_area = np.equal(modes, MODES.index("area"))
    num_taps = max([4, *(-(-num_in // num_out) + 1)[:, is_area].ravel().tolist()])
    area = 0 * num_in + is_area * WEIGHT_STEPS
    lines = np.stack([num_in, num_out, num_in - 1, num_out - 1, num_in / num_out, num_in + num_out - 1, area], axis=-1)
    powers = np.broadcast_to(POLYNOMIALS[list(modes)].reshape(-1, 16), (*num_in.shape, 16))
    table = to_device(np.concatenate([lines, powers], axis=-1), device)[:, :, None]  # [2, n, 1, 23]
    count_in, count_out, last_in, last_out, scale, rest, area = table[..., :7].split(1, dim=-1)
    tap = _offsets(0, num_taps, device)
    i = _offsets(0, canvas_side(int(num_out.max())), device)[:, None].minimum(last_out)
    position = (i + 0.5).mul_(scale).sub_(0.5)
    floor = position.floor()
    t, (cubic, square, linear, constant) = position.sub_(floor), table[..., 7:].unflatten(-1, (4, 4)).unbind(-1)
    weights = (cubic * t).add_(square).mul_(t).add_(linear).mul_(t).add_(constant).round_()
    i.mul_(count_in)
    start, end = (torch.div(i + extra, count_out, rounding_mode="floor") for extra in (0, rest))
    count = end.sub_(start)
    all_weights = (tap < count) * (area / count).round_()
    all_weights[..., :4].add_(weights)
    first = torch.where(area > 0, start, floor.sub_(1))
    inside = (first + tap).clamp_min_(0).minimum(last_in)
    first = torch.cat([first.clamp_min_(0), last_in], dim=2).long()
    place = (first[:, :, :-1] - inside.long()).add_(num_taps - 1)
    return Taps(first[..., 0], torch.zeros_like(all_weights).scatter_add_(3, place, all_weights))
