"""What a stage is given and what it asks the loop to minimise."""

from typing import NamedTuple

import torch

GENERATOR = "generator"
"""The network that is evaluated, averaged and published."""


class Pictures(NamedTuple):
    """A batch on the device, RGB float in [0, 1].

    lr: [B, 3, h, w]. hr: the plain photographs, [B, 3, H, W]. target: what the output shall look like, [B, 3, H, W]:
    hr, or the sharpened hr where LR was made from that.
    """

    lr: torch.Tensor
    hr: torch.Tensor
    target: torch.Tensor


class Objective(NamedTuple):
    """What one network is trained on: the network's name and the loss of each sample, float [B], with its graph."""

    network: str
    losses: torch.Tensor
