"""The first stage of every recipe: the generator alone, on L1 (Real-ESRNet and its kin)."""

from collections.abc import Iterator, Mapping

from torch import nn

from train.networks import GENERATOR
from train.optimisation.losses import l1
from train.optimisation.objective import Objective, TrainingImages
from train.optimisation.stages import Stage


class PSNR(Stage):
    """Mean absolute error."""

    def objectives(self, networks: Mapping[str, nn.Module], images: TrainingImages) -> Iterator[Objective]:
        """The L1 loss of each sample."""
        yield Objective(GENERATOR, l1(networks[GENERATOR](images.lr), images.target))
