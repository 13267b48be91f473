"""What a stage is given and what it asks the loop to minimise."""

from typing import NamedTuple

import torch

from shared.degradation.gpu_sharpen import sharpen
from shared.metrics import to_float


class TrainingImages(NamedTuple):
    """A batch on the device, RGB float in [0, 1].

    lr: [B, 3, h, w]. hr: the plain photographs, [B, 3, H, W]. target: what the output shall look like, [B, 3, H, W]:
    hr, or the sharpened hr where LR was made from that.
    """

    lr: torch.Tensor
    hr: torch.Tensor
    target: torch.Tensor

    @staticmethod
    def of(lr: torch.Tensor, hr: torch.Tensor, *, usm: bool) -> "TrainingImages":
        """From uint8 images. usm: LR was made from the sharpened HR."""
        lr, hr = to_float(lr), to_float(hr)
        return TrainingImages(lr, hr, sharpen(hr) if usm else hr)


class Objective(NamedTuple):
    """What one network is trained on: the network's name and the loss of each sample, float [B], with its graph."""

    network: str
    losses: torch.Tensor
