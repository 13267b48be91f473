"""Noise on a torch device: the tables of `noise`, looked up by words of a counter-based hash.

A word is a function of the plan's seed, the pixel's place in the image and the channel, so a field depends neither on
the batch nor on the canvas. Words and tables are the CPU backend's, so the noise is the same where the image is.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..seeds import word_keys
from .gpu_canvas import Canvas, from_levels, scaled, to_device
from .noise import RATE_BITS, normal_table, poisson_table
from .plan import Noise

LUMA = (0.2989, 0.587, 0.114)
NUM_QUANTA = 9
"""Poisson quanta are 1, 2, 4 .. 256."""
LCG_FACTOR, LCG_STEP = np.uint32(1664525), np.uint32(1013904223)


def noise(canvas: Canvas, parameters: Sequence[Noise]) -> Canvas:
    """Add each plan's noise, then clip to [0, 1]. Returns the images in another order."""
    kinds = list(NOISE_KINDS)
    order = sorted(range(len(parameters)), key=lambda row: (kinds.index(parameters[row].kind), parameters[row].grey))
    canvas, parameters = canvas.with_edges().pick(order), [parameters[row] for row in order]
    pixels, words = from_levels(canvas.pixels), words16(canvas, [noise.seed for noise in parameters])
    levels = [noise.level / (255 if noise.kind == "gaussian" else 1) for noise in parameters]
    field, start = torch.empty_like(pixels), 0
    for kind, fill in NOISE_KINDS.items():
        greys = [noise.grey for noise in parameters if noise.kind == kind]
        part = slice(start, start + len(greys))
        if greys:
            _share_grey(words[part], len(greys) - sum(greys))
            fill(pixels[part], words[part], len(greys) - sum(greys), field[part])
        start = part.stop
    scale = to_device(np.array(levels, np.float32), canvas.device).view(-1, 1, 1, 1)
    return canvas.painted(field.mul_(scale).add_(pixels).clamp_(0, 1))


def _share_grey(words: Tensor, first_grey: int) -> None:
    """Grey images, the last ones, have one field: that of the first channel."""
    if first_grey < len(words):
        words[first_grey:, 1:] = words[first_grey:, :1]


def _gaussian(pixels: Tensor, words: Tensor, first_grey: int, out: Tensor) -> None:
    """N(0, 1), float32 [n, 3, H, W]."""
    torch.take(_normal(pixels.device), words.long(), out=out)


def _poisson(pixels: Tensor, words: Tensor, first_grey: int, out: Tensor) -> None:
    """Poisson(v q)/q - v for the 8-bit image v and q = 2^ceil(log2(number of distinct values)), [n, 3, H, W].

    Repeated edges add no value that the image does not have. From `first_grey` on, v is luma.
    """
    if first_grey < len(pixels):
        red, green, blue = (pixels[first_grey:, channel, None] * weight for channel, weight in enumerate(LUMA))
        luma = red.add_(green).add_(blue).expand_as(pixels[first_grey:])
        pixels = torch.cat([pixels[:first_grey], luma])
    levels = scaled(pixels).long()
    present = torch.zeros(len(pixels), 256, dtype=torch.int64, device=pixels.device)
    distinct = present.scatter_(1, levels.flatten(1), 1).sum(1)
    table, starts = _poisson_tables(pixels.device)
    index = torch.add(starts[distinct][:, None, None, None], levels, alpha=1 << RATE_BITS)
    torch.take(table, index.add_(words >> 16 - RATE_BITS), out=out)


NOISE_KINDS: Mapping[str, Callable[[Tensor, Tensor, int, Tensor], None]] = {"gaussian": _gaussian, "poisson": _poisson}


@lru_cache(maxsize=8)
def _normal(device: torch.device) -> Tensor:
    """The table of normal values. Words are signed, and a negative index counts from the end of the table."""
    return to_device(normal_table(), device)


@lru_cache(maxsize=8)
def _poisson_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """The tables of all quanta, float32 [9 * 256 << RATE_BITS], 36 MB, the entry of word 0 in the middle of a level's.

    And where that of level 0 begins, by the number of distinct values, int64 [257].
    """
    tables = [poisson_table(1 << exponent).reshape(256, -1) for exponent in range(NUM_QUANTA)]
    middle = np.roll(np.concatenate(tables), 1 << RATE_BITS - 1, axis=1)
    exponents = np.ceil(np.log2(np.maximum(np.arange(257), 1))).astype(np.int64)
    starts = (exponents * 256 << RATE_BITS) + (1 << RATE_BITS - 1)
    return to_device(middle.reshape(-1), device), to_device(starts, device)


def words16(canvas: Canvas, seeds: Sequence[int]) -> Tensor:
    """Uniform 16-bit words, int16 [n, 3, H, W], with a sign; outside an image they repeat those of its edge.

    pcg3d of (pixel's number in its image, two halves of the mixed seed); Jarzynski and Olano, Hash functions for GPU
    rendering, JCGT 9(3), 2020. The three results serve the three channels.
    """
    height, width = canvas.pixels.shape[2:]
    table = to_device(_first_words(canvas.sizes, height, width, seeds).view(np.int32), canvas.device)
    rows, columns, a, b = table[:, :, None].split((height, width, 1, 1), dim=1)
    v = torch.empty(len(seeds), 3, height, width, dtype=torch.int32, device=canvas.device)
    x, y, z = v.unbind(1)
    torch.add(rows, columns.mT, out=x)
    torch.addcmul(a, b, x, out=y)
    torch.addcmul(b, x, y, out=z)
    low, high = v.view(torch.int16).unflatten(3, (width, 2)).unbind(4)
    low.bitwise_xor_(high)
    x.addcmul_(y, z)
    y.addcmul_(z, x)
    z.addcmul_(x, y)
    return high


def _first_words(sizes: Sequence[tuple[int, int]], height: int, width: int, seeds: Sequence[int]) -> np.ndarray:
    """The initial values of the hash, uint32 [n, height + width + 2]: a word is the sum of its row's and its column's.

    A step of a linear congruential generator from (number of the pixel, key, key'), the last two in the last columns,
    and the product of these two, which is the same everywhere. All wraps at 32 bits.
    """
    num_rows, num_columns = np.array(sizes, np.uint32).T[:, :, None]
    rows = np.minimum(np.arange(height, dtype=np.uint32), num_rows - 1) * num_columns * LCG_FACTOR
    columns = np.minimum(np.arange(width, dtype=np.uint32), num_columns - 1) * LCG_FACTOR + LCG_STEP
    keys = word_keys(seeds) * LCG_FACTOR + LCG_STEP
    return np.concatenate([rows + keys[:, :1] * keys[:, 1:], columns, keys], axis=1)
