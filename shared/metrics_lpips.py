"""LPIPS 0.1 with VGG-16 or AlexNet (Zhang et al. 2018), through `lpips`, from files that lie on this machine.

`lpips` carries its own small layers; the backbone is the user's to supply, since nothing here downloads anything.
"""

import warnings
from pathlib import Path

import torch
from torch import nn

from .errors import RunError, UsageError

BACKBONES = {"vgg": "vgg16-397923af.pth", "alex": "alexnet-owt-7be5be79.pth"}
"""Files of ImageNet classifiers as torchvision publishes them."""
PUBLISHED = "https://download.pytorch.org/models/"
SCALING = {"shift": (-0.030, -0.088, -0.188), "scale": (0.458, 0.448, 0.450)}
"""The constants of lpips' scaling layer."""


class Lpips(nn.Module):
    """Distance of images, RGB float [B, 3, H, W] in [0, 1] each, to float32 [B]; lower is better."""

    def __init__(self, net: str) -> None:
        """net: vgg or alex. Raises `UsageError` for another, or when its backbone file is not there."""
        super().__init__()
        if net not in BACKBONES:
            raise UsageError(f"unknown LPIPS network {net!r}: choose one of {', '.join(BACKBONES)}")
        import lpips

        backbone = _read(backbone_file(BACKBONES[net]))
        layers = _read(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth")
        with torch.device("meta"), warnings.catch_warnings():  # no memory, no random numbers, no classifier's 500 MB
            warnings.simplefilter("ignore")  # it calls torchvision by a deprecated keyword
            self.model = lpips.LPIPS(pretrained=False, net=net, pnet_rand=True, verbose=False)
        weights = {f"scaling_layer.{name}": torch.tensor(v)[None, :, None, None] for name, v in SCALING.items()}
        for key in self.model.state_dict().keys() - weights.keys():
            weights[key] = _find(key, backbone, layers, BACKBONES[net])
        self.model.load_state_dict(weights, assign=True)
        self.requires_grad_(False).eval()

    def forward(self, output_BCHW: torch.Tensor, target_BCHW: torch.Tensor) -> torch.Tensor:
        distance = self.model(output_BCHW.float(), target_BCHW.float(), normalize=True)
        return distance.flatten()


def backbone_file(backbone: str) -> Path:
    """Where a backbone lies: `hub/checkpoints` below $TORCH_HOME. Raises `UsageError` when it does not."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / backbone
    if not path.is_file():
        raise UsageError(f"no file {path}: fetch it from {PUBLISHED}{backbone} and put it there, or set TORCH_HOME")
    return path


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise whatever they like
        raise RunError(f"{path} is not a weights file that can be read without running code") from error


def _find(key: str, backbone: dict[str, torch.Tensor], layers: dict[str, torch.Tensor], file: str) -> torch.Tensor:
    """The tensor of one of lpips' keys: `net.slice<k>.<n>.*` is torchvision's `features.<n>.*`, `lin*` its own."""
    if key.startswith("net."):
        source = "features." + key.split(".", 2)[2]
        if source not in backbone:
            raise RunError(f"{file} has no {source!r}: it is not torchvision's file of that name")
        return backbone[source]
    return layers[key.replace("lins.", "lin", 1) if key.startswith("lins.") else key]
