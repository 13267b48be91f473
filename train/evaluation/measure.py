"""Measuring a network on validation pairs."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn

from shared.metrics import psnr_y, to_8bit_values, to_float
from shared.shards.reader import Dataset

MEASURE_BATCH = 16
EQUAL_DB = 100.0
"""What a picture counts that is reproduced exactly, as flat black ones are: a mean needs a number."""


class Shown(Protocol):
    """A pair to measure on: uint8 [H, W, 3] and [H / scale, W / scale, 3], RGB."""

    @property
    def hr(self) -> np.ndarray: ...
    @property
    def lr(self) -> np.ndarray: ...


class Rows(Protocol):
    """Pairs by number: a dataset, or a list."""

    def __getitem__(self, number: int, /) -> Shown: ...


@torch.no_grad()
def measure(network: nn.Module, rows: Rows, numbers: Sequence[int], device: torch.device) -> list[float]:
    """PSNR on Y, border of `scale` pixels cropped, of the network's 8-bit output on the given rows, dB, at most 100.

    `network` maps RGB float [B, 3, h, w] in [0, 1] to [B, 3, H, W].
    """
    psnr_db: list[float] = []
    for first in range(0, len(numbers), MEASURE_BATCH):
        pairs = [rows[number] for number in numbers[first : first + MEASURE_BATCH]]
        lr, hr = (
            to_float(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device))
            for images in zip(*((pair.lr, pair.hr) for pair in pairs), strict=True)
        )
        scale = hr.shape[-1] // lr.shape[-1]
        psnr_db += psnr_y(to_8bit_values(network(lr)), hr, border=scale).clamp(max=EQUAL_DB).tolist()
    return psnr_db


@torch.no_grad()
def picture(network: nn.Module, rows: Rows, number: int, device: torch.device) -> np.ndarray:
    """What the network makes of a row: LR (every pixel as a square), output and HR side by side, uint8 [H, 3 W, 3]."""
    pair = rows[number]
    scale = pair.hr.shape[0] // pair.lr.shape[0]
    lr = to_float(torch.from_numpy(pair.lr).permute(2, 0, 1)[None].to(device))
    output = to_8bit_values(network(lr))[0].mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    return np.hstack([pair.lr.repeat(scale, axis=0).repeat(scale, axis=1), output, pair.hr])


def photographs_of(rows: Dataset) -> list[str]:
    """The photograph of every validation row, by its hash."""
    return [rows.meta(number).hr_sha256 for number in range(len(rows))]
