"""The first stage of every recipe: the generator alone, on L1 (Real-ESRNet and its kin)."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from train.networks import GENERATOR
from train.optimisation.losses import l1
from train.optimisation.objective import Objective, TrainingImages
from train.settings import TrainSettings


class PSNR:
    """Mean absolute error."""

    def __init__(self, settings: TrainSettings) -> None:
        """Nothing to choose."""

    def require_patch(self, patch: int) -> None:
        """Any will do."""

    def companions(self) -> dict[str, nn.Module]:
        """None."""
        return {}

    def contents(self) -> dict[str, str]:
        """None."""
        return {}

    def to(self, device: torch.device, memory_format: torch.memory_format) -> None:
        """Nothing to move."""

    def begin_step(self, networks: Mapping[str, nn.Module]) -> None:
        """Nothing to do."""

    def objectives(self, networks: Mapping[str, nn.Module], images: TrainingImages) -> Iterator[Objective]:
        """The L1 loss of each sample."""
        yield Objective(GENERATOR, l1(networks[GENERATOR](images.lr), images.target))
