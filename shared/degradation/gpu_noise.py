"""Noise on a torch device: the tables of `noise`, looked up by words of a counter-based hash.

A word is a function of the plan's seed, the pixel's place in the picture and the channel, so a field depends neither on
the batch nor on the canvas. Words and tables are the CPU backend's, so the noise is the same where the picture is.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from shared.degradation.gpu_canvas import Canvas, merge, to_device
from shared.degradation.gpu_jpeg import to_levels
from shared.degradation.noise import RATE_BITS, normal_table, poisson_table
from shared.degradation.plan import Noise
from shared.seeds import word_keys

LUMA = (0.2989, 0.587, 0.114)
NUM_QUANTA = 9
"""Poisson quanta are 1, 2, 4 .. 256."""


def noise(canvas: Canvas, parameters: Sequence[Noise]) -> Canvas:
    """Add each plan's noise, then clip to [0, 1]. Returns the pictures in another order."""
    parts = []
    for kind, field in NOISE_KINDS.items():
        rows = [row for row, noise in enumerate(parameters) if noise.kind == kind]
        if rows:
            part, chosen = canvas.pick(rows), [parameters[row] for row in rows]
            grey = to_device(np.array([noise.grey for noise in chosen]), canvas.device).view(-1, 1, 1, 1)
            words = words16(part, [noise.seed for noise in chosen])
            words = torch.where(grey, words[:, :1], words)
            unit = 255 if kind == "gaussian" else 1
            level = to_device(np.array([noise.level / unit for noise in chosen], np.float32), canvas.device)
            added = field(part.pixels, words, grey) * level.view(-1, 1, 1, 1)
            parts.append(part.painted(added.add_(part.pixels).clamp_(0, 1)))
    return merge(parts)


def _gaussian_field(pixels: Tensor, words: Tensor, grey: Tensor) -> Tensor:
    """N(0, 1), float32 [n, 3, H, W]."""
    return _normal(pixels.device)[words]


def _poisson_field(pixels: Tensor, words: Tensor, grey: Tensor) -> Tensor:
    """Poisson(v q)/q - v for the 8-bit picture v and q = 2^ceil(log2(number of distinct values)), [n, 3, H, W].

    Repeated edges add no value that the picture does not have.
    """
    red, green, blue = (pixels[:, channel : channel + 1] * weight for channel, weight in enumerate(LUMA))
    levels = to_levels(torch.where(grey, red + green + blue, pixels)).long()
    present = torch.zeros(len(pixels), 256, dtype=torch.int64, device=pixels.device)
    distinct = present.scatter_(1, levels.flatten(1), 1).sum(1, keepdim=True)
    powers = torch.arange(NUM_QUANTA, device=pixels.device)
    exponent = (distinct > 1 << powers).sum(1).view(-1, 1, 1, 1)
    index = (levels + 256 * exponent << RATE_BITS) + (words >> 16 - RATE_BITS)
    return _poisson(pixels.device)[index]


NOISE_KINDS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "gaussian": _gaussian_field,
    "poisson": _poisson_field,
}


@lru_cache(maxsize=8)
def _normal(device: torch.device) -> Tensor:
    return to_device(normal_table(), device)


@lru_cache(maxsize=8)
def _poisson(device: torch.device) -> Tensor:
    """The tables of all quanta, float32 [9 * 256 << RATE_BITS], 36 MB."""
    return to_device(np.concatenate([poisson_table(1 << exponent) for exponent in range(NUM_QUANTA)]), device)


def words16(canvas: Canvas, seeds: Sequence[int]) -> Tensor:
    """Uniform 16-bit words, int32 [n, 3, H, W]; outside a picture they repeat those of its edge.

    pcg3d of (pixel's number in its picture, two halves of the mixed seed); Jarzynski and Olano, Hash functions for GPU
    rendering, JCGT 9(3), 2020. The three results serve the three channels.
    """
    height, width = canvas.pixels.shape[2:]
    sizes = canvas.size_n2.int()[:, :, None, None]
    y = torch.arange(height, dtype=torch.int32, device=canvas.device).view(-1, 1).minimum(sizes[:, 0] - 1)
    x = torch.arange(width, dtype=torch.int32, device=canvas.device).minimum(sizes[:, 1] - 1)
    keys = to_device(word_keys(seeds).view(np.int32), canvas.device).view(-1, 2, 1, 1)
    v = [_lcg(value) for value in (y * sizes[:, 1] + x, keys[:, 0], keys[:, 1])]
    for _ in range(2):
        v = [value ^ (value >> 16 & 0xFFFF) for value in v] if _ else v
        v[0] = v[0] + v[1] * v[2]
        v[1] = v[1] + v[2] * v[0]
        v[2] = v[2] + v[0] * v[1]
    return torch.stack(v, 1) >> 16 & 0xFFFF


def _lcg(value: Tensor) -> Tensor:
    """One step of a linear congruential generator in 32 bits, which wrap."""
    return value * 1664525 + 1013904223
