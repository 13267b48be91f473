"""Losses that give one number per sample, so that a policy can weight the tasks."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from shared.errors import RunError, UsageError
from train.networks.weights import load_weights

VGG19 = "vgg19-dcbb9e9d.pth"
WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)
"""Channels of VGG19's convolutions; 0 is a pooling."""
LAYER_WEIGHTS = {"2": 0.1, "7": 0.1, "16": 1.0, "25": 1.0, "34": 1.0}
"""conv1_2, conv2_2, conv3_4, conv4_4, conv5_4 by their place among torchvision's `features`."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def l1(output_BCHW: torch.Tensor, target_BCHW: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of each sample, [B]; RGB in [0, 1]."""
    return (output_BCHW - target_BCHW).abs().mean(dim=(1, 2, 3))


def adversarial_loss(scores_B1HW: torch.Tensor) -> torch.Tensor:
    """Non-saturating GAN loss of the generator, -log sigmoid of the discriminator's logits, float [B]."""
    return functional.softplus(-scores_B1HW.float()).mean(dim=(1, 2, 3))


def discriminator_loss(real_B1HW: torch.Tensor, fake_B1HW: torch.Tensor) -> torch.Tensor:
    """GAN loss of the discriminator: logistic loss of the HR image and of the output of the same sample, float [B]."""
    return (functional.softplus(-real_B1HW.float()) + functional.softplus(fake_B1HW.float())).mean(dim=(1, 2, 3))


class Perceptual(nn.Module):
    """Real-ESRGAN's perceptual loss: weighted L1 between VGG19's features before their activation.

    Both images are RGB in [0, 1]; gradients flow to the first alone. The loss is that of Johnson et al. (arXiv
    1603.08155); layers, weights and L1 are those of Real-ESRGAN's options.
    """

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
        self._load(Path(path) if path else Path(torch.hub.get_dir()) / "checkpoints" / VGG19)
        self.requires_grad_(False)

    def _load(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(
                f"the perceptual loss needs torchvision's VGG19, {VGG19}, and {path} is not there: "
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
