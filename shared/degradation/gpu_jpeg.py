"""JPEG and back on a torch device, bit for bit as libjpeg-turbo: baseline, 4:2:0, accurate integer DCT (islow).

All arithmetic is on whole numbers, below 2**53 in float64 for the DCT and below 2**24 in float32 elsewhere, so every
product and sum is exact in any order, and TF32, which only touches float32 matrices, never enters. A pass of the DCT is
one matrix for all 64 values of a block: more products than needed, but no moving of values between the passes.
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

from .gpu_canvas import Canvas, repeat_edges, scaled, to_device

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
YCC_FROM_RGB = np.array([[0.299, 0.587, 0.114], [-0.16874, -0.33126, 0.5], [0.5, -0.41869, -0.08131]])
YCC_OFFSET = np.array([0.5 - 128, 0.5 - 2**-16, 0.5 - 2**-16])
"""Added before rounding down: luma is rounded half up, chroma half down. Luma is centred by 128, chroma already is."""
RGB_FROM_CHROMA = np.array([[0, 1.402], [-0.34414, -0.71414], [1.772, 0]])
DOWN_ROUNDING, UP_ROUNDING = (1 / 4, 2 / 4), (8 / 16 - 128, 7 / 16 - 128)
"""Added to chroma before it is rounded down, at even and odd columns; upsampling also subtracts 128."""


def jpeg(canvas: Canvas, qualities: Sequence[int]) -> Canvas:
    """Compress each image as JPEG at the quality of its plan, and decode it; the results are levels."""
    canvas = canvas.with_edges()
    quality_n = to_device(np.array(qualities, np.int64), canvas.device)
    luma, chroma = _decoded(_coded(*_subsampled(canvas), quantisation_tables(canvas.device)[quality_n]))
    if not canvas.is_full:
        chroma = repeat_edges(chroma, [((height + 1) // 2, (width + 1) // 2) for height, width in canvas.sizes])
    full_chroma = _upsampled(chroma)
    if min(canvas.widths) <= NARROW:
        is_narrow = to_device(np.array(canvas.widths) <= NARROW, canvas.device).view(-1, 1, 1, 1)
        full_chroma = torch.where(is_narrow, nnf.interpolate(chroma.sub_(128), scale_factor=2), full_chroma)
    return canvas.painted(_rgb(luma, full_chroma), edges=False)


@lru_cache(maxsize=8)
def quantisation_tables(device: torch.device) -> Tensor:
    """By quality 0 .. 100, for the 4 luma and 2 chroma blocks of a unit: float64 [101, 2, 1, 6, 64].

    Steps q, and what divides a coefficient by 8 q, because the forward DCT is 8 times too large; ties lie 2**-30 of
    themselves outwards, so that they are rounded away from 0, and no other value gets near one. Scaled as the
    Independent JPEG Group does. There is no quality 0; it stands for 1.
    """
    base = np.array([text.split() for text in (LUMINANCE, CHROMINANCE)], np.int64)
    scale = [5000 // max(q, 1) if q < 50 else 200 - 2 * q for q in range(101)]
    steps = np.clip((base * np.array(scale)[:, None, None] + 50) // 100, 1, 255)[:, None, None, [0, 0, 0, 0, 1, 1]]
    return to_device(np.concatenate([steps, (1 + 2**-30) / (8 * steps)], axis=1), device)


def fixed(value: float, bits: int = 16) -> float:
    """libjpeg's FIX: the nearest multiple of 2**-bits, half away from 0."""
    return math.copysign(math.floor(abs(value) * 2**bits + 0.5) / 2**bits, value)


def _dct_matrix() -> np.ndarray:
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
    return out


@lru_cache(maxsize=8)
def _passes(device: torch.device) -> Tensor:
    """The four passes as matrices on the 64 values of a block, row by row, float64 [4, 64 in, 64 out].

    Forward along rows and along columns, inverse along columns and along rows. libjpeg's first passes keep two bits
    more, its last ones take them back.
    """
    dct, one = _dct_matrix(), np.eye(8)
    forward = np.kron(one, 4 * dct.T), np.kron(dct.T / 4, one)
    return to_device(np.stack([*forward, np.kron(4 * dct, one), np.kron(one, dct / 32)]), device)


@lru_cache(maxsize=16)
def _rounding_up(value: float, device: torch.device) -> Tensor:
    """What a pass adds before the floor, float64 [64]."""
    return torch.full((64,), value, dtype=torch.float64, device=device)


@lru_cache(maxsize=8)
def _colours(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """What R, G, B give to Y, Cb, Cr, [3, 3, 1, 1]; offsets, [3, 1, 1]; 1/2, what Cb, Cr give to RGB, [3, 3, 1, 1]."""
    to_ycc, to_rgb = (np.vectorize(fixed)(matrix).T[..., None, None] for matrix in (YCC_FROM_RGB, RGB_FROM_CHROMA))
    parts = to_ycc, YCC_OFFSET[:, None, None], np.concatenate([np.full((1, 3, 1, 1), 0.5), to_rgb])
    ycc, offset, rgb = (to_device(part.astype(np.float32), device) for part in parts)
    return ycc, offset, rgb


@lru_cache(maxsize=64)
def _alternating(values: tuple[float, float], width: int, device: torch.device) -> Tensor:
    """Two values in turn, float32 [width]."""
    return to_device(np.resize(np.array(values, np.float32), width), device)


def _subsampled(canvas: Canvas) -> tuple[Tensor, Tensor]:
    """rgb_ycc_convert and h2v2_downsample: luma [n, H, W] and chroma [n, 2, H/2, W/2], less 128, float32.

    Whole numbers below 2**24 over 2**16: exact in float32. Under an odd last row lies its repetition; further rows
    repeat the last row of chroma, while further columns come from repeated pixels.
    """
    levels = canvas.pixels.float() if canvas.are_levels else scaled(canvas.pixels).floor_()
    (red, green, blue), offset, _ = _colours(canvas.device)
    ycc = torch.addcmul(offset, levels[:, 0:1], red)
    ycc.addcmul_(levels[:, 1:2], green).addcmul_(levels[:, 2:3], blue).floor_()
    height, width = ycc.shape[2:]
    chroma = nnf.avg_pool2d(ycc[:, 1:], 2).add_(_alternating(DOWN_ROUNDING, width // 2, canvas.device)).floor_()
    if set(canvas.heights) != {height}:
        chroma = repeat_edges(chroma, [((rows + 1) // 2, width // 2) for rows in canvas.heights])
    return ycc[:, 0], chroma


def _coded(luma: Tensor, chroma: Tensor, tables: Tensor) -> Tensor:
    """jpeg_fdct_islow, quantisation, jpeg_idct_islow: values in blocks, float64 [n, rows, columns, 6, 8, 8].

    tables: [n, 2, 1, 6, 64] of `quantisation_tables`. A unit of 16 x 16 pixels has 4 blocks of luma, 1 of each chroma.
    """
    n, height, width = luma.shape
    rows, columns = height // 16, width // 16
    blocks = torch.empty(n, rows, columns, 6, 8, 8, dtype=torch.float64, device=luma.device)
    of_luma, of_chroma = _luma_blocks(blocks), _chroma_blocks(blocks)
    of_luma.copy_(luma.view(of_luma.shape))
    of_chroma.copy_(chroma.view(of_chroma.shape))
    along_rows, along_columns, back_along_columns, back_along_rows = _passes(luma.device)
    values = _pass(_pass(blocks.view(-1, 64), along_rows), along_columns)
    steps, shares = tables.unbind(1)
    values.view(n, -1, 6, 64).mul_(shares).round_().mul_(steps)
    return _pass(_pass(values, back_along_columns), back_along_rows, 128).view(n, rows, columns, 6, 8, 8)


def _luma_blocks(blocks: Tensor) -> Tensor:
    """The blocks of luma, [n, rows, columns, 6, 8, 8], as [n, rows, 2, 8, columns, 2, 8], the order of an image."""
    return blocks[..., :4, :, :].unflatten(3, (2, 2)).permute(0, 1, 3, 5, 2, 4, 6)


def _chroma_blocks(blocks: Tensor) -> Tensor:
    """The blocks of chroma, [n, rows, columns, 6, 8, 8], as [n, 2, rows, 8, columns, 8], the order of images."""
    return blocks[..., 4:, :, :].permute(0, 3, 1, 4, 2, 5)


def _pass(values: Tensor, matrix: Tensor, offset: float = 0) -> Tensor:
    """Blocks [.., 64] through a matrix [in, out], rounded to whole numbers, half up (libjpeg's DESCALE), and offset."""
    return torch.addmm(_rounding_up(offset + 0.5, values.device), values, matrix).floor_()


def _decoded(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Luma [n, 1, H, W] and chroma [n, 2, H/2, W/2], clipped to 0 .. 255, float32."""
    n, rows, columns = blocks.shape[:3]
    blocks.clamp_(0, 255)
    luma, chroma = (
        part.to(torch.float32, memory_format=torch.contiguous_format)
        for part in (_luma_blocks(blocks), _chroma_blocks(blocks))
    )
    return luma.view(n, 1, 16 * rows, 16 * columns), chroma.view(n, 2, 8 * rows, 8 * columns)


def _upsampled(chroma: Tensor) -> Tensor:
    """h2v2_fancy_upsample, less 128: [n, 2, h, w] to [n, 2, 2h, 2w], 3/4 of the nearer, 1/4 of the further sample."""
    wide = nnf.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    return wide.add_(_alternating(UP_ROUNDING, wide.shape[3], wide.device)).floor_()


def _rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    """ycc_rgb_convert: luma [n, 1, H, W] and chroma less 128 [n, 2, H, W] to levels, uint8 [n, 3, H, W].

    Whole numbers below 2**24 over 2**16, and between 0 and 256 so even with luma: their whole part is exact.
    """
    _, _, (half, from_cb, from_cr) = _colours(luma.device)
    return torch.addcmul(half, chroma[:, :1], from_cb).addcmul_(chroma[:, 1:], from_cr).add_(luma).clamp_(0, 255).byte()
