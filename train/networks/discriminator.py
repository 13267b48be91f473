"""The U-Net discriminator with spectral norm of Real-ESRGAN (arXiv 2107.10833; 4,376,897 parameters)."""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import spectral_norm
from torch.nn.utils.spectral_norm import SpectralNorm


class UNetDiscriminator(nn.Module):
    """x: RGB float [B, 3, H, W] in [0, 1] -> a logit for every pixel, float [B, 1, H, W]; H and W multiples of 8.

    Keys as in the official checkpoints. Spectral norms are estimated by `refresh` alone, never by a forward pass: so a
    step sees one discriminator, in however many parts its batch is taken, on however many devices.
    """

    def __init__(self, num_feat: int = 64) -> None:
        super().__init__()

        def normed(num_in: int, num_out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
            return spectral_norm(nn.Conv2d(num_in, num_out, kernel, stride, 1, bias=False))

        self.conv0 = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.conv1 = normed(num_feat, num_feat * 2, 4, 2)
        self.conv2 = normed(num_feat * 2, num_feat * 4, 4, 2)
        self.conv3 = normed(num_feat * 4, num_feat * 8, 4, 2)
        self.conv4 = normed(num_feat * 8, num_feat * 4)
        self.conv5 = normed(num_feat * 4, num_feat * 2)
        self.conv6 = normed(num_feat * 2, num_feat)
        self.conv7, self.conv8 = normed(num_feat, num_feat), normed(num_feat, num_feat)
        self.conv9 = nn.Conv2d(num_feat, 1, 3, 1, 1)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x0 = _act(self.conv0(x))
        x1 = _act(self.conv1(x0))
        x2 = _act(self.conv2(x1))
        x3 = _act(self.conv3(x2))
        x4 = _act(self.conv4(_double(x3))) + x2
        x5 = _act(self.conv5(_double(x4))) + x1
        x6 = _act(self.conv6(_double(x5))) + x0
        return self.conv9(_act(self.conv8(_act(self.conv7(x6)))))

    def train(self, mode: bool = True) -> "UNetDiscriminator":
        """No effect: in training mode every forward pass would move the estimates of the norms."""
        return super().train(False)

    @torch.no_grad()
    def refresh(self, iterations: int) -> None:
        """Power iterations on the spectral norms, for the weights as they are."""
        for conv in self.children():
            for hook in conv._forward_pre_hooks.values():
                if isinstance(hook, SpectralNorm):
                    for _ in range(iterations):
                        hook.compute_weight(conv, do_power_iteration=True)


def _act(x: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(x, 0.2)


def _double(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
