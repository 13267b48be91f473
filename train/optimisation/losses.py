"""Losses that give one number per sample, so that a policy can weight the tasks."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from shared.errors import RunError, UsageError
from train.networks.weights import load_weights

VGG19 = "vgg19-dcbb9e9d.pth"
LAYER_WEIGHTS = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}
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
        from torchvision.models import vgg19  # seconds of imports that only who wants it waits for

        super().__init__()
        with torch.device("meta"):  # no memory, no random numbers, no classifier's 500 MB
            self.layers = vgg19().features[: max(LAYER_WEIGHTS) + 1]
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # what comes before it is compared
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
        weights, found = load_weights(path), {}
        for name, parameter in self.layers.named_parameters():
            tensor = weights.get(f"features.{name}")
            if tensor is None or tensor.shape != parameter.shape:
                raise RunError(f"{path} is not torchvision's VGG19: features.{name} is missing or misfits")
            found[name] = tensor
        self.layers.load_state_dict(found, assign=True)

    def forward(self, output_BCHW: torch.Tensor, target_BCHW: torch.Tensor) -> torch.Tensor:
        """The loss of each sample, [B]."""
        with torch.no_grad():
            wanted = self._features(target_BCHW)
        found = self._features(output_BCHW)
        distances = [
            weight * l1(found[place].float(), wanted[place].float()) for place, weight in LAYER_WEIGHTS.items()
        ]
        return torch.stack(distances).sum(dim=0)

    def _features(self, image: torch.Tensor) -> dict[int, torch.Tensor]:
        features, x = {}, (image - self.mean) / self.std
        for place, layer in enumerate(self.layers):
            x = layer(x)
            if place in LAYER_WEIGHTS:
                features[place] = x
        return features
