"""The torch backend for callers that hold NumPy images and know no torch."""

from collections.abc import Sequence

import numpy as np
import torch

from .gpu import render
from .plan import Plan


def has_accelerator() -> bool:
    """Whether torch can see a device other than the CPU."""
    return torch.accelerator.is_available()


def render_arrays(hr: Sequence[np.ndarray], plans: Sequence[Plan], scale: int = 4) -> list[np.ndarray]:
    """Degrade images of one size on the accelerator, or on the CPU where there is none; see `gpu.render`.

    hr: uint8 [H, W, 3] RGB each, or float32 in [0, 1] (sharpened). Returns uint8 [H // scale, W // scale, 3] each.
    """
    device = torch.accelerator.current_accelerator() if has_accelerator() else torch.device("cpu")
    pixels_BCHW = torch.from_numpy(np.stack(hr)).to(device).permute(0, 3, 1, 2).contiguous()
    return [*render(pixels_BCHW, plans, scale).permute(0, 2, 3, 1).contiguous().cpu().numpy()]
