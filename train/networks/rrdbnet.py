"""RRDBNet: residual in residual dense blocks (ESRGAN; Real-ESRNet and Real-ESRGAN; 16,697,987 parameters at x4)."""

import torch
from torch import nn
from torch.nn import functional

from shared.errors import UsageError
from train.networks.layers import conv3x3, scale_down_init

RESIDUAL_SCALE = 0.2


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each of which sees all before it."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(num_feat, num_grow_ch)
        self.conv2 = conv3x3(num_feat + num_grow_ch, num_grow_ch)
        self.conv3 = conv3x3(num_feat + 2 * num_grow_ch, num_grow_ch)
        self.conv4 = conv3x3(num_feat + 3 * num_grow_ch, num_grow_ch)
        self.conv5 = conv3x3(num_feat + 4 * num_grow_ch, num_feat)
        scale_down_init([self.conv1, self.conv2, self.conv3, self.conv4, self.conv5])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            features.append(_act(conv(torch.cat(features, 1))))
        return x + self.conv5(torch.cat(features, 1)) * RESIDUAL_SCALE


class RRDB(nn.Module):
    """Three dense blocks in a residual."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (ResidualDenseBlock(num_feat, num_grow_ch) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.rdb3(self.rdb2(self.rdb1(x))) * RESIDUAL_SCALE


class RRDBNet(nn.Module):
    """lr: float [B, 3, h, w], RGB in [0, 1] -> float [B, 3, scale h, scale w]. Keys as in Real-ESRGAN's checkpoints.

    For scales 2 and 1 the input is first unshuffled to a quarter of its height and width, as in RealESRGAN_x2plus.
    """

    def __init__(self, scale: int, num_feat: int, num_block: int, num_grow_ch: int) -> None:
        """Raises `UsageError` for a scale other than 1, 2 or 4."""
        super().__init__()
        if scale not in (1, 2, 4):
            raise UsageError(f"scale is {scale}: rrdbnet upscales by 1, 2 or 4")
        self.unshuffle = 4 // scale
        self.conv_first = conv3x3(3 * self.unshuffle**2, num_feat)
        self.body = nn.Sequential(*(RRDB(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = conv3x3(num_feat, num_feat)
        self.conv_up1, self.conv_up2 = conv3x3(num_feat, num_feat), conv3x3(num_feat, num_feat)
        self.conv_hr, self.conv_last = conv3x3(num_feat, num_feat), conv3x3(num_feat, 3)

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        features = self.conv_first(functional.pixel_unshuffle(lr, self.unshuffle))
        features = features + self.conv_body(self.body(features))
        for conv in (self.conv_up1, self.conv_up2):
            features = _act(conv(functional.interpolate(features, scale_factor=2, mode="nearest")))
        return self.conv_last(_act(self.conv_hr(features)))


def _act(x: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(x, 0.2)
