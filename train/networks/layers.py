"""What the convolutional networks share: their initialisation."""

from collections.abc import Iterable

import torch
from torch import nn


def conv3x3(num_in: int, num_out: int) -> nn.Conv2d:
    """A 3 x 3 convolution that keeps the size."""
    return nn.Conv2d(num_in, num_out, 3, 1, 1)


@torch.no_grad()
def scale_down_init(convs: Iterable[nn.Conv2d]) -> None:
    """Kaiming normal times .1, bias 0 (ESRGAN, Wang et al. 2018: residual blocks start near identity)."""
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight)
        conv.weight.mul_(0.1)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
