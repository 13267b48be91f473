"""Picture quality: PSNR on the Y channel (method notes, Section 8)."""

import torch

Y_WEIGHTS = (65.481, 128.553, 24.966)
Y_OFFSET = 16.0


def luma(image_BCHW: torch.Tensor) -> torch.Tensor:
    """Y of ITU-R BT.601 in [16, 235] from RGB in [0, 1]: float [B, 3, H, W] to [B, H, W]."""
    weights = torch.tensor(Y_WEIGHTS, dtype=image_BCHW.dtype, device=image_BCHW.device)
    return torch.einsum("bchw,c->bhw", image_BCHW, weights) + Y_OFFSET


def psnr_y(output_BCHW: torch.Tensor, target_BCHW: torch.Tensor, border: int) -> torch.Tensor:
    """PSNR of each picture on Y, dB, float64 [B]; peak 255, `border` pixels cropped on every side.

    output_BCHW, target_BCHW: RGB in [0, 1], any float type, same shape. Values are compared as they are: round the
    output to 8 bits first if files are what you compare. Equal pictures give infinity.
    """
    crop = slice(border, -border or None)
    error = luma(output_BCHW.double()) - luma(target_BCHW.double())
    mse = error[:, crop, crop].square().mean(dim=(1, 2))
    return 10 * torch.log10(255.0**2 / mse)
