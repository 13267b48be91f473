"""The perceptual loss of Real-ESRGAN: distances between VGG19's features before their activation.

Johnson et al. (arXiv 1603.08155); layers, weights and L1 as in Real-ESRGAN's options.
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from shared.errors import RunError, UsageError
from train.checkpoint import load_weights
from train.losses import l1

FILE = "vgg19-dcbb9e9d.pth"
WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)
"""Channels of VGG19's convolutions; 0 is a pooling."""
LAYER_WEIGHTS = {"2": 0.1, "7": 0.1, "16": 1.0, "25": 1.0, "34": 1.0}
"""conv1_2, conv2_2, conv3_4, conv4_4, conv5_4 by their place among torchvision's `features`."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Perceptual(nn.Module):
    """Weighted L1 between features of two RGB pictures in [0, 1]; gradients flow to the first alone."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, path: str | None = None) -> None:
        """path: VGG19's weights as torchvision publishes them (default: its place in torch's hub folder).

        Raises `UsageError` that says where to put the file when it is not there, `RunError` when it is another one.
        """
        super().__init__()
        self.convs = nn.ModuleDict()
        place, num_in = 0, 3
        for width in WIDTHS:
            if width:
                self.convs[str(place)] = nn.Conv2d(num_in, width, 3, 1, 1)
                num_in = width
            place += 2 if width else 1
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        self._load(Path(path) if path else Path(torch.hub.get_dir()) / "checkpoints" / FILE)
        self.requires_grad_(False)

    def _load(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(
                f"the perceptual loss needs torchvision's VGG19, {FILE}, and {path} is not there: "
                "put it there, or give --vgg19 FILE, or do without it (--gan.perceptual 0)"
            )
        weights = load_weights(path)
        for place, conv in self.convs.items():
            for name, parameter in conv.named_parameters():
                found = weights.get(f"features.{place}.{name}")
                if found is None or found.shape != parameter.shape:
                    raise RunError(f"{path} is not torchvision's VGG19: features.{place}.{name} is missing or misfits")
                parameter.data.copy_(found)

    def forward(self, output_BCHW: torch.Tensor, target_BCHW: torch.Tensor) -> torch.Tensor:
        """The loss of each sample, [B]."""
        with torch.no_grad():
            wanted = self._features(target_BCHW)
        found = self._features(output_BCHW)
        distances = [
            weight * l1(found[place].float(), wanted[place].float()) for place, weight in LAYER_WEIGHTS.items()
        ]
        return torch.stack(distances).sum(dim=0)

    def _features(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        features, x = {}, (image - self.mean) / self.std
        for place, conv in self.convs.items():
            x = conv(x)
            if place in LAYER_WEIGHTS:
                features[place] = x
            x = functional.relu(x)
            if str(int(place) + 2) not in self.convs and place != "34":  # a pooling stands between
                x = functional.max_pool2d(x, 2)
        return features
