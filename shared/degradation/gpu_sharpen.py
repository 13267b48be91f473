"""Real-ESRGAN's unsharp mask on a device: what `cpu.sharpen` does, for a batch."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .kernels import USM_SIGMA, USM_SIZE, USM_THRESHOLD_255, USM_WEIGHT


def sharpen(hr: Tensor) -> Tensor:
    """Sharpened HR, float32 [B, 3, H, W] in [0, 1] from the same; H and W at least 26, reflect-101 border."""
    residual = hr - _gaussian(hr)
    soft_mask = _gaussian(((residual.abs() * 255) > USM_THRESHOLD_255).float())
    return hr + soft_mask * ((hr + USM_WEIGHT * residual).clamp(0, 1) - hr)


def _gaussian(image: Tensor) -> Tensor:
    """Columns and rows as two matrix products, which hold the border."""
    height, width = image.shape[-2:]
    rows, columns = (_matrix(side, image.device) for side in (height, width))
    return rows @ image @ columns.T


@lru_cache(maxsize=16)
def _matrix(side: int, device: torch.device) -> Tensor:
    """The blur of a line of `side` pixels, float32 [side, side]."""
    offsets = np.arange(USM_SIZE) - USM_SIZE // 2
    taps = np.exp(-(offsets**2) / (2 * USM_SIGMA**2))
    taps /= taps.sum()
    sources = np.abs(np.arange(side)[:, None] + offsets)
    sources = np.where(sources > side - 1, 2 * (side - 1) - sources, sources)
    matrix = np.zeros((side, side))
    np.add.at(matrix, (np.arange(side)[:, None], sources), taps)
    return torch.from_numpy(matrix).float().to(device)
