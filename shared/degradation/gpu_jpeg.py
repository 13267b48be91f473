"""JPEG and back on a torch device, bit for bit as libjpeg-turbo: baseline, 4:2:0, accurate integer DCT (islow).

All arithmetic is on whole numbers, below 2**53 in float64 for the DCT and below 2**24 in float32 elsewhere, so every
product and sum is exact in any order, and TF32, which only touches float32 matrices, never enters.
The names of libjpeg's functions stand in the docstrings (jccolor, jcsample, jfdctint, jidctint, jdsample, jdcolor).
Entropy coding loses nothing and is left out.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from shared.degradation.gpu_canvas import Canvas, repeat_edges, to_device

NARROW = 4
"""Up to this width libjpeg-turbo upsamples chroma by repetition."""
# ITU-T T.81, Tables K.1 and K.2.
LUMINANCE = """
16 11 10 16  24  40  51  61   12 12 14 19  26  58  60  55   14 13 16 24  40  57  69  56   14 17 22 29  51  87  80  62
18 22 37 56  68 109 103  77   24 35 55 64  81 104 113  92   49 64 78 87 103 121 120 101   72 92 95 98 112 100 103  99
"""
CHROMINANCE = """
17 18 24 47 99 99 99 99   18 21 26 66 99 99 99 99   24 26 56 99 99 99 99 99   47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99
"""
YCC_FROM_RGB = ((0.299, 0.587, 0.114), (-0.16874, -0.33126, 0.5), (0.5, -0.41869, -0.08131))
YCC_OFFSET = (0.5 - 128, 0.5 - 2**-16, 0.5 - 2**-16)
"""Luma is rounded, chroma rounded half down; 128 is taken from luma, and not added to chroma."""
RED_FROM_CR, GREEN_FROM_CB, GREEN_FROM_CR, BLUE_FROM_CB = 1.402, -0.34414, -0.71414, 1.772


def to_levels(pixels: Tensor) -> Tensor:
    """float32 to whole levels 0 .. 255, still float32: floor(255 x + 1/2 + 1/1024), clipped."""
    return (pixels * 255).add_(0.5 + 1 / 1024).clamp_(0, 255).floor_()


def from_levels(levels: Tensor) -> Tensor:
    """Levels 0 .. 255 to float32 0 .. 1."""
    return levels.float().mul_(1 / 255)


def jpeg(canvas: Canvas, qualities: Sequence[int]) -> Canvas:
    """Through JPEG and back at each plan's quality; the pictures become 8 bits."""
    quality_n = to_device(np.array(qualities, np.int64), canvas.device)
    tables = quantisation_tables(canvas.device)[quality_n]  # [n, 2, 1, 1, 1, 8, 8]
    luma, chroma = _subsampled(canvas)
    luma, chroma = _code(luma, tables[:, 0]), _code(chroma, tables[:, 1])
    if not canvas.is_full:
        chroma = repeat_edges(chroma, (canvas.size_n2 + 1) // 2)
    full_chroma = _upsampled(chroma)
    if min(canvas.widths) <= NARROW:
        is_narrow = canvas.size_n2[:, 1].view(-1, 1, 1, 1) <= NARROW
        full_chroma = torch.where(is_narrow, nnf.interpolate(chroma, scale_factor=2), full_chroma)
    levels = _rgb(luma, full_chroma)
    if not canvas.is_full:
        levels = repeat_edges(levels, canvas.size_n2)
    return canvas.painted(from_levels(levels))


@lru_cache(maxsize=8)
def quantisation_tables(device: torch.device) -> Tensor:
    """Tables by quality 0 .. 100, float64 [101, 2, 1, 1, 1, 8, 8] (luma, chroma), transposed: columns first.

    Scaled as the Independent JPEG Group does. There is no quality 0; it stands for 1.
    """
    base = np.array([text.split() for text in (LUMINANCE, CHROMINANCE)], np.int64)
    scale = [5000 // max(q, 1) if q < 50 else 200 - 2 * q for q in range(101)]
    tables = np.clip((base * np.array(scale)[:, None, None] + 50) // 100, 1, 255)
    tables = tables.reshape(101, 2, 1, 1, 1, 8, 8).swapaxes(-1, -2)
    return to_device(np.ascontiguousarray(tables, np.float64), device)


def fixed(value: float, bits: int = 16) -> float:
    """libjpeg's FIX: the nearest multiple of 2**-bits, half away from 0."""
    return math.copysign(math.floor(abs(value) * 2**bits + 0.5) / 2**bits, value)


@lru_cache(maxsize=8)
def _dct_matrix(device: torch.device) -> Tensor:
    """One pass of islow before its rounding, float64 [frequency, position].

    jfdctint's flow graph run on unit vectors, its multiplications by 13-bit constants; jidctint's is its transpose.
    """

    def fix(constant: float) -> float:
        return fixed(constant, 13)

    d = np.eye(8)
    tmp0, tmp1, tmp2, tmp3 = d[:4] + d[7:3:-1]
    tmp7, tmp6, tmp5, tmp4 = d[:4] - d[7:3:-1]
    tmp10, tmp11, tmp12, tmp13 = tmp0 + tmp3, tmp1 + tmp2, tmp1 - tmp2, tmp0 - tmp3
    z1 = (tmp12 + tmp13) * fix(0.541196100)
    out = np.empty((8, 8))
    out[0], out[4] = (tmp10 + tmp11) * fix(1), (tmp10 - tmp11) * fix(1)
    out[2], out[6] = z1 + tmp13 * fix(0.765366865), z1 - tmp12 * fix(1.847759065)
    z5 = (tmp4 + tmp6 + tmp5 + tmp7) * fix(1.175875602)
    z1, z2 = (tmp4 + tmp7) * fix(-0.899976223), (tmp5 + tmp6) * fix(-2.562915447)
    z3, z4 = (tmp4 + tmp6) * fix(-1.961570560) + z5, (tmp5 + tmp7) * fix(-0.390180644) + z5
    out[7], out[5] = tmp4 * fix(0.298631336) + z1 + z3, tmp5 * fix(2.053119869) + z2 + z4
    out[3], out[1] = tmp6 * fix(3.072711026) + z2 + z3, tmp7 * fix(1.501321110) + z1 + z4
    return to_device(out, device)


def _subsampled(canvas: Canvas) -> tuple[Tensor, Tensor]:
    """rgb_ycc_convert and h2v2_downsample: luma [n, 1, H, W] and chroma [n, 2, H/2, W/2], less 128, float32.

    Whole numbers below 2**24 over 2**16: exact in float32. Chroma is rounded by 1/4 and 1/2 in turn along a row. Under
    an odd last row lies its repetition; further rows repeat the last row of chroma, while further columns come from
    repeated pixels.
    """
    count, _, height, width = canvas.pixels.shape
    levels = to_levels(canvas.pixels)
    luma, cb, cr = (
        _weighted(levels, weights, offset) for weights, offset in zip(YCC_FROM_RGB, YCC_OFFSET, strict=True)
    )
    chroma = torch.stack((cb, cr), 1).view(count, 2, height // 2, 2, width // 2, 2).sum((3, 5))
    rounding = torch.arange(width // 2, device=canvas.device) % 2 + 1
    chroma = chroma.add_(rounding).mul_(0.25).floor_()
    if set(canvas.heights) != {height}:
        rows = (canvas.size_n2[:, 0] + 1) // 2
        chroma = repeat_edges(chroma, torch.stack((rows, torch.full_like(rows, width // 2)), 1))
    return luma[:, None], chroma


def _weighted(levels: Tensor, weights: Sequence[float], offset: float) -> Tensor:
    """floor(16-bit weights times channels plus offset): [n, c, H, W] to [n, H, W]."""
    total = levels[:, 0] * fixed(weights[0])
    for channel, weight in enumerate(weights[1:], start=1):
        total.add_(levels[:, channel], alpha=fixed(weight))
    return total.add_(offset).floor_()


def _code(planes: Tensor, tables: Tensor) -> Tensor:
    """jpeg_fdct_islow, quantisation, jpeg_idct_islow: planes float32 [n, c, H, W] less 128, clipped to -128 .. 127.

    tables: [n, 1, 1, 1, 8, 8], transposed. The forward DCT is 8 times too large. Quantisation rounds half away from 0:
    ties lie 2**-30 of themselves outwards, no other value gets near one.
    """
    count, channels, height, width = planes.shape
    dct = _dct_matrix(planes.device)
    blocks = planes.double().view(count, channels, height // 8, 8, width // 8, 8)
    blocks = _pass(blocks, dct.T * 4)  # along rows: [.., y, block, v]
    blocks = _pass(blocks.permute(0, 1, 2, 4, 5, 3), dct.T / 4)  # along columns: [.., v, u]
    blocks = blocks.mul_((1 + 2**-30) / (8 * tables)).round_().mul_(tables)
    blocks = _pass(blocks, dct * 4)  # along columns: [.., v, y]
    blocks = _pass(blocks.permute(0, 1, 2, 5, 3, 4), dct / 32)  # along rows: [.., y, block, x]
    return blocks.view(count, channels, height, width).float().clamp_(-128, 127)


def _pass(blocks: Tensor, matrix: Tensor) -> Tensor:
    """The last axis through a matrix [in, out], rounded to whole numbers, half up (libjpeg's DESCALE)."""
    half = torch.full((8,), 0.5, dtype=torch.float64, device=blocks.device)
    return torch.addmm(half, blocks.reshape(-1, 8), matrix).floor_().view(blocks.shape)


def _upsampled(chroma: Tensor) -> Tensor:
    """h2v2_fancy_upsample: [n, 2, h, w] to [n, 2, 2h, 2w], 3/4 of the nearer and 1/4 of the further sample an axis."""
    count, channels, height, width = chroma.shape
    padded = nnf.pad(chroma, (1, 1, 1, 1), mode="replicate")
    near = padded[:, :, 1:-1] * 3
    rows = torch.stack((near + padded[:, :, :-2], near + padded[:, :, 2:]), 3)
    near = rows[..., 1:-1] * 3
    both = torch.stack(((near + rows[..., :-2]).add_(8), (near + rows[..., 2:]).add_(7)), -1)
    return both.mul_(1 / 16).floor_().view(count, channels, 2 * height, 2 * width)


def _rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    """ycc_rgb_convert: luma [n, 1, H, W] and chroma [n, 2, H, W] less 128 to levels [n, 3, H, W], exact in float32."""
    weights = ((0.0, RED_FROM_CR), (GREEN_FROM_CB, GREEN_FROM_CR), (BLUE_FROM_CB, 0.0))
    differences = torch.stack([_weighted(chroma, pair, 0.5) for pair in weights], 1)
    return differences.add_(luma).add_(128).clamp_(0, 255)
