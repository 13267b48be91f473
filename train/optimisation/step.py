"""Before an optimiser step: a stage's losses of single samples are weighed, followed backward, and checked."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from train.networks import GENERATOR
from train.networks.depth import Key, draw_depth
from train.optimisation.learner import Learner
from train.optimisation.objective import Objective, TrainingImages

Launcher = Any
"""An `accelerate.Accelerator`, which the training loop alone imports."""


class NotFiniteError(ValueError):
    """A loss is not finite. network: which network's; samples: positions in the batch of losses that are not finite."""

    def __init__(self, network: str, value: float, samples: list[int]) -> None:
        super().__init__(f"the {network}'s loss is {value}")
        self.network, self.value, self.samples = network, value, samples


class Readback:
    """The copy of a tensor to the CPU: queued now, read later, so that the host waits only for earlier work."""

    def __init__(self, value: torch.Tensor) -> None:
        self._value, self._arrived = value, None
        if value.is_cuda:
            self._value = torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> torch.Tensor:
        """The value, on the CPU."""
        if self._arrived:
            self._arrived.synchronize()
        return self._value


Weigh = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From losses of the generator, [B], and the samples' tasks, int64 [B], to the coefficients of the samples, [B]."""


def backward(
    learner: Learner,
    launcher: Launcher,
    images: TrainingImages,
    tasks: torch.Tensor,
    keys: Sequence[Key],
    weigh: Weigh,
) -> dict[str, float]:
    """The gradients of sum_i c_i l_i / B in every network, taken in `accumulate` parts: the step can follow.

    tasks: int64 [B]. keys: what the randomness of each sample depends on. Returns each network's loss, over the batches
    of all ranks. Raises `NotFiniteError` when one is no number.

    The host never waits for gradients: losses are on their way back while the device goes backward.
    """
    settings, size = learner.settings, len(keys) // learner.settings.accumulate
    losses: dict[str, list[torch.Tensor]] = {}
    means: dict[str, list[Readback]] = {}
    learner.begin_step()
    for first in range(0, len(keys), size):
        part = slice(first, first + size)
        draw_depth(learner.plain[GENERATOR], keys[part], learner.device)
        objectives = learner.stage.objectives(learner.networks, TrainingImages(*(each[part] for each in images)))
        coefficients = None
        with ExitStack() as within:
            if first + size < len(keys):  # ranks share gradients once, with the last part
                for network in learner.networks.values():
                    within.enter_context(launcher.no_sync(network))
            while objective := _next(objectives, launcher):
                if coefficients is None:
                    coefficients = weigh(objective.losses.detach(), tasks[part])
                loss = (coefficients * objective.losses).sum() / len(keys)
                losses.setdefault(objective.network, []).append(objective.losses.detach())
                means.setdefault(objective.network, []).append(Readback(launcher.reduce(loss.detach(), "mean")))
                launcher.backward(loss)
    if settings.clip:
        launcher.unscale_gradients()  # those of all networks, and once a step only
        for network in learner.networks.values():
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
    values = {name: sum(one.read().item() for one in parts) for name, parts in means.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise NotFiniteError(name, value, (~torch.cat(losses[name]).isfinite()).nonzero().flatten().tolist())
    return values


def _next(objectives: Iterator[Objective], launcher: Launcher) -> Objective | None:
    """The stage's next losses, in the precision of the run."""
    with launcher.autocast():
        return next(objectives, None)
