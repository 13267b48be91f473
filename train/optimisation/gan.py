"""The second stage of the recipes: L1, perceptual loss and a GAN (Real-ESRGAN, arXiv 2107.10833)."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from shared.errors import UsageError
from train.networks import GENERATOR
from train.networks.build import seeded
from train.networks.discriminator import UNetDiscriminator
from train.networks.weights import fill, load_weights, weights_digest
from train.optimisation.losses import Perceptual, adversarial_loss, discriminator_loss, l1
from train.optimisation.objective import Objective, TrainingImages
from train.optimisation.stages import Stage
from train.record.resume import DISCRIMINATOR as DISCRIMINATOR_FILE
from train.record.resume import VGG19
from train.settings import TrainSettings

DISCRIMINATOR = "discriminator"
HALVINGS = 3
"""How often the discriminator halves the sides of an image."""
POWER_ITERATIONS = 3
"""Power iterations on spectral norms in a step: Real-ESRGAN makes one in each of its three passes."""


class GAN(Stage):
    """The generator's loss is a weighted sum of L1, VGG19 and GAN losses; the discriminator's is a GAN loss.

    The discriminator sees HR images, never sharpened, and the outputs of the same step. Both losses are computed with
    the weights from before the step, and both networks step afterwards.
    """

    def __init__(self, settings: TrainSettings) -> None:
        """Raises `UsageError` when VGG19's weights are not there."""
        super().__init__(settings)
        self.weights = settings.gan
        self.perceptual = Perceptual(settings.vgg19) if settings.gan.perceptual else None
        self._settings = settings

    def require_patch(self, patch: int) -> None:
        """Raises `UsageError` when the discriminator cannot take HR patches of `patch` pixels."""
        if patch % 2**HALVINGS:
            raise UsageError(
                f"the patches are {patch} pixels: the discriminator of --stage gan halves them three times, "
                f"render multiples of {2**HALVINGS}"
            )

    def companions(self) -> dict[str, nn.Module]:
        """The discriminator, with the weights of --init-discriminator. Raises `UsageError` when they are not there."""
        with seeded(self._settings.seed):
            discriminator = UNetDiscriminator(self.weights.num_feat)
        if self._settings.init_discriminator:
            path = Path(self._settings.init_discriminator)
            fill(discriminator, load_weights(path, "discriminator"), str(path))
        return {DISCRIMINATOR: discriminator}

    def contents(self) -> dict[str, str]:
        """Digests of VGG19 and of the discriminator's first weights, those of the files that are there."""
        found = {VGG19: weights_digest(self.perceptual.layers.state_dict())} if self.perceptual else {}
        path = self._settings.init_discriminator
        if path and Path(path).is_file():
            found[DISCRIMINATOR_FILE] = weights_digest(load_weights(Path(path), "discriminator"))
        return found

    def to(self, device: torch.device, memory_format: torch.memory_format) -> None:
        """Move VGG19."""
        if self.perceptual:
            self.perceptual = self.perceptual.to(device, memory_format=memory_format)  # type: ignore[call-overload]

    def begin_step(self, networks: Mapping[str, nn.Module]) -> None:
        """Estimate the spectral norms of the discriminator's weights."""
        _plain(networks[DISCRIMINATOR]).refresh(POWER_ITERATIONS)

    def objectives(self, networks: Mapping[str, nn.Module], images: TrainingImages) -> Iterator[Objective]:
        """The generator's losses, then the discriminator's."""
        discriminator = networks[DISCRIMINATOR]
        critic = _plain(discriminator).requires_grad_(False)
        output = networks[GENERATOR](images.lr)
        losses = self.weights.l1 * l1(output, images.target)
        if self.perceptual:
            losses = losses + self.weights.perceptual * self.perceptual(output, images.target)
        yield Objective(GENERATOR, losses + self.weights.adversarial * adversarial_loss(critic(output)))
        critic.requires_grad_(True)
        scores = discriminator(torch.cat([images.hr, output.detach()]))
        yield Objective(DISCRIMINATOR, discriminator_loss(*scores.chunk(2)))


def _plain(network: nn.Module) -> UNetDiscriminator:
    """The discriminator without its wrapper, for passes that leave no gradients to share between processes."""
    return network.module if isinstance(network, DistributedDataParallel) else network  # type: ignore[return-value]
