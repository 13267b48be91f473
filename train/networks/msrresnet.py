"""MSRResNet: the SRResNet of ESRGAN, no batch norm, bilinear skip (paper: RealSRGAN; 1,517,571 parameters)."""

import torch
from torch import nn
from torch.nn import functional

from shared.errors import UsageError
from train.networks.layers import conv3x3, scale_down_init


class ResidualBlock(nn.Module):
    """x + conv2(relu(conv1(x)))."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3x3(num_feat, num_feat), conv3x3(num_feat, num_feat)
        scale_down_init([self.conv1, self.conv2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(functional.relu(self.conv1(x)))


class MSRResNet(nn.Module):
    """lr: float [B, 3, h, w], RGB in [0, 1] -> float [B, 3, scale h, scale w]. Keys as in BasicSR's MSRResNet."""

    def __init__(self, scale: int, num_feat: int, num_block: int) -> None:
        """Raises `UsageError` for a scale other than 2, 3 or 4."""
        super().__init__()
        if scale not in (2, 3, 4):
            raise UsageError(f"scale is {scale}: msrresnet upscales by 2, 3 or 4")
        self.scale = scale
        self.conv_first = conv3x3(3, num_feat)
        self.body = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(num_block)))
        step = 3 if scale == 3 else 2
        self.upconv1 = conv3x3(num_feat, num_feat * step**2)
        if scale == 4:
            self.upconv2 = conv3x3(num_feat, num_feat * 4)
        self.pixel_shuffle = nn.PixelShuffle(step)
        self.conv_hr, self.conv_last = conv3x3(num_feat, num_feat), conv3x3(num_feat, 3)
        scale_down_init([self.conv_first, self.upconv1, self.conv_hr, self.conv_last])
        if scale == 4:
            scale_down_init([self.upconv2])

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        features = self.body(_act(self.conv_first(lr)))
        features = _act(self.pixel_shuffle(self.upconv1(features)))
        if self.scale == 4:
            features = _act(self.pixel_shuffle(self.upconv2(features)))
        base = functional.interpolate(lr, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return self.conv_last(_act(self.conv_hr(features))) + base


def _act(x: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(x, 0.1)
